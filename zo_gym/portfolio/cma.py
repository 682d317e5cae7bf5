"""Active CMA-ES as a conversation: a population whose covariance adapts to f, for rugged functions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zo_gym.portfolio.search import Asking, Search

SPREAD = 0.2
"""The standard deviation of the first population, in widths."""
NARROW = 1e-9
"""The largest standard deviation, in widths, at which a population has converged."""
ELONGATED = 1e7
"""The ratio of the largest to the least axis at which a population has degenerated."""
STAGNANT = 1e-12
"""The relative range of the best values of the last generations at which a population stagnates."""


@dataclass(frozen=True)
class Weights:
    """Holds the strategy's constants, which depend on the dimension and the population alone."""

    ranked: np.ndarray
    """The weight of each point in the covariance's update, by rank, (popsize,); negative for the worse half."""
    mean: np.ndarray
    """The weights of the better half in the mean, (popsize // 2,), which sum to 1."""
    effective: float
    """The variance-effective number of parents."""
    c_path: float
    c_sigma: float
    c_one: float
    c_mu: float
    damping: float
    expected: float
    """The expected length of a standard normal vector."""


def weights_of(dim: int, popsize: int) -> Weights:
    """Compute the constants of Hansen (2016), table 1."""
    half = popsize // 2
    raw = np.log(popsize / 2 + 0.5) - np.log(np.arange(1, popsize + 1))
    mean = raw[:half] / raw[:half].sum()
    effective = 1 / (mean**2).sum()
    c_path = (4 + effective / dim) / (dim + 4 + 2 * effective / dim)
    c_sigma = (effective + 2) / (dim + effective + 5)
    c_one = 2 / ((dim + 1.3) ** 2 + effective)
    c_mu = min(1 - c_one, 2 * (effective - 2 + 1 / effective) / ((dim + 2) ** 2 + effective))
    worse = raw[half:]
    of_worse = worse.sum() ** 2 / (worse**2).sum()
    share = min(1 + c_one / c_mu, 1 + 2 * of_worse / (of_worse + 2), (1 - c_one - c_mu) / (dim * c_mu))
    ranked = np.concatenate([mean, worse / np.abs(worse).sum() * share])
    damping = 1 + 2 * max(0.0, float(np.sqrt((effective - 1) / (dim + 1))) - 1) + c_sigma
    expected = np.sqrt(dim) * (1 - 1 / (4 * dim) + 1 / (21 * dim * dim))
    return Weights(ranked, mean, effective, c_path, c_sigma, c_one, c_mu, damping, expected)


def cma(search: Search, mean: np.ndarray, popsize: int) -> Asking[None]:
    """Minimise from a mean, (d,), until the population has converged, degenerated or stagnated.

    Costs `popsize` queries a generation, as one batch; points beyond the bounds are reflected. Time O(d^2) a query.

    Reference: Hansen (2016), "The CMA evolution strategy: a tutorial", arXiv:1604.00772 (with negative weights).
    """
    d, width, w = search.dim, search.width, weights_of(search.dim, popsize)
    half = popsize // 2
    sigma, axes, lengths, covariance = SPREAD, np.eye(d), np.ones(d), np.eye(d)
    path, path_sigma = np.zeros(d), np.zeros(d)
    generation = since = 0
    bests: list[float] = []
    memory = 10 + int(30 * d / popsize)
    while True:
        drawn = (search.rng.standard_normal((popsize, d)) * lengths) @ axes.T
        points = search.fold(mean + sigma * width * drawn)
        moves = (points - mean) / (sigma * width)
        values = yield points
        order = values.argsort(kind="stable")
        moves = moves[order]
        ahead = w.mean @ moves[:half]
        mean = search.clip(mean + sigma * width * ahead)
        generation += 1
        whitened = axes @ ((axes.T @ ahead) / lengths)
        path_sigma = (1 - w.c_sigma) * path_sigma + np.sqrt(w.c_sigma * (2 - w.c_sigma) * w.effective) * whitened
        size = np.linalg.norm(path_sigma)
        usual = size / np.sqrt(1 - (1 - w.c_sigma) ** (2 * generation)) < (1.4 + 2 / (d + 1)) * w.expected
        path = (1 - w.c_path) * path + usual * np.sqrt(w.c_path * (2 - w.c_path) * w.effective) * ahead
        ranked = w.ranked.copy()
        ranked[half:] *= d / np.maximum((((moves[half:] @ axes) / lengths) ** 2).sum(1), 1e-300)
        kept = 1 - w.c_one - w.c_mu * w.ranked.sum() + (not usual) * w.c_one * w.c_path * (2 - w.c_path)
        covariance = kept * covariance + w.c_one * np.outer(path, path) + w.c_mu * (moves.T * ranked) @ moves
        sigma *= float(np.exp(min(1.0, float(w.c_sigma / w.damping * (size / w.expected - 1)))))
        since += 1
        bests.append(float(values[order[0]]))
        if since * (w.c_one + w.c_mu) * d * 5 >= 1:
            since = 0
            covariance = (covariance + covariance.T) / 2
            squares, axes = np.linalg.eigh(covariance)
            lengths = np.sqrt(np.maximum(squares, 1e-14 * squares.max()))
        stagnant = len(bests) > memory and np.ptp(bests[-memory:]) <= STAGNANT * abs(bests[-1])
        if sigma * lengths.max() < NARROW or lengths.max() > ELONGATED * lengths.min() or stagnant:
            return
