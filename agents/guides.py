"""Methods that follow a guess of the gradient: a trained policy's, or any other, behind the same belief and steps."""

from __future__ import annotations

import torch
from torch import Tensor

from agents.bundle import Policy
from agents.methods import observer
from zo_gym.base import Known, Sampler, UpdateRule
from zo_gym.estimators import span
from zo_gym.methods import Method
from zo_gym.samplers import prior_belief
from zo_gym.samplers.hybrid import Field
from zo_gym.updates import diminishing, sharpened

LEARNING_RATE, SHARPNESS = 1.0, 2.0
"""Length of the first step in units of x, and how much of it goes to the larger coordinates."""


def field_of(policy: Policy, context: Tensor | None) -> Field:
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


def follow(
    field: Field,
    rows: int,
    known: Known | None,
    *,
    shape: tuple[int, ...] | None,
    sampler: Sampler | None = None,
    update: UpdateRule | None = None,
    sharpness: float = SHARPNESS,
    gate: bool = True,
) -> Method:
    """Steps along what the belief makes of the guess: 2 queries each.

    Args:
        field: The guess.
        rows: Of the run; row i faces instance i.
        known: The known part of f, where the run takes it exactly.
        shape: Of the image behind x, or None.
        sampler: Instead of `zo_gym.samplers.prior_belief` about the guess.
        update: Instead of sharpened steps of diminishing length.
        sharpness: Of the direction probed, and of those steps.
        gate: May rows leave the guess?
    """
    chosen = sampler or prior_belief(field, torch.arange(rows), known, shape=shape, sharpness=sharpness, gate=gate)
    return Method(chosen, span, update or sharpened(diminishing(LEARNING_RATE), sharpness), 2)
