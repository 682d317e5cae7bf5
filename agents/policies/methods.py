"""Methods of `zo_gym.minimize` that follow a trained policy.

`zo_rl` steps along the policy's direction: `minimize(f, x0, method="zo-rl", weights="runs/<run>")`. `pretrained` steps
along a policy's guess of the gradient, which the run's own slopes correct; `follow` does so along any guess.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zo_gym.base import Method, Sampler, State, UpdateRule
from zo_gym.checks import DEFAULT_SMOOTHING, check_integer
from zo_gym.composite.term import CompositeTerm
from zo_gym.directions import unit
from zo_gym.estimators import span
from zo_gym.gradient_models import GuidedGPSettings, guided_gp
from zo_gym.gradient_models.guided_gp import GradientGuess
from zo_gym.problem import Generators
from zo_gym.registry import factory_of
from zo_gym.rng import normal
from zo_gym.updates import RULES, conditional_gradient, sharpened

from .bundle import Policy, load_policy
from .pretrained import folder, names

LEARNING_RATE = 1.0
"""Length of the first step, in units of x."""
SHARPNESS = 2.0
"""Power p >= 1 by which steps favour the larger coordinates; see `zo_gym.updates.sharpened`."""
REFRESH = 0.2
"""Share of the learning rate that x moves before the policy is evaluated again; this saves time at no worse results."""


def observer(policy: Policy, context: Tensor | None = None) -> Callable[[Tensor], np.ndarray]:
    """Return what computes the policy's observations of x: x (B, d) -> float32 (B, observation_dim).

    Args:
        policy: The policy; one that observes more than x and the context raises ValueError.
        context: `Problem.context` (k,), or one row for each of the B rows, (B, k); None where the problem has none.
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
    here the policy is followed from the first step on. The context is as for `observer`, and so are the errors.
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
    update: str | UpdateRule | None = None,
    context: Tensor | None = None,
) -> Method:
    """Build the method "zo-rl": the policy's direction, its slope (eq. 2), and the step rule it was trained with.

    Args:
        dim: d, which must be the policy's.
        weights: The folder of a run that train.py made, or of a policy.
        learning_rate: eta instead of the one it was trained with.
        num_directions: q noisy copies of the policy's direction, whose span is measured.
        update: A key of `zo_gym.RULES`, or a rule, instead of the one it was trained with.
        context: Context of the problem, see `observer`; for a policy that was trained to observe it.

    Raises:
        FileNotFoundError, NotADirectoryError: No policy folder is there.
        TypeError, ValueError: An argument is not as described; the policy has another d, is damaged, or observes more.
    """
    if not isinstance(weights, (str, Path)):
        raise (ValueError if weights is None else TypeError)(
            f"method 'zo-rl' needs weights=, the folder of a run or policy, got {weights!r}. Train one: "
            "python -m zo_gym.agents.train"
        )
    check_integer("num_directions", num_directions, 1)
    policy = load_policy(Path(weights))
    if policy.config.dim != dim:
        raise ValueError(f"weights must be of a policy for d = {dim}, got one for {policy.config.dim}. Train another.")
    trained_with = policy.config.environment
    eta = float(trained_with["learning_rate"]) if learning_rate is None else learning_rate
    chosen = trained_with["update"] if update is None else update
    rule = chosen if isinstance(chosen, UpdateRule) else factory_of("update", RULES, chosen)(eta)
    return Method(policy_sampler(policy, context), span, rule, num_directions)


def gradient_guess(policy: Policy, context: Tensor | None) -> GradientGuess:
    """Return the guess of the gradient of a policy that models slopes, as a function of x and instances.

    The context has one row for each instance of the problem, (size, k); errors are those of `observer`.
    """
    observer(policy, context)  # refuses what does not fit, before the first step

    def guess(x: Tensor, instances: Tensor) -> Tensor:
        observations = observer(policy, None if context is None else context[instances])(x)
        return torch.from_numpy(policy.gradient(observations)).to(x)

    return guess


