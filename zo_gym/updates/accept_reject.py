"""Update rules that find their own step size: they accept or reject each move by the value it reached."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from zo_gym.base import Estimate, State, UpdateRule
from zo_gym.checks import check_positive

FACTORS = (0.5, 0.9, 1.15)
"""`adaptive`: the factors of eta after a rejected move, after one that is neither, and after a good one."""
GOOD_RATIO = 0.4
"""`adaptive`: actual / predicted decrease above which a move is good."""
POOR, GOOD = 0.25, 0.6
"""`trust_region`: actual / predicted decrease below which the radius shrinks, and above which it may grow."""
FULL = 0.8
"""The share of the radius that a step must have used for the radius to grow."""
SHRINK, GROW = 0.5, 1.6
"""The factors by which the radius shrinks and grows."""
LEAST_RADIUS = 1e-6
"""The least radius, in units of the first one."""
INNER_STEPS = 20
"""The number of steps of the inner minimisation."""
LENGTH_RATIO = 100.0
"""The largest ratio of the lengths of two successive inner steps."""


@cache
def _factors(dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(FACTORS, dtype=dtype, device=device)


def adaptive(learning_rate: float) -> UpdateRule:
    """Step to x' = x - eta g if that lowers f; adapt eta to how well the linear model predicted the decrease.

    With predicted = eta (grad f . g), which the step's own slopes measure, and actual = f(x) - f(x'):
    actual <= 0: the move is rejected and eta halves; actual / predicted > 0.4: eta grows by 15 %; else it shrinks by
    10 %. It needs no query beyond f(x'). Under noise a lucky value can be kept: see `reevaluate`.

    Args:
        learning_rate: The first eta > 0; a wrong one costs a handful of steps.
    """
    first = check_positive("learning_rate", learning_rate)

    def init(x: Tensor) -> State:
        return x.new_full((len(x), 1), first)

    def propose(eta: State, x: Tensor, fx: Tensor, estimate: Estimate) -> tuple[Tensor, State]:
        return x - eta * estimate.gradient, eta

    def judge(eta: State, fx: Tensor, f_new: Tensor, estimate: Estimate) -> tuple[Tensor, State]:
        actual = fx - f_new
        accepted = actual > 0
        good = actual > GOOD_RATIO * eta.squeeze(1) * estimate.gain
        # A good move is an accepted one (the gain is never negative), so the sum is the index of its factor.
        factor = _factors(eta.dtype, eta.device)[accepted.long() + (accepted & good).long()]
        return accepted, eta * factor.unsqueeze(1)

    return UpdateRule(init, propose, judge)


class Region(NamedTuple):
    """The state of the rule."""

    radius: Tensor
    """The radius, in units of x, (B, 1)."""
    length: Tensor
    """The length of the last proposed step, (B,)."""
    predicted: Tensor
    """The predicted decrease of f along it, (B,)."""


def trust_region(learning_rate: float) -> UpdateRule:
    """Step to x' = x + s if that lowers f, where s minimises the gradient model within |s| <= radius.

    `Estimate.gradient_at` predicts g at other points, so that one step follows a curved valley and stops at its bottom,
    at no query: s is the end of 20 projected Barzilai-Borwein steps, each with the shorter of their two lengths,
    without those that lead uphill. Where no model predicts g elsewhere, s is the radius along -g.

    With actual = f(x) - f(x') and predicted the integral of the predicted gradient along the inner steps,
    actual / predicted < 0.25 halves the radius, and > 0.6 after a step of at least 0.8 radii makes it grow by 60 %. It
    needs no query beyond the f(x') that every step makes. Under noise a lucky value can be kept: see `reevaluate`.

    Time per step and row O(20 r d) with a model of r slopes.

    Args:
        learning_rate: The first radius > 0, a length in units of x; a wrong one costs a handful of steps.

    References: Barzilai and Borwein (1988), "Two-point step size gradient methods", IMA J. Numer. Anal. 8; Conn, Gould
    and Toint (2000), "Trust-region methods", SIAM, section 6.1.
    """
    first = check_positive("learning_rate", learning_rate)

    def init(x: Tensor) -> State:
        return Region(x.new_full((len(x), 1), first), x.new_zeros(len(x)), x.new_zeros(len(x)))

    def propose(region: Region, x: Tensor, fx: Tensor, estimate: Estimate) -> tuple[Tensor, State]:
        g, predict, inside = estimate.gradient, estimate.gradient_at, estimate.inside
        if predict is None:
            norm = torch.linalg.vector_norm(g, dim=1, keepdim=True)
            move = -region.radius * g / norm.clamp_min(torch.finfo(g.dtype).tiny)
            move = move if inside is None else inside(x + move) - x
            predicted = -(g * move).sum(1)
        else:
            move, predicted = _minimise(
                lambda s: predict(x + s), g, region.radius, None if inside is None else lambda s: inside(x + s) - x
            )
        return x + move, Region(region.radius, torch.linalg.vector_norm(move, dim=1), predicted)

    def judge(region: Region, fx: Tensor, f_new: Tensor, estimate: Estimate) -> tuple[Tensor, State]:
        radius, length, predicted = region.radius.squeeze(1), region.length, region.predicted
        actual = fx - f_new
        grown = torch.where((actual > GOOD * predicted) & (length >= FULL * radius), GROW * radius, radius)
        radius = torch.where(actual >= POOR * predicted, grown, SHRINK * torch.minimum(radius, length))
        return actual > 0, region._replace(radius=radius.clamp_min(LEAST_RADIUS * first).unsqueeze(1))

    return UpdateRule(init, propose, judge)


def _minimise(
    gradient: Callable[[Tensor], Tensor], g: Tensor, radius: Tensor, inside: Callable[[Tensor], Tensor] | None
) -> tuple[Tensor, Tensor]:
    """Minimise a function with this gradient (B, d) -> (B, d), which is g at 0, within the radius (B, 1) and the box.

    Return the end of the descent from 0, (B, d), and the decrease until there, (B,).
    """
    tiny = torch.finfo(g.dtype).tiny
    at, slope, decrease = torch.zeros_like(g), g, g.new_zeros(len(g), 1)
    size = radius / (4 * torch.linalg.vector_norm(g, dim=1, keepdim=True).clamp_min(tiny))
    for _ in range(INNER_STEPS):
        aim = at - size * slope
        aim = aim * (radius / torch.linalg.vector_norm(aim, dim=1, keepdim=True).clamp_min(tiny)).clamp_max(1.0)
        aim = aim if inside is None else inside(aim)
        move, ahead = aim - at, gradient(aim)
        gain = -((slope + ahead) / 2 * move).sum(1, keepdim=True)  # trapezoid rule
        down = gain > 0
        turn = ahead - slope
        bend = (move * turn).sum(1, keepdim=True)
        shortest, longest = size / LENGTH_RATIO, LENGTH_RATIO * size
        matched = torch.clamp(bend / turn.square().sum(1, keepdim=True).clamp_min(tiny), shortest, longest)
        onward = torch.where(bend > 0, matched, 2 * size)
        size = torch.where(down, onward, torch.minimum(onward, size / 2))
        at, slope = torch.where(down, aim, at), torch.where(down, ahead, slope)
        decrease = torch.where(down, decrease + gain, decrease)
    return at, decrease.squeeze(1)
