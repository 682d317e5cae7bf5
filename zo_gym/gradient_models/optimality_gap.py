"""How high the unknown part of f is above the least that it can be, before and after a move."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from zo_gym.base import Step
from zo_gym.composite.l1_penalty_estimate import moved
from zo_gym.composite.term import CompositeTerm
from zo_gym.gradient_models.guided_state import Guided


class OptimalityGap(NamedTuple):
    """What a step told of the part of f that the belief is about."""

    change: Tensor
    """Along the trial, (B,)."""
    before: Tensor
    """Above the least that it can be where the trial began, (B,); infinite where the least is not known."""
    end: Tensor
    """And where it ended, kept or not, (B,)."""


def optimality_gap(state: Guided, step: Step, known: CompositeTerm | None) -> tuple[OptimalityGap, Guided]:
    """By the known part, or by the penalty that the run infers, which hears of the move; else of all of f."""
    start = step.iterate.x - step.move
    end = start + step.proposed_step
    at_start = step.iterate.fx - (
        step.change if step.accepted is None else torch.where(step.accepted, step.change, 0.0)
    )
    nowhere = torch.full_like(step.change, math.inf)
    if known is not None:
        part, tip = _known_at(known, start, state.instance), _known_at(known, end, state.instance)
        change = step.change - (tip - part)
        before = nowhere if known.lower_bound is None else at_start - part - known.lower_bound
        return OptimalityGap(change, before, before + change), state
    if state.penalty is not None:
        penalty, level = moved(state.penalty, start, end, step.change, at_start + step.change)
        level = torch.where(state.on, level, math.inf)  # without the guess no penalty is believed in either
        before = torch.where(level.isinf(), level, state.level)
        return OptimalityGap(step.change, before, level), state._replace(penalty=penalty)
    return OptimalityGap(step.change, nowhere, nowhere), state


def _known_at(known: CompositeTerm, x: Tensor, instances: Tensor) -> Tensor:
    return known.value(x.unsqueeze(1), instances).squeeze(1)
