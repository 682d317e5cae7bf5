"""Give every solver the same counted f, which ends the run from inside where the budget or the time is spent."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Instance:
    """Holds one problem, opened for one run.

    Attributes:
        fun: Computes f at x (d,), with its noise if it has any.
        true: Computes f without the noise; None where there is no noise.
        start: x0, (d,).
        lower: Lower bounds of the box, (d,).
        upper: Upper bounds of the box, (d,).
        f_opt: The least f without noise in the box; NaN where it is not known.
    """

    fun: Callable[[np.ndarray], float]
    true: Callable[[np.ndarray], float] | None
    start: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    f_opt: float


class Spent(BaseException):
    """Ends a run from inside f. It is no `Exception`, so that a solver that survives errors of f lets it pass."""


class CountedFunction:
    """Counts the queries of f, keeps the best point, and refuses what is over the budget.

    Args:
        fun: Computes f at x (d,).
        budget: Number of queries that are answered.
        seconds: Wall time from now after which none is.
    """

    def __init__(self, fun: Callable[[np.ndarray], float], budget: int, seconds: float = math.inf) -> None:
        self.budget = budget
        self.queries = 0
        self.best_x: np.ndarray | None = None
        self.best_f = math.inf
        self.recommended: np.ndarray | None = None
        self.out_of_time = False
        self.seconds_inside = 0.0
        self._fun = fun
        self._deadline = time.perf_counter() + seconds
        self._improved_at: list[int] = []
        self._improved_to: list[float] = []

    def __call__(self, x: np.ndarray) -> float:
        """Return f(x), at the cost of one query; raise `Spent` where none is left."""
        started = time.perf_counter()
        self.out_of_time = self.out_of_time or started > self._deadline
        if self.queries >= self.budget or self.out_of_time:
            raise Spent
        point = np.array(x, dtype=np.float64)
        self.queries += 1
        value = float(self._fun(point))
        if value < self.best_f:
            self.best_x, self.best_f = point, value
            self._improved_at.append(self.queries)
            self._improved_to.append(value)
        self.seconds_inside += time.perf_counter() - started
        return value

    def recommend(self, x: np.ndarray) -> None:
        """Note the point that the solver would return now; without one it is the point of least observed f."""
        self.recommended = np.array(x, dtype=np.float64)

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the query counts at which the best f fell, and at the end, with the best f there, (T,) and (T,)."""
        at = [*self._improved_at, max(1, self.queries)]
        return np.array(at, dtype=np.int64), np.array([*self._improved_to, self.best_f])


@dataclass(frozen=True)
class Search:
    """Holds what a solver is told.

    Attributes:
        f: The counted f.
        start: x0, (d,), in the box.
        lower: Lower bounds of the box, (d,).
        upper: Upper bounds of the box, (d,).
        budget: Number of queries.
        noisy: Whether two queries of one point can differ.
        seed: Seed of all random numbers of the run.
    """

    f: CountedFunction
    start: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    budget: int
    noisy: bool
    seed: int

    @property
    def bounds(self) -> list[tuple[float, float]]:
        """Return the box as scipy takes it."""
        return list(zip(self.lower.tolist(), self.upper.tolist(), strict=True))
