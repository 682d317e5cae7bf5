"""A trained policy as a method of `zo_gym.minimize`: `minimize(f, x0, method="zo-rl", weights="runs/.../policy")`."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from agents.bundle import Policy, load_policy
from zo_gym.base import Generators, Sampler, State
from zo_gym.directions import unit
from zo_gym.estimators import span
from zo_gym.methods import Method
from zo_gym.registry import lookup
from zo_gym.rng import normal
from zo_gym.updates import RULES


def policy_sampler(policy: Policy) -> Sampler:
    """u = unit(policy(x) + noise), the noise ~ N(0, I) sigma / sqrt(d) with the sigma that the policy was trained with.

    Costs no queries. The gate of Algorithm 2 is the environment's: here the policy is followed from the first step on.

    Raises:
        ValueError: The policy looks at more than x.
    """
    config = policy.config
    if config.observation_dim != config.dim:
        raise ValueError(
            f"weights must be of a policy that observes x alone, {config.dim} numbers, got one that observes "
            f"{config.observation_dim}. Train it with --observation x."
        )

    def sample(state: State, x: Tensor, q: int, generators: Generators) -> tuple[Tensor, State]:
        actions = torch.from_numpy(policy(x.float().cpu().numpy())).to(x)
        noise = config.exploration / math.sqrt(config.dim) * normal(generators, (q, config.dim), like=x)
        return unit(actions[:, None, :] + noise), state

    return Sampler(init=lambda x: (), sample=sample, observe=lambda state, step: state)


def zo_rl(
    dim: int,
    *,
    weights: str | Path | None = None,
    learning_rate: float | None = None,
    num_directions: int = 1,
    update: str | None = None,
) -> Method:
    """The method "zo-rl": the policy's direction, its slope (eq. 2), and the step rule it was trained with.

    Args:
        dim: d; the policy must be of the same.
        weights: A policy folder, `runs/<run>/policy`.
        learning_rate: eta instead of the one it was trained with.
        num_directions: q noisy copies of the policy's direction, whose span is measured.
        update: A key of `zo_gym.RULES` instead of the one it was trained with.

    Raises:
        FileNotFoundError: No policy there.
        ValueError: There are no weights, or the policy is of another dimension, damaged, or looks at more than x.
    """
    if weights is None:
        raise ValueError("method 'zo-rl' needs weights=, the folder of a policy, got None. Train one: python train.py")
    policy = load_policy(Path(weights))
    if policy.config.dim != dim:
        raise ValueError(f"weights must be of a policy for d = {dim}, got one for {policy.config.dim}. Train another.")
    trained_with = policy.config.environment
    rule = lookup(RULES, update or str(trained_with["update"]), "update")
    eta = float(trained_with["learning_rate"]) if learning_rate is None else learning_rate
    return Method(policy_sampler(policy), span, rule(eta), num_directions)
