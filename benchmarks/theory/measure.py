"""Measure the bias, variance and cosine of every estimator, each number beside its closed form.

The function and the closed forms are those of `benchmarks.theory.closed_forms`, the list of what is measured is that of
`benchmarks.theory.plan`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from benchmarks.theory.closed_forms import best_smoothing, closed_form, cosine_square, example, mean_cosine, rounding
from benchmarks.theory.plan import Measurement, plan
from zo_gym.checks import check_integer
from zo_gym.directions import cosine
from zo_gym.estimators import ESTIMATORS
from zo_gym.rng import make_generator, seed_sequence
from zo_gym.samplers import SAMPLERS

FLOAT32_LEVEL = 768.0
"""f(x) where values are float32: the middle of the binade from 512 to 1024."""
FLOAT32_STEP = 512 * torch.finfo(torch.float32).eps
"""The distance of neighbouring float32 numbers there, 6.1e-5."""
MOST_NUMBERS = 2**21
"""The most numbers in one draw of directions, q d a trial; where q d is large, there are fewer trials."""


def predict(row: Measurement) -> tuple[float, bool]:
    """Return the closed form of the row's quantity, and whether it is exact."""
    if row.quantity == "cosine":
        return mean_cosine(row.estimator, row.sampler, row.d, row.q)
    if row.quantity == "cosine_square":
        return cosine_square(row.estimator, row.sampler, row.d, row.q)
    target = example(row.d)
    if row.quantity == "best_mu":
        return best_smoothing(target, row.estimator, row.sampler, row.q, row.s), True
    forms = closed_form(target, row.estimator, row.sampler, row.q, row.mu, row.s)
    if row.quantity == "second":
        rounded = row.values == "float32"
        return forms.second + (rounding(row.d, row.mu, FLOAT32_STEP) if rounded else 0.0), not rounded
    if row.quantity == "bias":
        return torch.linalg.vector_norm(forms.mean - target.slope).item(), True
    return (forms.added if row.quantity == "added" else forms.error(target)), True


def estimates(row: Measurement, trials: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw estimates g, and g_0 from exact slopes a.u of the same directions, (n, d) each, n <= trials."""
    target, d, q, estimator = example(row.d), row.d, row.q, ESTIMATORS[row.estimator]
    n = max(1, min(trials, MOST_NUMBERS // (q * d)))
    x = torch.zeros(n, d, dtype=torch.float64)
    sampler = SAMPLERS["gaussian" if row.sampler == "-" else row.sampler]()
    if row.sampler == "coordinate":  # distinct axes within a trial
        u = sampler.sample(sampler.init(x), x, q, [generator] * n)[0]
    else:
        u = sampler.sample(sampler.init(x[:1]), x[:1], n * q, [generator])[0].view(n, q, d)
    if estimator.prepare is not None:
        u = estimator.prepare(u)
    points = estimator.points(x, u, row.mu)

    def values_at(at: Tensor) -> Tensor:
        exact = target(at) + (base if row.values == "float32" else 0.0)
        rounded = exact.to(getattr(torch, row.values)).to(torch.float64)
        noise = torch.randn(rounded.shape, generator=generator, dtype=torch.float64) if row.s > 0 else 0.0
        return rounded + row.s * noise

    base = FLOAT32_LEVEL + FLOAT32_STEP * torch.rand(n, 1, generator=generator, dtype=torch.float64)
    g = estimator.combine(values_at(points), values_at(x[:, None])[:, 0], u, row.mu).gradient
    return g, estimator.combine(points @ target.slope, torch.zeros(n, dtype=torch.float64), u, row.mu).gradient


def measure_row(row: Measurement, g: Tensor, g0: Tensor) -> Measurement:
    """Return the row with its quantity measured on these estimates (n, d)."""
    target = example(row.d)
    a = target.slope  # |a| = 1
    if row.quantity == "bias":
        # E g_0 = a, so the mean of g - g_0 is the bias, without the spread of g_0.
        shift = closed_form(target, row.estimator, row.sampler, row.q, row.mu, row.s).mean - a
        sample = (g - g0) @ (shift / torch.linalg.vector_norm(shift))
    elif row.quantity.startswith("cosine"):
        sample = cosine(g, a.expand_as(g)) ** (2 if row.quantity == "cosine_square" else 1)
    else:
        sample = (g - {"second": torch.zeros_like(a), "added": g0, "error": a}[row.quantity]).square().sum(1)
    error = sample.std().item() / math.sqrt(len(sample))
    predicted, exact = predict(row)
    return replace(row, measured=sample.mean().item(), standard_error=error, predicted=predicted, exact=exact)


def _setting(row: Measurement) -> tuple[str | float, ...]:
    return row.panel, row.estimator, row.sampler, row.d, row.q, row.mu, row.s, row.values


def best_mu(rows: Sequence[Measurement]) -> Measurement:
    """Fit the mu of least added error of one curve.

    A mu^k + N / mu^2 is fitted by weighted least squares; its least value is at (2N / kA)^(1 / (k + 2)).

    Args:
        rows: Measurements of "added" against mu. Those within a factor of 5 of the predicted minimum are fitted.
    """
    order = 4 if rows[0].estimator == "central" else 2
    result = replace(rows[0], quantity="best_mu")
    predicted, exact = predict(result)
    near = [row for row in rows if 1 / 5 < row.mu / predicted < 5]
    mu, y, error = np.array([(row.mu, row.measured, row.standard_error) for row in near]).T
    basis = np.stack([mu**order, mu**-2.0], axis=1) / error[:, None]
    covariance = np.linalg.inv(basis.T @ basis)
    size = covariance @ basis.T @ (y / error)  # A, N
    measured = float((2 * size[1] / (order * size[0])) ** (1 / (order + 2)))
    by_log = np.array([-1.0, 1.0]) / size / (order + 2)  # d log mu* / d (A, N)
    spread = measured * math.sqrt(by_log @ covariance @ by_log)
    return replace(result, mu=predicted, measured=measured, standard_error=spread, predicted=predicted, exact=exact)


def measure(seed: int = 0, trials: int = 10_000) -> list[Measurement]:
    """Measure every number of the figure, in about 20 seconds on one core.

    Args:
        seed: Seed of all directions and noise.
        trials: Estimates per number, at least 2; fewer where they would not fit MOST_NUMBERS.

    Raises:
        TypeError, ValueError: `seed` or `trials` is not as described.
    """
    check_integer("trials", trials, 2)
    rows: list[Measurement] = []
    settings = [list(rows) for _, rows in groupby(plan(), _setting)]
    for group, child in zip(settings, seed_sequence(seed).spawn(len(settings)), strict=True):
        g, g0 = estimates(group[0], trials, make_generator(int(child.generate_state(1)[0])))
        rows += [measure_row(row, g, g0) for row in group]
    curves = groupby([row for row in rows if row.panel == "smoothing"], lambda row: (row.estimator, row.s))
    return rows + [best_mu(list(curve)) for _, curve in curves]
