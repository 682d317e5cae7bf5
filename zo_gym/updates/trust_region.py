"""An update rule that walks down what the sampler believes of grad f, as far as that has been right."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from zo_gym.base import Estimate, State, UpdateRule
from zo_gym.checks import check_positive

POOR, GOOD, FULL = 0.25, 0.6, 0.8
"""Actual / predicted decrease below which the radius shrinks and above which it may grow, and the share of the radius
that a move must have used for that."""
SHRUNK, GROWN, FLOOR = 0.5, 1.6, 1e-6
"""Factors of the radius, and its least value in units of the first."""
STEPS, SPAN = 20, 100.0
"""Of the walk: how many steps, and how many times longer or shorter the next may be."""


class Region(NamedTuple):
    """How far the belief is trusted."""

    radius: Tensor
    """(B, 1)."""
    length: Tensor
    """Of the move proposed last, (B,)."""
    predicted: Tensor
    """By how much it should lower f, (B,)."""


def trust_region(learning_rate: float) -> UpdateRule:
    """x' = x + s, kept only if it lowers f: s is where a walk down the believed gradient ends, |s| <= radius.

    `Estimate.field` tells what g would be elsewhere, so that one step follows a valley round its bends and stops at its
    bottom, at no query: 20 projected Barzilai-Borwein steps, the shorter of their two lengths, those undone that lead
    uphill. Where the sampler has no field, s is the radius along -g.

    With actual = f(x) - f(x') and predicted the integral of the field along the walk, actual / predicted < 0.25 halves
    the radius, and > 0.6 after a move of at least 0.8 of it lets it grow by 60 %. No query beyond the f(x') that every
    step makes. Under noise a lucky value can be kept: see `reevaluate`.

    Time per step and row O(20 r d) with a field of r slopes.

    Args:
        learning_rate: The first radius, a length in units of x; a wrong one costs a handful of steps.

    References: Barzilai and Borwein (1988), "Two-point step size gradient methods"; Conn, Gould and Toint (2000),
    "Trust-region methods", section 6.1.
    """
    first = check_positive("learning_rate", learning_rate)

    def init(x: Tensor) -> State:
        return Region(x.new_full((len(x), 1), first), x.new_zeros(len(x)), x.new_zeros(len(x)))

    def propose(region: Region, x: Tensor, fx: Tensor, estimate: Estimate) -> tuple[Tensor, State]:
        g, field = estimate.gradient, estimate.gradient_at
        if field is None:
            norm = torch.linalg.vector_norm(g, dim=1, keepdim=True)
            move = -region.radius * g / norm.clamp_min(torch.finfo(g.dtype).tiny)
            predicted = -(g * move).sum(1)
        else:
            move, predicted = _walk(lambda s: field(x + s), g, region.radius)
        return x + move, Region(region.radius, torch.linalg.vector_norm(move, dim=1), predicted)

    def judge(region: Region, fx: Tensor, f_new: Tensor, estimate: Estimate) -> tuple[Tensor, State]:
        radius, length, predicted = region.radius.squeeze(1), region.length, region.predicted
        actual = fx - f_new
        grown = torch.where((actual > GOOD * predicted) & (length >= FULL * radius), GROWN * radius, radius)
        radius = torch.where(actual >= POOR * predicted, grown, SHRUNK * torch.minimum(radius, length))
        return actual > 0, region._replace(radius=radius.clamp_min(FLOOR * first).unsqueeze(1))

    return UpdateRule(init, propose, judge)


def _walk(field: Callable[[Tensor], Tensor], g: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """Where the field (B, d) -> (B, d), which is g at 0, leads down within the radius, and the fall until there."""
    tiny = torch.finfo(g.dtype).tiny
    at, slope, fall = torch.zeros_like(g), g, g.new_zeros(len(g), 1)
    size = radius / (4 * torch.linalg.vector_norm(g, dim=1, keepdim=True).clamp_min(tiny))
    for _ in range(STEPS):
        aim = at - size * slope
        aim = aim * (radius / torch.linalg.vector_norm(aim, dim=1, keepdim=True).clamp_min(tiny)).clamp_max(1.0)
        move, ahead = aim - at, field(aim)
        gain = -((slope + ahead) / 2 * move).sum(1, keepdim=True)  # trapezoid rule
        down = gain > 0
        turn = ahead - slope
        bend = (move * turn).sum(1, keepdim=True)
        matched = torch.clamp(bend / turn.square().sum(1, keepdim=True).clamp_min(tiny), size / SPAN, SPAN * size)
        onward = torch.where(bend > 0, matched, 2 * size)
        size = torch.where(down, onward, torch.minimum(onward, size / 2))
        at, slope = torch.where(down, aim, at), torch.where(down, ahead, slope)
        fall = torch.where(down, fall + gain, fall)
    return at, fall.squeeze(1)
