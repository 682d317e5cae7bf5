"""The penalty c |x - x0|_1 in the box [0, 1]^d, as descent methods need it; c is a number, or one per row, (b, 1)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def least_slope(p: Tensor, g: Tensor, c: float | Tensor) -> Tensor:
    """Return the element of least norm of g + c * subdifferential of |p|_1, (b, d), for p = x - x0 (b, d), g (b, d)."""
    return torch.where(p == 0, g - g.clamp(-c, c), g + c * p.sign())  # type: ignore[arg-type]  # both work


def steepest(
    x: Tensor,
    g: Tensor,
    c: float | Tensor,
    centre: Tensor,
    least: Callable[[Tensor, Tensor, Any], Tensor] = least_slope,
) -> Tensor:
    """Return the steepest feasible slope, (b, d), of a function with the gradient g (b, d) plus c |x - x0|.

    The norm is the one that `least` serves: |.|_1 for `least_slope`.
    """
    p = x.clamp(0.0, 1.0) - centre
    lowest = torch.where(x >= 1, 0.0, -math.inf).to(x)  # at a bound no step along -slope may leave the box
    highest = torch.where(x <= 0, 0.0, math.inf).to(x)
    g = torch.where(p == 0, g.clamp(lowest, highest), g)  # the bounds hold this part, so the norm need not
    return least(p, g, c).clamp(lowest, highest)


def project_step(x: Tensor, target: Tensor, g: Tensor, c: float | Tensor, centre: Tensor) -> Tensor:
    """Return the end of a move from x to `target`: in the box, and on x0_i where it would cross x0_i and |g_i| <= c.

    There the norm holds the coordinate at its kink; otherwise steps of a finite length would jump to and fro over it.

    Reference: Andrew and Gao (2007), "Scalable training of L1-regularized log-linear models", ICML.
    """
    inside = target.clamp(0.0, 1.0)
    crossed = (x - centre) * (inside - centre) < 0
    return torch.where(crossed & (g.abs() <= c), centre, inside)


def minimise_model(x: Tensor, level: Tensor, g: Tensor, c: float | Tensor, centre: Tensor) -> Tensor:
    """Return the y in the box that minimises max(0, level + g . (y - x)) + c |y - x0|_1, (b, d); level (b,).

    This is a fractional knapsack: a coordinate that goes from x0_i to its bound lowers the first part by |g_i| per unit
    and raises the second by c. So coordinates go in falling order of |g_i|, until the first part is 0 or |g_i| <= c.
    """
    size = g.abs()
    room = torch.where(g > 0, centre, 1 - centre)
    falling, order = size.sort(dim=1, descending=True)
    gain = torch.where(falling > c, falling * room.gather(1, order), 0.0)
    wanted = (level + (g * (centre - x)).sum(1)).unsqueeze(1) - (gain.cumsum(1) - gain)
    share = torch.where(gain > 0, wanted / gain.clamp_min(torch.finfo(g.dtype).tiny), 0.0).clamp(0.0, 1.0)
    return centre - g.sign() * room * torch.zeros_like(g).scatter(1, order, share)
