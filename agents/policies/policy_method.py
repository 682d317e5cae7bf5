"""Methods that follow a guess of the gradient, a trained policy's or any other, which the run's own slopes correct."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from zo_gym.base import Method, UpdateRule
from zo_gym.composite.term import CompositeTerm
from zo_gym.estimators import span
from zo_gym.gradient_models import GuidedGPSettings, guided_gp
from zo_gym.gradient_models.guided_gp import GradientGuess
from zo_gym.updates import conditional, sharpened

from .bundle import Policy
from .zo_rl import observer

LEARNING_RATE = 1.0
"""Length of the first step, in units of x."""
SHARPNESS = 2.0
"""Power p >= 1 by which steps favour the larger coordinates; see `zo_gym.updates.sharpened`."""
REFRESH = 0.2
"""Share of the learning rate that x moves before the policy is evaluated again. The policy then takes less time than f,
and the results are no worse."""


def gradient_guess(policy: Policy, context: Tensor | None) -> GradientGuess:
    """Return the policy's guess of the gradient as a function of x and instances.

    Args:
        policy: A policy that models slopes.
        context: What the policy observes of each instance besides x, (size, k); None for a policy that needs none.

    Raises:
        ValueError: The policy observes more than x and the context.
    """
    observer(policy, context)  # refuses what does not fit, before the first step

    def guess(x: Tensor, instances: Tensor) -> Tensor:
        observations = observer(policy, None if context is None else context[instances])(x)
        return torch.from_numpy(policy.gradient(observations)).to(x)

    return guess


def steps(learning_rate: float = LEARNING_RATE, sharpness: float = SHARPNESS) -> UpdateRule:
    """Return the rule of steps: at first towards the model's minimum, then sharpened, of diminishing length."""
    return sharpened(conditional(learning_rate), sharpness)


def follow(
    guess: GradientGuess,
    rows: int,
    composite: CompositeTerm | None,
    *,
    shape: tuple[int, ...] | None,
    sharpness: float = SHARPNESS,
    update: UpdateRule | None = None,
    refresh_distance: float = REFRESH * LEARNING_RATE,
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
        sharpness: Power of the directions probed, and of steps where `update` is None.
        update: How to step; None: `steps`.
        refresh_distance: How far x moves before the guess is evaluated again.
        **options: Further settings of `zo_gym.gradient_models.GuidedGPSettings`, which take precedence.
    """
    settings: dict[str, Any] = {
        "estimate_penalty": shape is not None,
        "shape": shape,
        "sharpness": sharpness,
        "refresh_distance": refresh_distance,
    }
    model = guided_gp(guess, torch.arange(rows), composite, GuidedGPSettings(**(settings | options)))
    return Method(None, span, update or steps(sharpness=sharpness), 2, model=model)
