"""The state of a guided run: the stored slopes, what the guess predicts of each, and how good the guess has been."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from zo_gym.base import Step
from zo_gym.composite.l1_penalty_estimate import L1PenaltyEstimate, distance, update_estimate
from zo_gym.composite.term import CompositeTerm
from zo_gym.gradient_models.gp_posterior import GaussianProcess, no_observations
from zo_gym.gradient_models.slope_window import add_slope


class Measurement(NamedTuple):
    """The change of f measured along an interval."""

    start: Tensor
    """The point where the interval begins, (B, d)."""
    interval: Tensor
    """The interval, (B, d)."""
    change: Tensor
    """The change of the black-box part of f along it, (B,)."""
    valid: Tensor
    """Whether that measures a slope, (B,) bool."""


class GuidedState(NamedTuple):
    """The state of the model `guided_gp`; h is the guess, w_j a the prior variance of coordinate j of the residual."""

    instance: Tensor
    """The instance that each row faces, int64 (B,)."""
    in_use: Tensor
    """Whether the guess is in use, (B,) bool."""
    process: GaussianProcess
    """The Gaussian process of the residual, in the coordinates sqrt(w) x."""
    guessed_slopes: Tensor
    """h along the axis of each stored slope, (B, r)."""
    root_weights: Tensor
    """sqrt(w), (B, d)."""
    guess: Tensor
    """h where it was computed last, (B, d)."""
    guessed_at: Tensor
    """The point where that was, (B, d); infinite before."""
    mean: Tensor
    """The predicted grad f at x, of its black-box part where there is a composite term, (B, d)."""
    move: Measurement
    """The last proposed step. It is stored as a slope one step later, when the guess at its end is known."""
    accepted: Tensor
    """Whether that step was kept, (B,) bool."""
    gap: Tensor
    """The black-box part of f at x minus its lower bound, (B,); infinite where no bound is known."""
    move_squares: Tensor
    """The running means of the squared slopes along moves, and of the squares left unexplained by h, (B, 2)."""
    random_square: Tensor
    """The running mean of the squared slopes along the most uncertain directions, (B,)."""
    probing_credit: Tensor
    """The probes due: the next step probes where this has reached 1, (B,)."""
    stalled: Tensor
    """Whether the last step did not move, (B,) bool."""
    clock: Tensor
    """The steps since the guess was last taken up or dropped, int64 (B,)."""
    penalty: L1PenaltyEstimate | None
    """The estimate of a penalty; None where none is estimated."""


def begin(
    x: Tensor,
    instance: Tensor,
    in_use: Tensor,
    root_weights: Tensor,
    gap: Tensor,
    size: int,
    penalty: L1PenaltyEstimate | None,
) -> GuidedState:
    """Return the state of rows at x (B, d) that can store `size` slopes and have stored none."""
    zero, flat, yes = torch.zeros_like(x), x.new_zeros(len(x)), torch.ones_like(in_use)
    return GuidedState(
        instance=instance,
        in_use=in_use,
        process=no_observations(root_weights * x, size),
        guessed_slopes=x.new_zeros(len(x), size),
        root_weights=root_weights,
        guess=zero,
        guessed_at=torch.full_like(x, math.inf),
        mean=zero,
        move=Measurement(zero, zero, flat, in_use),
        accepted=yes,
        gap=gap,
        move_squares=x.new_zeros(len(x), 2),
        random_square=flat,
        probing_credit=flat,
        stalled=~yes,
        clock=torch.zeros_like(instance),
        penalty=penalty,
    )


def add_guided_slope(
    state: GuidedState, guess: Tensor, measured: Measurement, end: Tensor | None = None
) -> GuidedState:
    """Store the slope along a move or probe, with what the guess and the penalty contribute to it.

    Args:
        state: The state.
        guess: h on the way, (B, d).
        measured: The move or probe; rows where it is not valid, or its interval 0, store nothing.
        end: The current points afterwards, (B, d); None: where the interval begins.
    """
    window, scaled = state.process.window, state.root_weights * measured.interval
    length = torch.linalg.vector_norm(scaled, dim=1)
    valid = measured.valid & (length > 0)
    length = torch.where(valid, length, 1.0)
    rows = torch.arange(len(scaled), device=scaled.device)
    place = window.next_place

    def replaced(old: Tensor, new: Tensor) -> Tensor:  # (B, r), (B,)
        return old.index_put((rows, place), torch.where(valid, new, old[rows, place]))

    penalty = state.penalty
    if penalty is not None:
        rate = distance_gained(penalty, measured.start, measured.interval) / length
        penalty = penalty._replace(rates=replaced(penalty.rates, rate))
    position = None if end is None else state.root_weights * end
    window = add_slope(window, scaled, measured.change, valid, position)
    return state._replace(
        process=state.process._replace(window=window),
        guessed_slopes=replaced(state.guessed_slopes, (guess * measured.interval).sum(1) / length),
        penalty=penalty,
    )


def distance_gained(penalty: L1PenaltyEstimate, point: Tensor, interval: Tensor) -> Tensor:
    """Compute by how much an interval (B, d) from a point (B, d) leads away from x0, in |x - x0|_1, (B,)."""
    return distance(penalty, point + interval) - distance(penalty, point)


def optimality_gap(
    state: GuidedState, step: Step, term: CompositeTerm | None
) -> tuple[Tensor, Tensor, Tensor, GuidedState]:
    """Compute how a move changed the black-box part of f, and its optimality gap, its value minus its lower bound.

    The part comes from the composite term if there is one, else from the penalty estimate, which is updated.

    Returns:
        The change along the proposed step, the gaps where the step began and where it ended, accepted or not, (B,)
        each, infinite where no lower bound is known, and the state.
    """
    start = step.iterate.x - step.move
    end = start + step.proposed_step
    moved = step.change if step.accepted is None else torch.where(step.accepted, step.change, 0.0)
    at_start = step.iterate.fx - moved
    unknown = torch.full_like(step.change, math.inf)
    if term is not None:
        here, there = (term.value(x.unsqueeze(1), state.instance).squeeze(1) for x in (start, end))
        change = step.change - (there - here)
        before = unknown if term.lower_bound is None else at_start - here - term.lower_bound
        return change, before, before + change, state
    if state.penalty is not None:
        penalty, gap = update_estimate(state.penalty, start, end, step.change, at_start + step.change)
        gap = torch.where(state.in_use, gap, math.inf)  # without the guess no penalty is assumed either
        before = torch.where(gap.isinf(), gap, state.gap)
        return step.change, before, gap, state._replace(penalty=penalty)
    return step.change, unknown, unknown, state
