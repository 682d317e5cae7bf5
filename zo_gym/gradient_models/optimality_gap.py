"""The optimality gap of the black-box part of f, its value minus its lower bound, before and after a move."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from zo_gym.base import Step
from zo_gym.composite.l1_penalty_estimate import update_estimate
from zo_gym.composite.term import CompositeTerm
from zo_gym.gradient_models.guided_state import GuidedState


class OptimalityGap(NamedTuple):
    """The change and the gap of the part of f that the model predicts, as a step measured them."""

    change: Tensor
    """The change of that part along the proposed step, (B,)."""
    before: Tensor
    """Its gap where the step began, (B,); infinite where no lower bound is known."""
    end: Tensor
    """Its gap where the proposed step ended, accepted or not, (B,)."""


def optimality_gap(state: GuidedState, step: Step, term: CompositeTerm | None) -> tuple[OptimalityGap, GuidedState]:
    """Compute the gap from the composite term if there is one, else from the penalty estimate, which is updated."""
    start = step.iterate.x - step.move
    end = start + step.proposed_step
    moved = step.change if step.accepted is None else torch.where(step.accepted, step.change, 0.0)
    at_start = step.iterate.fx - moved
    unknown = torch.full_like(step.change, math.inf)
    if term is not None:
        here, there = (term.value(x.unsqueeze(1), state.instance).squeeze(1) for x in (start, end))
        change = step.change - (there - here)
        before = unknown if term.lower_bound is None else at_start - here - term.lower_bound
        return OptimalityGap(change, before, before + change), state
    if state.penalty is not None:
        penalty, gap = update_estimate(state.penalty, start, end, step.change, at_start + step.change)
        gap = torch.where(state.in_use, gap, math.inf)  # without the guess no penalty is assumed either
        before = torch.where(gap.isinf(), gap, state.gap)
        return OptimalityGap(step.change, before, gap), state._replace(penalty=penalty)
    return OptimalityGap(step.change, unknown, unknown), state
