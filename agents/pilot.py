"""Who decides how far to go: an update rule whose step length and sharpness are an action, a network's or another's.

The direction is not its business. It sees how the run has gone, in numbers without a scale, and chooses for each move
the logarithm of its length and p of its sharpening (`zo_gym.updates.sharpened`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from zo_gym.base import Estimate, State, UpdateRule
from zo_gym.directions import sharpen

SHORTEST, LONGEST, SHARPEST = 0.02, 8.0, 4.0
"""Actions from -1 to 1 mean lengths from SHORTEST to LONGEST, in units of x, evenly in the logarithm; and p from 1 to
SHARPEST."""
STEPS = 25
"""Moves that are piloted; then lengths diminish."""
NUM_FEATURES = 8
MOST = 3.0
"""Features are cut at +- this."""

Pilot = Callable[[Tensor], Tensor]
"""Features (B, NUM_FEATURES) -> actions (B, 2) in [-1, 1]."""


class Flight(NamedTuple):
    """What a row carries; see `features`."""

    action: Tensor
    """Of the next move, (B, 2): what a rule without a pilot does."""
    first: Tensor
    """f at the start, (B,); 0 before the first move."""
    best: Tensor
    """Least f so far, (B,)."""
    last: Tensor
    """The last action, (B, 2)."""
    slope: Tensor
    """The last move's measured slope times its length: the decrease that was to be expected, (B,)."""
    change: Tensor
    """What f did instead, over f before, (B,)."""
    ratio: Tensor
    """Decrease over the expected one, (B,)."""
    moves: Tensor
    """(B,)."""


def features(flight: Flight, fx: Tensor) -> Tensor:
    """How the run has gone, (B, NUM_FEATURES), from the flight and f(x) (B,).

    log f(x) / f(x0), log f(x) / best f, the last action, expected decrease / f, change / f, actual / expected, moves.
    """
    tiny = torch.finfo(fx.dtype).tiny
    started = flight.first > 0

    def log_ratio(part: Tensor) -> Tensor:
        return torch.where(started, (fx.clamp_min(tiny) / torch.where(started, part, 1.0)).log(), 0.0)

    columns = [
        log_ratio(flight.first),
        log_ratio(flight.best),
        flight.last[:, 0],
        flight.last[:, 1],
        flight.slope / fx.clamp_min(tiny),
        flight.change,
        flight.ratio,
        flight.moves / STEPS,
    ]
    return torch.stack(columns, dim=1).clamp(-MOST, MOST)


def lengths(action: Tensor) -> Tensor:
    """Of moves, for actions (B, 2): (B,)."""
    return torch.exp(math.log(SHORTEST) + (action[:, 0] + 1) / 2 * math.log(LONGEST / SHORTEST))


def sharpnesses(action: Tensor) -> Tensor:
    """p of moves, for actions (B, 2): (B, 1)."""
    return 1 + (action[:, 1:] + 1) / 2 * (SHARPEST - 1)


def steered(pilot: Pilot | None, then: UpdateRule | None = None) -> UpdateRule:
    """x' = x - s v, v the sharpened unit direction of g, with s and p as the pilot says; every move is kept.

    Args:
        pilot: Who decides; None: what the state's `action` says, which an environment sets.
        then: The rule after `STEPS` moves; it counts its own steps from the start of the run. None: go on.
    """

    def init(x: Tensor) -> State:
        zero, two = x.new_zeros(len(x)), x.new_zeros(len(x), 2)
        later = None if then is None else then.init(x)
        return Flight(two, zero, zero, two, zero, zero, zero, zero), later

    def propose(state: State, x: Tensor, fx: Tensor, estimate: Estimate) -> tuple[Tensor, State]:
        flight, later = state
        action = flight.action if pilot is None else pilot(features(flight, fx))
        v = sharpen(estimate.gradient, sharpnesses(action))
        length = lengths(action)
        target = x - length.unsqueeze(1) * v
        if then is not None:
            afterwards, later = then.propose(later, x, fx, estimate)
            target = torch.where((flight.moves < STEPS).unsqueeze(1), target, afterwards)
        new = flight.first == 0
        flight = flight._replace(
            first=torch.where(new, fx, flight.first),
            best=torch.where(new, fx, flight.best),
            last=action,
            slope=(estimate.gradient * v).sum(1) * length,
        )
        return target, (flight, later)

    def judge(state: State, fx: Tensor, f_new: Tensor, estimate: Estimate) -> tuple[Tensor, State]:
        flight, later = state
        tiny = torch.finfo(fx.dtype).tiny
        decrease = fx - f_new
        flight = flight._replace(
            best=torch.minimum(flight.best, f_new),
            change=(-decrease / fx.abs().clamp_min(tiny)).clamp(-MOST, MOST),
            ratio=torch.where(flight.slope > tiny, decrease / flight.slope.clamp_min(tiny), 0.0).clamp(-MOST, MOST),
            moves=flight.moves + 1,
        )
        return torch.ones_like(fx, dtype=torch.bool), (flight, later)

    return UpdateRule(init, propose, judge)
