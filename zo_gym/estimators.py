"""Estimators: they choose the points to query, and turn their values into a gradient.

With slopes delta_i = (f(x + mu u_i) - f(x)) / mu every estimate here is g = sum_i w_i delta_i u_i, so the queries also
measure grad f . g = sum_i w_i delta_i^2 (`Estimate.gain`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from zo_gym.base import Estimate, Estimator
from zo_gym.directions import orthonormalise


def _forward_points(x: Tensor, u: Tensor, mu: float) -> Tensor:
    # Multiply, then add: a fused multiply-add would round differently in a vector lane and in a scalar tail.
    return x.unsqueeze(1) + mu * u  # (B, 1, d) + (B, q, d)


def _central_points(x: Tensor, u: Tensor, mu: float) -> Tensor:
    step = mu * u
    return torch.cat([x[:, None, :] + step, x[:, None, :] - step], dim=1)  # (B, 2q, d)


def _forward_probed(x: Tensor, points: Tensor, mu: float) -> Tensor:
    return (points - x.unsqueeze(1)) / mu


def _central_probed(x: Tensor, points: Tensor, mu: float) -> Tensor:
    ahead, behind = points.chunk(2, dim=1)
    return (ahead - behind) / (2 * mu)


def _axes(u: Tensor) -> Tensor:
    d = u.shape[2]
    return torch.eye(d, dtype=u.dtype, device=u.device).expand(len(u), d, d)


def _forward_slopes(values: Tensor, fx: Tensor, mu: float) -> Tensor:
    return (values - fx.unsqueeze(1)) / mu


def _mean(slopes: Tensor, u: Tensor) -> Estimate:
    """Return g = (1/q) sum_i delta_i u_i (eq. 1; eq. 2 where q = 1)."""
    if u.shape[1] == 1:  # eq. 2 needs no reductions, and is the environment's every step
        return Estimate(gradient=slopes * u.squeeze(1), slopes=slopes, gain=(slopes * slopes).squeeze(1))
    gradient = (slopes[:, :, None] * u).mean(1)  # (B, q, 1) x (B, q, d) -> (B, d)
    return Estimate(gradient=gradient, slopes=slopes, gain=slopes.square().mean(1))


def _forward(values: Tensor, fx: Tensor, u: Tensor, mu: float) -> Estimate:
    return _mean(_forward_slopes(values, fx, mu), u)


def _central(values: Tensor, fx: Tensor, u: Tensor, mu: float) -> Estimate:
    ahead, behind = values.chunk(2, dim=1)
    return _mean((ahead - behind) / (2 * mu), u)


def _coordinate(values: Tensor, fx: Tensor, u: Tensor, mu: float) -> Estimate:
    slopes = _forward_slopes(values, fx, mu)  # (B, d): along +- the axes
    return Estimate(slopes * u.diagonal(dim1=1, dim2=2), slopes, gain=slopes.square().sum(1))


def _span(values: Tensor, fx: Tensor, u: Tensor, mu: float) -> Estimate:
    slopes = _forward_slopes(values, fx, mu)
    gradient = (slopes[:, :, None] * u).sum(1)  # (B, q, 1) x (B, q, d) -> (B, d)
    return Estimate(gradient=gradient, slopes=slopes, gain=slopes.square().sum(1))


forward = Estimator(num_queries=lambda q, d: q, points=_forward_points, combine=_forward, probed=_forward_probed)
"""Estimates g = (1/q) sum_i (f(x + mu u_i) - f(x)) / mu u_i (eq. 1; eq. 2 for q = 1). Costs q queries per row.

Unbiased for grad f as mu -> 0 where E[u u^T] = I. For one Gaussian direction E|g|^2 = (d + 2) |grad f|^2.

Reference: Nesterov and Spokoiny (2017), "Random gradient-free minimization of convex functions", eq. 30.
"""

central = Estimator(num_queries=lambda q, d: 2 * q, points=_central_points, combine=_central, probed=_central_probed)
"""Estimates g = (1/q) sum_i (f(x + mu u_i) - f(x - mu u_i)) / (2 mu) u_i. Costs 2q queries per row.

The error in mu is O(mu^2); on a quadratic the slopes are exact. Reference: that of `forward`.
"""

coordinate = Estimator(
    num_queries=lambda q, d: d, points=_forward_points, combine=_coordinate, probed=_forward_probed, prepare=_axes
)
"""Estimates g_i = (f(x + mu e_i) - f(x)) / mu along all d axes, instead of the directions. Costs d queries per row."""


def _span_queries(q: int, d: int) -> int:
    if q > d:
        raise ValueError(f"estimator 'span' needs num_directions <= dim, got {q} > {d}. Lower num_directions.")
    return q


span = Estimator(
    num_queries=_span_queries, points=_forward_points, combine=_span, probed=_forward_probed, prepare=orthonormalise
)
"""Estimates the projection of grad f on the span of the directions: g = sum_i delta_i v_i. Costs q queries per row.

The v_i are an orthonormal basis; |g| <= |grad f| as mu -> 0. For q = 1 this is eq. 2 with |u| = 1, the paper's MDP.
"""

ESTIMATORS: dict[str, Estimator] = {"forward": forward, "central": central, "coordinate": coordinate, "span": span}
