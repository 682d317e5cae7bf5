"""The composite term of an attack: c |x - x0|_p in the box [0, 1]^d, for p = 1, 2 or infinity."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from zo_gym.batch_invariant import norm as euclidean_norm
from zo_gym.composite import l1_box
from zo_gym.composite.term import CompositeTerm
from zo_gym.problem import Objective


class Norm(NamedTuple):
    """A norm of p over the last dimension, and its subdifferential."""

    value: Objective
    """Computes |p|, p (n, d) -> (n,); at a kink autograd takes the subgradient sign(0) = 0."""
    least: Callable[[Tensor, Tensor, float], Tensor]
    """Finds, from p (n, d), g (n, d) and c, the element of least norm of g + c * subdifferential of |p|, (n, d)."""


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

    Reference: Duchi et al. (2008), "Efficient projections onto the l1-ball for learning in high dimensions", ICML,
    figure 1.
    """
    size = v.abs()
    falling, _ = size.sort(dim=1, descending=True)
    count = torch.arange(1, v.shape[1] + 1, dtype=v.dtype, device=v.device)
    excess = (falling.cumsum(1) - radius) / count
    last = (falling > excess).sum(1, keepdim=True).clamp_min(1) - 1
    outside = v.sign() * (size - excess.gather(1, last)).clamp_min(0.0)
    return torch.where(size.sum(1, keepdim=True) > radius, outside, v)


NORMS: dict[str, Norm] = {
    "l1": Norm(lambda p: p.abs().sum(dim=1), l1_box.least_slope),
    "l2": Norm(euclidean_norm, _least_l2),
    "linf": Norm(lambda p: p.abs().amax(dim=1), _least_linf),
}


def norm_penalty(norm: str, c: float, centres: Tensor) -> CompositeTerm:
    """Return the term c |clip(x) - x0| in the box [0, 1]^d, for a black-box part that is never negative, as a hinge.

    For the l1 norm see `zo_gym.composite.l1_box`: a move across x0_i ends there where the norm outweighs the slope.

    Args:
        norm: A key of `NORMS`.
        c: The weight, >= 0, in units of f per unit of distance.
        centres: x0 of every instance, (size, d), in [0, 1].
    """
    chosen = NORMS[norm]

    def value(points: Tensor, instances: Tensor) -> Tensor:  # (b, m, d), (b,) -> (b, m)
        moved = points.clamp(0.0, 1.0) - centres[instances].unsqueeze(1)
        return c * chosen.value(moved.flatten(0, 1)).view(points.shape[:2])

    def project_step(x: Tensor, target: Tensor, g: Tensor, instances: Tensor) -> Tensor:
        return l1_box.project_step(x, target, g, c, centres[instances]) if norm == "l1" else target.clamp(0.0, 1.0)

    def minimise_model(x: Tensor, level: Tensor, g: Tensor, instances: Tensor) -> Tensor:
        return l1_box.minimise_model(x, level, g, c, centres[instances])

    return CompositeTerm(
        value,
        subgradient=lambda x, g, instances: l1_box.steepest(x, g, c, centres[instances], chosen.least),
        project_step=project_step,
        lower_bound=0.0,
        minimise_model=minimise_model if norm == "l1" else None,
    )
