"""The method "zo-rl": `minimize(f, x0, method="zo-rl", weights="runs/.../policy")` follows a trained policy."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zo_gym.base import Method, Sampler, State
from zo_gym.directions import unit
from zo_gym.estimators import span
from zo_gym.problem import Generators
from zo_gym.registry import lookup
from zo_gym.rng import normal
from zo_gym.updates import RULES

from .bundle import Policy, load_policy


def observer(policy: Policy, context: Tensor | None = None) -> Callable[[Tensor], np.ndarray]:
    """Return the function that makes the policy's observations of x: x alone, or x and the problem's context.

    Args:
        policy: The policy.
        context: `Problem.context` (k,), or one row for each of the B rows, (B, k); None where the problem has none.

    Returns:
        x (B, d) -> observations (B, observation_dim), float32.

    Raises:
        ValueError: The policy observes more than that.
    """
    config = policy.config
    k = 0 if context is None else context.shape[-1]
    if config.observation_dim not in (config.dim, config.dim + k):
        possible = "x alone" if context is None else "x, or x and the context"
        raise ValueError(
            f"weights must be of a policy that observes {possible}, {config.dim + k} numbers, got one that observes "
            f"{config.observation_dim}. Train it with --observation {'x' if context is None else 'context'}, or pass "
            "the problem that it was trained on."
        )

    def observe(x: Tensor) -> np.ndarray:
        if context is not None and config.observation_dim > config.dim:
            x = torch.cat([x, context.to(x).expand(len(x), k)], dim=1)
        seen: np.ndarray = x.float().cpu().numpy()
        return seen

    return observe


def policy_sampler(policy: Policy, context: Tensor | None = None) -> Sampler:
    """Make a sampler of u = unit(policy(x) + noise), with the noise that the policy was trained with.

    The noise is ~ N(0, sigma^2 I / d). Sampling costs no queries. The gate of Algorithm 2 belongs to the environment:
    here the policy is followed from the first step on.

    Args:
        policy: A policy that observes x, or x and the context.
        context: See `observer`.

    Raises:
        ValueError: The policy observes more than that.
    """
    config, observe = policy.config, observer(policy, context)

    def sample(state: State, x: Tensor, q: int, generators: Generators) -> tuple[Tensor, State]:
        actions = torch.from_numpy(policy(observe(x))).to(x)
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
    context: Tensor | None = None,
) -> Method:
    """Build the method "zo-rl": the policy's direction, its slope (eq. 2), and the step rule it was trained with.

    Args:
        dim: d, which must be the policy's.
        weights: A policy folder, `runs/<run>/policy`.
        learning_rate: eta instead of the one it was trained with.
        num_directions: q noisy copies of the policy's direction, whose span is measured.
        update: A key of `zo_gym.RULES` instead of the one it was trained with.
        context: Context of the problem, see `observer`; for a policy that was trained to observe it.

    Raises:
        FileNotFoundError, NotADirectoryError: No policy folder is there.
        ValueError: weights is None, or the policy has another dimension, is damaged, or observes more.
    """
    if weights is None:
        raise ValueError("method 'zo-rl' needs weights=, the folder of a policy, got None. Train one: python train.py")
    policy = load_policy(Path(weights))
    if policy.config.dim != dim:
        raise ValueError(f"weights must be of a policy for d = {dim}, got one for {policy.config.dim}. Train another.")
    trained_with = policy.config.environment
    rule = lookup(RULES, update or str(trained_with["update"]), "update")
    eta = float(trained_with["learning_rate"]) if learning_rate is None else learning_rate
    return Method(policy_sampler(policy, context), span, rule(eta), num_directions)
