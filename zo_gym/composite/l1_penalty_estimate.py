"""A penalty c |x - x0|_1 on the way from the start x0, c >= 0 unknown: what a run's own values tell of it.

Attacks, and whatever else is to change little, have such a part. Where f = u(x) + c |x - x0|_1 with u >= 0 in the box
[0, 1]^d, slopes along moves tell c beside what they tell of grad u. Values tell more: c is at most f / |x - x0|_1
anywhere, and is just that where u is 0, as a hinge is once an attack succeeds. There f changes by c for each unit of
distance and by nothing else, so that the rate along a move is f / |x - x0|_1 at its end.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from zo_gym.composite import l1_box
from zo_gym.composite.term import RowTerm

CLOSE = 0.01
"""Rates that differ by less than this share are the same; u that is lower than this share of the penalty is 0."""


class L1PenaltyEstimate(NamedTuple):
    """What a row knows of the penalty."""

    centre: Tensor
    """x0, (B, d)."""
    said: Tensor
    """By how much each remembered slope goes away from x0, in |x - x0|_1 per length, (B, r)."""
    most: Tensor
    """The least f / |x - x0|_1 so far, (B,)."""
    exact: Tensor
    """Has a move shown that c is that? (B,) bool."""


def no_penalty(x: Tensor, size: int) -> L1PenaltyEstimate:
    """At the start x (B, d), for rows that remember `size` slopes."""
    most = x.new_full((len(x),), math.inf)
    return L1PenaltyEstimate(x, x.new_zeros(len(x), size), most, torch.zeros_like(most, dtype=torch.bool))


def distance(penalty: L1PenaltyEstimate, x: Tensor) -> Tensor:
    """|x - x0|_1 at x (B, d), as f sees it: inside the box, (B,)."""
    return (x.clamp(0.0, 1.0) - penalty.centre).abs().sum(1)


def weight(penalty: L1PenaltyEstimate, fitted: Tensor) -> Tensor:
    """c (B,): what was shown, or else what fits the slopes, as far as that is possible."""
    most = penalty.most.clamp_min(0.0)
    return torch.where(penalty.exact, most, torch.minimum(fitted.clamp_min(0.0), most))


def moved(
    penalty: L1PenaltyEstimate, start: Tensor, end: Tensor, change: Tensor, value: Tensor
) -> tuple[L1PenaltyEstimate, Tensor]:
    """The penalty after a move was tried from start to end (B, d) that changed f by `change` to `value` (B,).

    And u at its end, (B,): infinite while c is not known exactly.
    """
    before, after = distance(penalty, start), distance(penalty, end)
    way, tiny = after - before, torch.finfo(value.dtype).tiny
    ratio = value / after.clamp_min(tiny)
    rate = torch.where(way.abs() > 1e-6 * after, change / way, math.nan)  # NaN is like nothing
    shown = (rate > 0) & ((rate - ratio).abs() <= CLOSE * rate) & (ratio <= (1 + CLOSE) * penalty.most)
    exact = shown | (penalty.exact & (ratio >= (1 - CLOSE) * penalty.most))  # a lower one refutes it
    penalty = penalty._replace(most=torch.minimum(penalty.most, ratio), exact=exact)
    asked = penalty.most * after
    level = torch.where(value - asked <= CLOSE * asked, 0.0, value - asked)
    return penalty, torch.where(exact, level, math.inf)


def here(penalty: L1PenaltyEstimate, c: Tensor, believed: Tensor) -> RowTerm:
    """The penalty with this weight c (B,) for a step; rows that do not believe in it, (B,) bool, know nothing."""
    c, centre, held = c.unsqueeze(1), penalty.centre, believed.unsqueeze(1)

    def value(points: Tensor) -> Tensor:
        return torch.where(held, c * (points.clamp(0.0, 1.0) - centre.unsqueeze(1)).abs().sum(2), 0.0)

    def vertex(x: Tensor, part: Tensor, g: Tensor, more: Tensor) -> Tensor:
        return torch.where(held, l1_box.minimise_model(x, part.clamp_min(0.0) + more, g, c, centre), math.nan)

    return RowTerm(
        value,
        lambda x, g: torch.where(held, l1_box.steepest(x, g, c, centre), g),
        lambda x, target, g: torch.where(held, l1_box.project_step(x, target, g, c, centre), target),
        vertex,
    )
