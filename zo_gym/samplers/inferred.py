"""A penalty c |x - x0|_1 on the way from the start x0, c >= 0 unknown: what a run's own values tell of it.

Attacks, and whatever else is to change little, have such a part. Where f = u(x) + c |x - x0|_1 with u >= 0 in the box
[0, 1]^d, slopes along moves tell c beside what they tell of grad u. Two marks tell more: c is at most f / |x - x0|_1
anywhere; and where u is at its floor, as a hinge is once an attack succeeds, f changes by c for each unit of distance
and by nothing else, so that the rate of one move is that of the next, or is f / |x - x0|_1 itself.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from zo_gym import l1_box
from zo_gym.base import KnownHere

ALIKE, FLAT = 0.05, 0.01
"""Rates that differ by less than this share are the same; u that is lower than this share of the penalty is 0."""


class Inferred(NamedTuple):
    """What a row knows of the penalty."""

    centre: Tensor
    """x0, (B, d)."""
    said: Tensor
    """By how much each remembered slope goes away from x0, in |x - x0|_1 per length, (B, r)."""
    rate: Tensor
    """What f changed by for each unit of |x - x0|_1 in the last move, (B,); NaN where it kept its distance."""
    seen: Tensor
    """c as such rates have shown it, (B,); NaN: not yet."""
    most: Tensor
    """The least f / |x - x0|_1 so far, (B,)."""
    floor: Tensor
    """Of u, (B,): 0, unless u has been seen to be lower."""


def no_penalty(x: Tensor, size: int) -> Inferred:
    """At the start x (B, d), for rows that remember `size` slopes."""
    flat = x.new_zeros(len(x))
    nothing = torch.full_like(flat, math.nan)
    return Inferred(x, x.new_zeros(len(x), size), nothing, nothing, torch.full_like(flat, math.inf), flat)


def distance(penalty: Inferred, x: Tensor) -> Tensor:
    """|x - x0|_1 at x (B, d), as f sees it: inside the box, (B,)."""
    return (x.clamp(0.0, 1.0) - penalty.centre).abs().sum(1)


def weight(penalty: Inferred, fitted: Tensor) -> Tensor:
    """c (B,): what was seen, or else what fits the slopes, as far as that is possible."""
    possible = torch.minimum(fitted, penalty.most).clamp_min(0.0)
    return torch.where(penalty.seen.isnan(), possible, penalty.seen)


def moved(penalty: Inferred, start: Tensor, end: Tensor, change: Tensor, value: Tensor) -> tuple[Inferred, Tensor]:
    """The penalty after a move was tried from start to end (B, d) that changed f by `change` to `value` (B,).

    And u at its end above the floor, (B,): infinite while c was not seen.
    """
    before, after = distance(penalty, start), distance(penalty, end)
    way, tiny = after - before, torch.finfo(value.dtype).tiny
    rate = torch.where(way.abs() > 1e-6 * after, change / way, math.nan)
    ratio = value / after.clamp_min(tiny)
    alike = (rate > 0) & (
        ((rate - penalty.rate).abs() <= ALIKE * rate) | ((rate - ratio).abs() <= ALIKE * rate)
    )  # NaN is like nothing
    seen = torch.where(alike, rate, penalty.seen)
    left = value - seen * after
    floor = torch.where(alike, left, penalty.floor)
    floor = torch.where(left < floor - FLAT * seen * after, left, floor)
    level = torch.where(left - floor <= FLAT * seen * after, 0.0, left - floor)
    level = torch.where(seen.isnan(), math.inf, level)
    most = torch.minimum(penalty.most, ratio)
    return penalty._replace(rate=rate, seen=seen, most=most, floor=floor), level


def here(penalty: Inferred, c: Tensor) -> KnownHere:
    """The penalty with this weight c (B,) for a step."""
    c, centre = c.unsqueeze(1), penalty.centre

    def value(points: Tensor) -> Tensor:
        return c * (points.clamp(0.0, 1.0) - centre.unsqueeze(1)).abs().sum(2)

    def vertex(x: Tensor, part: Tensor, g: Tensor, more: Tensor) -> Tensor:
        level = (part - penalty.floor).clamp_min(0.0) + more
        return l1_box.vertex(x, level, g, c, centre)

    return KnownHere(
        value,
        lambda x, g: l1_box.steepest(x, g, c, centre),
        lambda x, target, g: l1_box.land(x, target, g, c, centre),
        vertex,
    )
