"""Methods that follow a guess of the gradient: a trained policy's, or any other, behind the same belief and steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from zo_gym.base import Method, UpdateRule
from zo_gym.composite.term import CompositeTerm
from zo_gym.estimators import span
from zo_gym.gradient_models import GradientGuess, GuidedGPSettings, guided_gp
from zo_gym.updates import conditional, sharpened

from .bundle import Policy
from .method import observer

LEARNING_RATE, SHARPNESS, REFRESH = 1.0, 2.0, 0.2
"""Length of the first step in units of x; how much of it goes to the larger coordinates; the share of that length that
x moves before the policy is asked anew, which makes it cheaper than f and no worse."""


def field_of(policy: Policy, context: Tensor | None) -> GradientGuess:
    """The policy's guess of the gradient.

    Args:
        policy: One that models slopes.
        context: What the policy knows of each instance besides x, (size, k); None for a policy that needs none.

    Raises:
        ValueError: The policy observes more than x and the context.
    """
    observer(policy, context)  # refuses what does not fit, before the first step

    def guess(x: Tensor, instances: Tensor) -> Tensor:
        seen = observer(policy, None if context is None else context[instances])(x)
        return torch.from_numpy(policy.gradient(seen)).to(x)

    return guess


def steps(learning_rate: float = LEARNING_RATE, sharpness: float = SHARPNESS) -> UpdateRule:
    """At first towards the vertex, where the known part is taken exactly; then sharpened, of diminishing length."""
    return sharpened(conditional(learning_rate), sharpness)


def follow(
    field: GradientGuess,
    rows: int,
    known: CompositeTerm | None,
    *,
    shape: tuple[int, ...] | None,
    sharpness: float = SHARPNESS,
    update: UpdateRule | None = None,
    refresh_distance: float = REFRESH * LEARNING_RATE,
    infer_penalty: bool = True,
    **options: Any,
) -> Method:
    """Steps along what the belief makes of the guess: one query each for the first 25, then mostly two.

    Args:
        field: The guess.
        rows: Of the run; row i faces instance i.
        known: The known part of f, where the run takes it exactly.
        shape: Of the image behind x, or None.
        sharpness: Of the directions probed, and of steps where `update` is None.
        update: How to step; None: `steps`.
        refresh_distance: How far x moves before the guess is asked anew.
        infer_penalty: Where no part of f is known and x is an image, with pixels in [0, 1]: infer what f asks for the
            distance from the start, as of `zo_gym.gradient_models.guided_gp`.
        **options: Further ones of `zo_gym.gradient_models.GuidedGPSettings`.
    """
    settings = GuidedGPSettings(
        shape=shape,
        sharpness=sharpness,
        refresh_distance=refresh_distance,
        estimate_penalty=infer_penalty and shape is not None,
        **options,
    )
    model = guided_gp(field, torch.arange(rows), known, settings)
    return Method(None, span, update or steps(sharpness=sharpness), 2, model=model)
