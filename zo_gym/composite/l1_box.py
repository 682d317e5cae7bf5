"""c |x - x0|_1 in the box [0, 1]^d: what a descent needs of it. c is a number, or one of each row, (b, 1)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def least_slope(p: Tensor, g: Tensor, c: float | Tensor) -> Tensor:
    """The element of least norm of g + c * subdifferential of |p|_1, (b, d), for p = x - x0 (b, d) and g (b, d)."""
    return torch.where(p == 0, g - g.clamp(-c, c), g + c * p.sign())  # type: ignore[arg-type]  # both work


def steepest(
    x: Tensor,
    g: Tensor,
    c: float | Tensor,
    centre: Tensor,
    least: Callable[[Tensor, Tensor, Any], Tensor] = least_slope,
) -> Tensor:
    """The steepest feasible slope of a function with the gradient g (b, d) plus c |x - x0|, (b, d).

    The norm is that of `least_slope`, or another one whose function is given.
    """
    p = x.clamp(0.0, 1.0) - centre
    lowest = torch.where(x >= 1, 0.0, -math.inf).to(x)  # where x is on a bound, no step along -slope may leave the box
    highest = torch.where(x <= 0, 0.0, math.inf).to(x)
    g = torch.where(p == 0, g.clamp(lowest, highest), g)  # what the bounds hold, the norm need not
    return least(p, g, c).clamp(lowest, highest)


def project_step(x: Tensor, target: Tensor, g: Tensor, c: float | Tensor, centre: Tensor) -> Tensor:
    """Where a move from x ends: in the box, and on x0_i where it would cross it and the norm holds it there.

    That is where |g_i| <= c, as in the orthant-wise method of Andrew and Gao (2007): otherwise steps of a finite length
    would jump to and fro over the kink for ever.
    """
    inside = target.clamp(0.0, 1.0)
    crossed = (x - centre) * (inside - centre) < 0
    return torch.where(crossed & (g.abs() <= c), centre, inside)


def minimise_model(x: Tensor, level: Tensor, g: Tensor, c: float | Tensor, centre: Tensor) -> Tensor:
    """The y in the box where max(0, level + g . (y - x)) + c |y - x0|_1 is least, (b, d); level (b,).

    A fractional knapsack: a coordinate that goes from x0_i to its bound lowers the model by |g_i| for each c that it
    costs, so those with the largest |g_i| go, until the model is 0, and none whose |g_i| is not worth c.
    """
    size = g.abs()
    room = torch.where(g > 0, centre, 1 - centre)
    falling, order = size.sort(dim=1, descending=True)
    gain = torch.where(falling > c, falling * room.gather(1, order), 0.0)
    wanted = (level + (g * (centre - x)).sum(1)).unsqueeze(1) - (gain.cumsum(1) - gain)
    share = torch.where(gain > 0, wanted / gain.clamp_min(torch.finfo(g.dtype).tiny), 0.0).clamp(0.0, 1.0)
    return centre - g.sign() * room * torch.zeros_like(g).scatter(1, order, share)
