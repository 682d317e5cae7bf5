"""The composite term of an attack: c |x - x0|_p in the box [0, 1]^d, for p = 1, 2 or infinity.

The functions on which `l1_penalty_estimate` relies, too, take a c per row, (b, 1), as well as a number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zo_gym.batch_invariant import norm as euclidean_norm
from zo_gym.composite.term import CompositeTerm
from zo_gym.problem import Objective

Least = Callable[[Tensor, Tensor, Any], Tensor]
"""Finds, from p (n, d), g (n, d) and c, the element of least norm of g + c * subdifferential of |p|, (n, d)."""


class Norm(NamedTuple):
    """A norm of p over the last dimension, and its subdifferential."""

    value: Objective
    """Computes |p|, p (n, d) -> (n,); at a kink autograd takes the subgradient sign(0) = 0."""
    least: Least


def _least_l1(p: Tensor, g: Tensor, c: float | Tensor) -> Tensor:
    return torch.where(p == 0, g - g.clamp(-c, c), g + c * p.sign())  # type: ignore[arg-type]  # both work


def _least_l2(p: Tensor, g: Tensor, c: float) -> Tensor:
    tiny = torch.finfo(p.dtype).tiny
    length, slope = (torch.linalg.vector_norm(v, dim=1, keepdim=True) for v in (p, g))
    shrunk = g * (1 - c / slope.clamp_min(tiny)).clamp_min(0.0)  # at 0 the subdifferential is the unit ball
    return torch.where(length == 0, shrunk, g + c * p / length.clamp_min(tiny))


def _least_linf(p: Tensor, g: Tensor, c: float) -> Tensor:
    # Away from 0 and where one |p_i| is largest, which is all but a null set, the norm has a gradient.
    largest = torch.nn.functional.one_hot(p.abs().argmax(dim=1), p.shape[1]) * p.sign()
    return torch.where((p == 0).all(dim=1, keepdim=True), g - _onto_l1_ball(g, c), g + c * largest)


def _onto_l1_ball(v: Tensor, radius: float) -> Tensor:
    """Return the nearest point of the l1 ball to each row.

    Reference: Duchi et al. (2008), "Efficient projections onto the l1-ball for learning in high dimensions", figure 1.
    """
    size = v.abs()
    falling, _ = size.sort(dim=1, descending=True)
    count = torch.arange(1, v.shape[1] + 1, dtype=v.dtype, device=v.device)
    excess = (falling.cumsum(1) - radius) / count
    last = (falling > excess).sum(1, keepdim=True).clamp_min(1) - 1
    outside = v.sign() * (size - excess.gather(1, last)).clamp_min(0.0)
    return torch.where(size.sum(1, keepdim=True) > radius, outside, v)


NORMS: dict[str, Norm] = {
    "l1": Norm(lambda p: p.abs().sum(dim=1), _least_l1),
    "l2": Norm(euclidean_norm, _least_l2),
    "linf": Norm(lambda p: p.abs().amax(dim=1), _least_linf),
}


def steepest(x: Tensor, g: Tensor, c: float | Tensor, centre: Tensor, least: Least = _least_l1) -> Tensor:
    """Return the steepest feasible slope, (b, d), of a function with the gradient g (b, d) plus c |x - x0|.

    The norm is the one that `least` serves: |.|_1 unless told otherwise.
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


def norm_penalty(norm: str, c: float, centres: Tensor) -> CompositeTerm:
    """Return the term c |clip(x) - x0| in the box [0, 1]^d, for a black-box part that is never negative, as a hinge.

    Args:
        norm: A key of `NORMS`.
        c: The weight, >= 0, in units of f per unit of distance.
        centres: x0 of every instance, (size, d), in [0, 1].
    """
    chosen, l1 = NORMS[norm], norm == "l1"

    def value(points: Tensor, instances: Tensor) -> Tensor:  # (b, m, d), (b,) -> (b, m)
        moved = points.clamp(0.0, 1.0) - centres[instances].unsqueeze(1)
        return c * chosen.value(moved.flatten(0, 1)).view(points.shape[:2])

    return CompositeTerm(
        value,
        subgradient=lambda x, g, i: steepest(x, g, c, centres[i], chosen.least),
        # A move across x0_i ends there where the l1 norm outweighs the slope.
        project_step=lambda x, end, g, i: project_step(x, end, g, c, centres[i]) if l1 else end.clamp(0.0, 1.0),
        lower_bound=0.0,
        minimise_model=(lambda x, level, g, i: minimise_model(x, level, g, c, centres[i])) if l1 else None,
    )
