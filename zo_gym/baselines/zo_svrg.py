"""ZO-SVRG: a snapshot of the gradient reduces the variance of its estimates."""

from __future__ import annotations

import torch

from zo_gym.baselines.start import Start
from zo_gym.checks import check_integer, check_positive, check_smoothing
from zo_gym.estimators import coordinate, forward
from zo_gym.problem import Objective
from zo_gym.rng import normal

FEW = 100
"""The default number of random directions of a snapshot, and the largest d at which it uses all axes instead."""


def zo_svrg(
    evaluate: Objective,
    begin: Start,
    generator: torch.Generator,
    *,
    learning_rate: float | None = None,
    num_directions: int = 10,
    smoothing: float = 0.01,
    epoch_length: int = 10,
    snapshot_directions: int | None = None,
) -> None:
    """Minimise by steps x' = x - eta v with v = g(x; U) - g(x~; U) + g~, the same directions U at both points.

    An epoch takes the iterate as its snapshot x~, with an estimate g~ from many queries, and makes `epoch_length`
    steps. Near x~ the noise of the two estimates along U cancels. In the first step, at x = x~, it does so entirely.

    Deviation from the source: it averages over the n terms of a finite sum as well. A black box is a single term, so
    the variance that is left to reduce is that of the directions.

    Costs d (or `snapshot_directions`) queries an epoch, 2q + 1 a step.

    Args:
        evaluate: Computes f, counted.
        begin: The start, without bounds.
        generator: Draws the directions.
        learning_rate: eta > 0; None for 1 / d.
        num_directions: q, the directions of U, ~ N(0, I).
        smoothing: mu > 0, in units of x.
        epoch_length: The steps from one snapshot to the next.
        snapshot_directions: The random directions of g~; None for all d axes if d <= 100 (g~ is then exact but for mu),
            else 100 random directions.

    Reference: Liu et al. (2018), "Zeroth-order stochastic variance reduction for nonconvex optimization", NeurIPS,
    arXiv:1805.10367, Algorithm 2.
    """
    if begin.box is not None:
        raise ValueError("method 'zo-svrg' knows no bounds, got some. Choose another method, or drop them.")
    x0 = begin.x
    d = len(x0)
    eta = 1 / d if learning_rate is None else check_positive("learning_rate", learning_rate)
    q, mu = check_integer("num_directions", num_directions, 1), check_smoothing(smoothing, begin.coarsest)
    length = check_integer("epoch_length", epoch_length, 1)
    many = FEW if snapshot_directions is None else check_integer("snapshot_directions", snapshot_directions, 1)
    axes = snapshot_directions is None and d <= FEW
    x = x0[None]  # (1, d)
    fx = evaluate(x)
    while True:
        anchor, f_anchor = x, fx
        estimator = coordinate if axes else forward
        u = torch.eye(d, dtype=x.dtype, device=x.device)[None] if axes else normal([generator], (many, d), like=x)
        values = evaluate(estimator.points(anchor, u, mu)[0])[None]
        full = estimator.combine(values, f_anchor, u, mu).gradient
        for _ in range(length):
            u = normal([generator], (q, d), like=x)
            points = torch.cat([forward.points(x, u, mu), forward.points(anchor, u, mu)], dim=1)  # (1, 2q, d)
            values = evaluate(points[0])[None]
            here = forward.combine(values[:, :q], fx, u, mu).gradient
            there = forward.combine(values[:, q:], f_anchor, u, mu).gradient
            x = x - eta * ((here - there) + full)
            fx = evaluate(x)
