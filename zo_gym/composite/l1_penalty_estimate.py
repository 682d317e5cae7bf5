"""An estimate of a penalty c |x - x0|_1 on the distance from the start x0, from a run's own values; c >= 0 is unknown.

Attacks, and other objectives that want x to change little, have such a part. Where f = u(x) + c |x - x0|_1 with u >= 0
in the box [0, 1]^d, slopes along moves determine c together with grad u. Values determine more: c is at most
f / |x - x0|_1 everywhere, and equals it where u is 0, as a hinge is once an attack succeeds. There f changes by c for
each unit of distance and by nothing else, so that the rate along a move is f / |x - x0|_1 at its end.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from zo_gym.composite.norm_penalty import minimise_model, project_step, steepest
from zo_gym.composite.term import RowTerm

TOLERANCE = 0.01
"""Two rates that differ by less than this share count as equal; u below this share of the penalty counts as 0."""
LEAST_CHANGE = 1e-6
"""The least change of the distance along a move that measures a rate, in units of the distance at its end."""


class L1PenaltyEstimate(NamedTuple):
    """The estimate of each row."""

    centre: Tensor
    """x0, (B, d)."""
    rates: Tensor
    """The change of |x - x0|_1 per unit of length along each stored slope, (B, r)."""
    bound: Tensor
    """The least f / |x - x0|_1 so far, an upper bound of c, (B,)."""
    exact: Tensor
    """Whether a move has shown that c equals the bound, (B,) bool."""


def no_estimate(x: Tensor, size: int) -> L1PenaltyEstimate:
    """Return the estimate at the start x (B, d), for rows that store `size` slopes."""
    bound = x.new_full((len(x),), math.inf)
    return L1PenaltyEstimate(x, x.new_zeros(len(x), size), bound, torch.zeros_like(bound, dtype=torch.bool))


def distance(penalty: L1PenaltyEstimate, x: Tensor) -> Tensor:
    """Compute |x - x0|_1 at x (B, d), clipped to the box as f sees it, (B,)."""
    return (x.clamp(0.0, 1.0) - penalty.centre).abs().sum(1)


def estimate_weight(penalty: L1PenaltyEstimate, fitted: Tensor) -> Tensor:
    """Estimate c (B,): the bound where it is exact, else the weight fitted to the slopes, clipped to its bounds."""
    bound = penalty.bound.clamp_min(0.0)
    return torch.where(penalty.exact, bound, torch.minimum(fitted.clamp_min(0.0), bound))


def update_estimate(
    penalty: L1PenaltyEstimate, start: Tensor, end: Tensor, change: Tensor, value: Tensor
) -> tuple[L1PenaltyEstimate, Tensor]:
    """Update the estimate after a move was tried from start to end (B, d), which changed f by `change` to `value` (B,).

    Return it, and u at the end of the move, (B,), which is infinite while c is not known exactly.
    """
    before, after = distance(penalty, start), distance(penalty, end)
    way, tiny = after - before, torch.finfo(value.dtype).tiny
    ratio = value / after.clamp_min(tiny)
    rate = torch.where(way.abs() > LEAST_CHANGE * after, change / way, math.nan)  # NaN equals nothing
    shown = (rate > 0) & ((rate - ratio).abs() <= TOLERANCE * rate) & (ratio <= (1 + TOLERANCE) * penalty.bound)
    exact = shown | (penalty.exact & (ratio >= (1 - TOLERANCE) * penalty.bound))  # a lower one refutes it
    penalty = penalty._replace(bound=torch.minimum(penalty.bound, ratio), exact=exact)
    part = penalty.bound * after
    rest = torch.where(value - part <= TOLERANCE * part, 0.0, value - part)
    return penalty, torch.where(exact, rest, math.inf)


def penalty_term(penalty: L1PenaltyEstimate, c: Tensor, in_use: Tensor) -> RowTerm:
    """Return the penalty with weight c (B,) as a composite term; in rows that do not use it, (B,) bool, it is 0."""
    c, centre, used = c.unsqueeze(1), penalty.centre, in_use.unsqueeze(1)

    def value(points: Tensor) -> Tensor:
        return torch.where(used, c * (points.clamp(0.0, 1.0) - centre.unsqueeze(1)).abs().sum(2), 0.0)

    return RowTerm(
        value=value,
        subgradient=lambda x, g: torch.where(used, steepest(x, g, c, centre), g),
        project_step=lambda x, end, g: torch.where(used, project_step(x, end, g, c, centre), end),
        minimise_model=lambda x, part, g, lift: torch.where(
            used, minimise_model(x, part.clamp_min(0.0) + lift, g, c, centre), math.nan
        ),
    )
