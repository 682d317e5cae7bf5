"""What a guided run carries: the remembered slopes, what the guess said of each, and how far it is to be trusted."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from zo_gym.composite.l1_penalty_estimate import L1PenaltyEstimate, distance, weight
from zo_gym.gradient_models.gaussian_process import Belief, relative_noise
from zo_gym.gradient_models.slope_window import remember

FADE, PRIOR = 0.97, 0.03
"""Weight in kappa of a slope relative to the one after it, and of an average one that says kappa = 1."""
NUGGET, BEND, LONG = 1e-3, 0.15, 1.0
"""Variance in units of a of what a slope tells beside r in its middle: of every slope; and what is added for one that
was measured over an interval of length LONG or more, since f bends; for shorter ones with the fourth power of that."""
MEMORY = 0.9
"""Weight of the past in running means of squared slopes."""


class Move(NamedTuple):
    """What a step tried."""

    start: Tensor
    """(B, d)."""
    trial: Tensor
    """(B, d); 0: there was none."""
    change: Tensor
    """Of the part of f that the belief is about, (B,)."""
    valid: Tensor
    """Does that tell a slope? (B,) bool."""
    kept: Tensor
    """(B,) bool."""


class Guided(NamedTuple):
    """What a row carries."""

    instance: Tensor
    """int64 (B,)."""
    on: Tensor
    """Is the guess in use? (B,) bool."""
    belief: Belief
    """Of r, in the coordinates sqrt(w) x."""
    guesses: Tensor
    """What h said of each remembered slope, (B, r)."""
    roots: Tensor
    """sqrt(w), (B, d)."""
    guess: Tensor
    """h where it was asked last, (B, d)."""
    asked: Tensor
    """And where that was, (B, d); infinite before."""
    mean: Tensor
    """The belief about grad f at x, (B, d)."""
    move: Move
    """The last one, not remembered yet: what the guess says of it is known where it has led."""
    level: Tensor
    """The unknown part of f at x above the least that it can be, (B,); infinite where that is not known."""
    along: Tensor
    """Running means of squared slopes along moves, and of what the guess leaves of them unexplained, (B, 2)."""
    random: Tensor
    """Running mean of squared slopes along random directions, (B,)."""
    debt: Tensor
    """When it is 1, the next step probes, (B,)."""
    stuck: Tensor
    """Has the last step not moved? (B,) bool."""
    clock: Tensor
    """Steps since the gate moved, int64 (B,)."""
    penalty: L1PenaltyEstimate | None
    """What is inferred of a penalty; None: nothing is."""


def mixed(mean: Tensor, slope: Tensor) -> Tensor:
    """The running mean of squares that has heard of this one, too."""
    return torch.where(mean == 0, slope.square(), MEMORY * mean + (1 - MEMORY) * slope.square())


def moved_on(state: Guided, guess: Tensor, x: Tensor) -> Guided:
    """The state that knows what the last move told; guess: h in its middle, (B, d); x: where the run stands, (B, d)."""
    move = state.move
    length = torch.linalg.vector_norm(move.trial, dim=1)
    valid = move.valid & (length > 0)
    length = torch.where(valid, length, 1.0)
    slope, said = move.change / length, (guess * move.trial).sum(1) / length
    slope = slope - priced(state, move.start, move.trial) / length
    missed = slope - factors(state)[0].squeeze(1) * said
    along = mixed(state.along, torch.stack([slope, missed], dim=1))
    counts = valid & state.on & state.belief.slopes.full.any(1)  # before the first slope kappa is anything
    state = state._replace(along=torch.where(counts.unsqueeze(1), along, state.along))
    return remembered(state, guess, move.start, move.trial, move.change, valid, x)


def remembered(
    state: Guided,
    guess: Tensor,
    point: Tensor,
    interval: Tensor,
    change: Tensor,
    valid: Tensor,
    end: Tensor | None = None,
) -> Guided:
    """The state with one more slope: f changed by `change` (B,) over the interval (B, d) from the point (B, d).

    `end` is where the run stands afterwards, (B, d); None: at the point.
    """
    slopes, scaled = state.belief.slopes, state.roots * interval
    length = torch.linalg.vector_norm(scaled, dim=1)
    valid = valid & (length > 0)
    said = (guess * interval).sum(1) / torch.where(valid, length, 1.0)
    rows = torch.arange(len(point), device=point.device)
    place = slopes.told % slopes.values.shape[1]
    guesses = state.guesses.index_put((rows, place), torch.where(valid, said, state.guesses[rows, place]))
    penalty = state.penalty
    if penalty is not None:
        away = further(penalty, point, interval) / torch.where(valid, length, 1.0)
        penalty = penalty._replace(
            said=penalty.said.index_put((rows, place), torch.where(valid, away, penalty.said[rows, place]))
        )
    stands = None if end is None else state.roots * end
    slopes = remember(slopes, scaled, change, valid, stands)
    return state._replace(belief=state.belief._replace(slopes=slopes), guesses=guesses, penalty=penalty)


def further(penalty: L1PenaltyEstimate, point: Tensor, interval: Tensor) -> Tensor:
    """By how much an interval (B, d) that begins at the point (B, d) leads away from x0, in |x - x0|_1, (B,)."""
    return distance(penalty, point + interval) - distance(penalty, point)


def priced(state: Guided, point: Tensor, interval: Tensor) -> Tensor:
    """What the inferred penalty adds to f along an interval (B, d) that begins at the point (B, d), (B,)."""
    if state.penalty is None:
        return torch.zeros_like(point[:, 0])
    return factors(state)[1].squeeze(1) * further(state.penalty, point, interval)


def factors(state: Guided) -> tuple[Tensor, Tensor]:
    """The factor kappa of h and the weight c of the penalty, (B, 1) each; 0 where there is none.

    Least squares over the remembered slopes, recent ones first, and one that says kappa = 1 and one that says c = 0.
    """
    slopes, tiny = state.belief.slopes, torch.finfo(state.guesses.dtype).tiny
    size = slopes.values.shape[1]
    place = torch.arange(size, device=slopes.told.device)
    age = (slopes.told.unsqueeze(1) - 1 - place) % size
    fading = FADE ** place.to(state.guesses.dtype)  # a table: a power has other bits at the end of a batch than in it
    recent = torch.where(slopes.full, fading[age], 0.0)
    count = slopes.full.sum(1).clamp_min(1)
    squares = state.guesses.square()
    prior = PRIOR * squares.sum(1) / count
    above = (recent * state.guesses * slopes.values).sum(1) + prior
    below = (recent * squares).sum(1) + prior
    c = torch.zeros_like(below)
    if state.penalty is not None:
        said = state.penalty.said
        both = (recent * state.guesses * said).sum(1)
        own = (recent * said.square()).sum(1) + PRIOR * said.square().sum(1) / count
        told = (recent * said * slopes.values).sum(1)
        determinant = below * own - both.square()
        c = torch.where(determinant > tiny, (below * told - both * above) / determinant.clamp_min(tiny), 0.0)
        c = torch.where(state.on, weight(state.penalty, c), 0.0)
        above = above - c * both
    kappa = torch.where(below > 0, above / below.clamp_min(tiny), 1.0)
    return torch.where(state.on, kappa, 0.0).unsqueeze(1), c.unsqueeze(1)


def residuals_of(state: Guided, kappa: Tensor, c: Tensor) -> Tensor:
    """What the guess and the penalty with these factors (B, 1) leave of the remembered slopes, (B, r)."""
    rest = state.belief.slopes.values - kappa * state.guesses
    if state.penalty is not None:
        rest = rest - c * state.penalty.said
    return torch.where(state.belief.slopes.full, rest, 0.0)


def noise_of(state: Guided, variance: float | None) -> Tensor:
    """D / a, (B, r)."""
    bend = BEND * (state.belief.slopes.lengths / LONG).square().square().clamp_max(1.0)
    return relative_noise(state.belief, variance) + torch.where(state.on.unsqueeze(1), NUGGET + bend, 0.0)
