"""Record f against queries while runs go on, and what reports need besides: cosines, success, distortion."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.solvers.base import SolverOutcome
from zo_gym.agents.curves import grid_of, on_grid
from zo_gym.problem import Problem

EARLY = 100
"""How many of the first queries are each a point of the grid where `early` is asked for."""


class Recorder:
    """Records the curves of B rows in one batch, row b on instance b.

    Args:
        problem: What is minimised; its `measure`, where there is one, is evaluated after every step, uncounted.
        budget: Number of queries at which the curves end.
        early: Record f after each of the first 100 queries, too.
    """

    def __init__(self, problem: Problem, budget: int, early: bool = False) -> None:
        self.problem = problem
        self.budget = budget
        self._instances = torch.arange(problem.size, device=problem.device)
        self._grid = np.union1d(grid_of(budget), np.arange(1, min(EARLY, budget) + 1 if early else 1))
        self._reached = 0
        self._queries: list[np.ndarray] = []
        self._best: list[np.ndarray] = []
        self._cosine: list[np.ndarray] = []
        self._success_at = np.full(problem.size, -1, dtype=np.int64)

    def add(self, queries: int | np.ndarray, best_f: Any, x: Tensor | None = None, cosine: Any = None) -> None:
        """Add one step of all rows.

        Args:
            queries: Queries that each row has spent so far; (B,) where rows differ.
            best_f: Least f at an iterate so far, (B,).
            x: The iterates (B, d), for the problem's measures.
            cosine: cos(g, grad f) of the step, (B,), NaN or None where it was not measured; the last measured one is
                kept there.
        """
        spent = np.broadcast_to(np.asarray(queries, dtype=np.int64), (self.problem.size,)).copy()
        self._queries.append(spent)
        self._best.append(_array(best_f))
        self._cosine.append(np.full(self.problem.size, math.nan) if cosine is None else _array(cosine))
        if x is not None and self.problem.measure is not None and (self._success_at < 0).any():
            success = self.problem.measure(x, self._instances)["success"].cpu().numpy() > 0
            first = success & (self._success_at < 0)
            self._success_at[first] = spent[first]

    def wants_cosine(self, queries: int) -> bool:
        """Return whether this step is the first to reach a new point of the grid; others need no true gradient."""
        reached = int(np.searchsorted(self._grid, queries, side="right"))
        new, self._reached = reached > self._reached, reached
        return new

    def finish(self, best_x: Tensor) -> SolverOutcome:
        """Return the runs so far, which ended with these best iterates (B, d)."""
        queries, best, cosine = (np.stack(rows, axis=1) for rows in (self._queries, self._best, self._cosine))
        curves = np.stack([on_grid(self._grid, *row) for row in zip(queries, best, strict=True)])
        aligned = np.stack([_carried(self._grid, *row) for row in zip(queries, cosine, strict=True)])
        known = None if np.isnan(aligned).all() else aligned
        return SolverOutcome(
            queries=self._grid,
            best=curves,
            cosine=known,
            spent=queries[:, -1],
            best_x=best_x,
            extras=self._measured(best_x),
        )

    def _measured(self, best_x: Tensor) -> dict[str, np.ndarray]:
        if self.problem.measure is None:
            return {}
        measured = self.problem.measure(best_x, self._instances)
        return {name: value.cpu().numpy() for name, value in measured.items()} | {"success_at": self._success_at}


def _carried(grid: np.ndarray, queries: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Carry the values that are not NaN forward to the grid; NaN before the first of them."""
    known = ~np.isnan(values)
    if not known.any():
        return np.full(len(grid), math.nan)
    carried: np.ndarray = np.where(grid < queries[known][0], math.nan, on_grid(grid, queries[known], values[known]))
    return carried


def _array(values: Any) -> np.ndarray:
    array: np.ndarray = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    return array.astype(np.float64)