def steps(learning_rate: float = LEARNING_RATE, sharpness: float = SHARPNESS) -> UpdateRule:
    """Return the rule of steps: at first towards the model's minimum, then sharpened, of diminishing length."""
    return sharpened(conditional_gradient(learning_rate), sharpness)


def follow(
    guess: GradientGuess,
    rows: int,
    composite: CompositeTerm | None,
    *,
    shape: tuple[int, ...] | None,
    update: UpdateRule | None = None,
    **options: Any,
) -> Method:
    """Build the method that steps along a guess which `zo_gym.gradient_models.guided_gp` corrects.

    A step costs one query for the first 25 steps, then mostly two.

    Args:
        guess: The guess of the gradient.
        rows: Rows of the run; row i faces instance i.
        composite: The composite term of f, where the run takes it exactly.
        shape: Shape of the image behind x, or None. Where no composite term is known of an image, with pixels in
            [0, 1], a penalty on the distance from the start is estimated.
        update: How to step; None: `steps`.
        **options: Further settings of `zo_gym.gradient_models.GuidedGPSettings`, which take precedence.
    """
    settings: dict[str, Any] = {
        "estimate_penalty": shape is not None,
        "shape": shape,
        "sharpness": SHARPNESS,
        "refresh_distance": REFRESH * LEARNING_RATE,
        **options,
    }
    model = guided_gp(guess, torch.arange(rows), composite, GuidedGPSettings(**settings))
    return Method(None, span, update or steps(sharpness=settings["sharpness"]), 2, model=model)


def pretrained(
    dim: int,
    *,
    variant: str | None = None,
    weights: Policy | str | Path | None = None,
    context: Tensor | None = None,
    composite: CompositeTerm | None = None,
    learning_rate: float = LEARNING_RATE,
    sharpness: float = SHARPNESS,
    smoothing: float = DEFAULT_SMOOTHING,
) -> Method:
    """Build the method "pretrained:<variant>": a policy's guess of the gradient that the run's own slopes correct.

    With weights=, your own policy, the method is "pretrained".

    Args:
        dim: d, which must be the policy's.
        variant: Which policy; see `zo_gym.agents.policies.pretrained.names`.
        weights: A policy that `python train.py --policy directional` trained, or its folder, `runs/<run>`.
        context: What the policy observes of each row's problem besides x, (B, k).
        composite: See `follow`.
        learning_rate: Length of the first step, in units of x.
        sharpness: p >= 1; see `zo_gym.updates.sharpened`.
        smoothing: mu of the run, in units of x.

    Raises:
        FileNotFoundError, NotADirectoryError: No policy folder is there.
        TypeError, ValueError: Unknown policy, one of another dimension or context, or one that does not model slopes.
    """
    if bool(variant) == (weights is not None):
        given = "both" if variant else "neither"
        raise ValueError(
            "method 'pretrained' needs a policy that ships, method='pretrained:NAME' with one of "
            f"{', '.join(names())}, or weights=, the folder of another; got {given}."
        )
    name = f"'{variant}'" if variant else "of weights="
    policy = load_policy(folder(variant)) if variant else weights
    if not isinstance(policy, Policy):
        policy = load_policy(Path(str(policy)))
    if policy.config.dim != dim:
        raise ValueError(
            f"Policy {name} is for d = {policy.config.dim}, and the problem has d = {dim}. Choose or train another."
        )
    if context is None and policy.config.observation_dim > dim:
        raise ValueError(
            f"Policy {name} observes the context of a problem, and this one has none. Pass a problem with one, "
            "e.g. 'mnist_attack[0]'."
        )
    return follow(
        gradient_guess(policy, context),
        1 if context is None else len(context),
        composite,
        shape=policy.config.shape,
        sharpness=sharpness,
        update=steps(learning_rate, sharpness),
        refresh_distance=REFRESH * learning_rate,
        smoothing=smoothing,
    )
