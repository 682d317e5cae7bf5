"""A Gaussian process on an interval: where to evaluate a function of one variable next."""

from __future__ import annotations

import numpy as np
from numpy.linalg import cholesky, solve

LENGTH_SCALES = (0.012, 0.025, 0.05, 0.1, 0.25)
"""The length scales that are tried, relative to the interval; the most likely one is used."""
NUGGET = 1e-6
"""The variance that is added to each value's own, relative to the process's."""
TREND = 100.0
"""The prior variance of the coefficients of a quadratic trend."""
GRID = 201
"""The number of places that are compared."""
APART = 1e-4
"""The least distance of a new place from the old ones, relative to the interval."""


def expected_improvement(places: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Return the place in [0, 1] where the expected improvement is largest, and that improvement, in units of f.

    The covariance is Matern's with smoothness 5/2, with a vague quadratic trend.

    Args:
        places: Where f is known, (n,), in [0, 1].
        values: f there, (n,).

    Reference: Jones, Schonlau and Welch (1998), "Efficient global optimization of expensive black-box functions", J.
    Glob. Optim. 13.
    """
    from scipy.special import ndtr

    spread = max(float(values.std()), 1e-300)
    y = (values - values.mean()) / spread
    grid = np.linspace(0, 1, GRID)
    trend, of_grid = _quadratic(places), _quadratic(grid)
    apart = np.abs(places[:, None] - places)
    best = None
    for scale in LENGTH_SCALES:
        covariance = _matern(apart, scale) + TREND * trend @ trend.T
        covariance[np.diag_indices(len(y))] += NUGGET
        root = cholesky(covariance)
        white = solve(root, y)
        variance = float(white @ white) / len(y)
        likelihood = -0.5 * len(y) * np.log(variance) - np.log(np.diag(root)).sum()
        if best is None or likelihood > best[0]:
            best = likelihood, scale, root, white, variance
    assert best is not None
    _, scale, root, white, variance = best
    distances = np.abs(grid[:, None] - places)
    across = solve(root, (_matern(distances, scale) + TREND * of_grid @ trend.T).T)
    left = np.maximum(1 + TREND * (of_grid**2).sum(1) - (across**2).sum(0), 1e-12)
    deviation = np.sqrt(left * variance)
    gain = (y.min() - across.T @ white) / deviation
    improvement = deviation * (gain * ndtr(gain) + np.exp(-0.5 * gain**2) / np.sqrt(2 * np.pi))
    improvement[distances.min(axis=1) < APART] = -1.0
    k = int(improvement.argmax())
    return float(grid[k]), float(improvement[k]) * spread


def _matern(distances: np.ndarray, scale: float) -> np.ndarray:
    r = distances * (np.sqrt(5) / scale)
    covariance: np.ndarray = (1 + r + r * r / 3) * np.exp(-r)
    return covariance


def _quadratic(t: np.ndarray) -> np.ndarray:
    return np.stack([np.ones(len(t)), 2 * t - 1, (2 * t - 1) ** 2], axis=1)
