"""Run scipy's local optimisers; where one converges, it starts anew, uniformly in the box, while queries are left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers.oracle import Search

ENDLESS = 10**9
"""Stands for no limit where scipy wants a number: the budget ends the run."""


def restarted(descend: Callable[[Search, np.ndarray], None]) -> Callable[[Search], None]:
    """Return a solver that descends from the start, and then from uniform points in the box."""

    def run(search: Search) -> None:
        rng, start = np.random.default_rng(search.seed), search.start
        while True:
            before = search.f.queries
            descend(search, start)
            if search.f.queries == before:
                raise RuntimeError("A descent ended without a single query.")
            start = rng.uniform(search.lower, search.upper)

    return run


def scipy_solver(method: str, **options: Any) -> Callable[[Search], None]:
    """Return a restarted method of `scipy.optimize.minimize` with scipy's defaults, but for its limits.

    L-BFGS-B takes gradients from finite differences, whose queries count as all others.
    """

    def descend(search: Search, start: np.ndarray) -> None:
        from scipy.optimize import minimize

        minimize(search.f, start, method=method, bounds=search.bounds, options=options)

    return restarted(descend)


LBFGSB = scipy_solver("L-BFGS-B", maxfun=ENDLESS, maxiter=ENDLESS)
NELDER_MEAD = scipy_solver("Nelder-Mead", maxfev=ENDLESS, maxiter=ENDLESS)
POWELL = scipy_solver("Powell", maxfev=ENDLESS, maxiter=ENDLESS)
COBYQA = scipy_solver("COBYQA", maxfev=ENDLESS, maxiter=ENDLESS)
