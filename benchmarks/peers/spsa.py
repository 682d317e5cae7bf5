"""SPSA with Spall's gains, which noise does not stop: the plain method that learned ones must beat under noise."""

from __future__ import annotations

import numpy as np

from benchmarks.peers.oracle import Search

PROBE, FIRST_MOVE = 0.01, 0.01
"""First probe length and first move of a coordinate, as shares of the box's width."""
PILOTS = 5
"""Pairs of queries at the start that set the gain a."""


def spsa(search: Search) -> np.ndarray:
    """Minimise by x' = x - a_k g, g a central difference along one random sign vector; return the last iterate.

    a_k = a / (k + 1 + A)^0.602 and c_k = c / (k + 1)^0.101, with A a tenth of the steps. Costs 2 queries a step.

    Reference: Spall (1998), "Implementation of the simultaneous perturbation algorithm for stochastic optimization",
    IEEE Transactions on Aerospace and Electronic Systems 34.
    """
    rng, f, x = np.random.default_rng(search.seed), search.f, search.start
    width = search.upper - search.lower
    steps = max(1, search.budget // 2 - PILOTS)
    delay = 0.1 * steps

    def slope(length: float) -> np.ndarray:
        signs = rng.choice([-1.0, 1.0], len(x)) * width
        return (f(x + length * signs) - f(x - length * signs)) / (2 * length) * signs

    pilots = np.mean([np.abs(slope(PROBE)).mean() for _ in range(PILOTS)])
    gain = FIRST_MOVE * width.mean() * (1 + delay) ** 0.602 / max(pilots, np.finfo(float).tiny)
    for k in range(steps):
        x = np.clip(x - gain / (k + 1 + delay) ** 0.602 * slope(PROBE / (k + 1) ** 0.101), search.lower, search.upper)
        f.recommend(x)
    return x
