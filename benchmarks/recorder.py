"""What runs leave behind while they go on: f against queries for every row, and what a report wants besides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from zo_gym.agents.query_grid import grid_of, on_grid

from zo_gym.problem import Problem


class Outcome(NamedTuple):
    """B finished runs on one grid of query counts, T of them."""

    queries: np.ndarray
    """The grid, (T,)."""
    best: np.ndarray
    """Least f at an iterate within so many queries, (B, T)."""
    cosine: np.ndarray | None
    """cos(g, grad f) of the last step, (B, T), NaN where there was none; None if it was not measured."""
    spent: np.ndarray
    """Queries of each run, (B,)."""
    best_x: Tensor
    """(B, d)."""
    extras: dict[str, np.ndarray]
    """Further arrays with leading dimension B."""


class Recorder:
    """Curves of B rows in one batch, row b on instance b.

    Args:
        family: What is minimised; its `measure`, where there is one, is looked at after every step, uncounted.
        budget: Queries that the curves reach to.
        early: Look closely at the first queries, as `grid_of` does.
    """

    def __init__(self, family: Problem, budget: int, early: bool = False) -> None:
        self.family = family
        self.budget = budget
        self._instances = torch.arange(family.size, device=family.device)
        self._grid = grid_of(budget, early)
        self._reached = 0
        self._queries: list[np.ndarray] = []
        self._best: list[np.ndarray] = []
        self._cosine: list[np.ndarray] = []
        self._success_at = np.full(family.size, -1, dtype=np.int64)

    def add(self, queries: int | np.ndarray, best_f: Any, x: Tensor | None = None, cosine: Any = None) -> None:
        """One step of all rows.

        Args:
            queries: Spent so far by each row; (B,) where rows differ.
            best_f: Least f at an iterate so far, (B,).
            x: The iterates (B, d), for the family's measures.
            cosine: cos(g, grad f) of the step, (B,), NaN or None where it was not measured: the last one stands.
        """
        spent = np.broadcast_to(np.asarray(queries, dtype=np.int64), (self.family.size,)).copy()
        self._queries.append(spent)
        self._best.append(_array(best_f))
        self._cosine.append(np.full(self.family.size, math.nan) if cosine is None else _array(cosine))
        if x is not None and self.family.measure is not None and (self._success_at < 0).any():
            success = self.family.measure(x, self._instances)["success"].cpu().numpy() > 0
            first = success & (self._success_at < 0)
            self._success_at[first] = spent[first]

    def wants_cosine(self, queries: int) -> bool:
        """Is this step the first to reach a new point of the grid? Others need not look at the true gradient."""
        reached = int(np.searchsorted(self._grid, queries, side="right"))
        new, self._reached = reached > self._reached, reached
        return new

    def finish(self, best_x: Tensor) -> Outcome:
        """The runs so far, which ended with these best iterates (B, d)."""
        queries, best, cosine = (np.stack(rows, axis=1) for rows in (self._queries, self._best, self._cosine))
        curves = np.stack([on_grid(self._grid, *row) for row in zip(queries, best, strict=True)])
        aligned = np.stack([_carried(self._grid, *row) for row in zip(queries, cosine, strict=True)])
        known = None if np.isnan(aligned).all() else aligned
        return Outcome(self._grid, curves, known, queries[:, -1], best_x, self._measured(best_x))

    def _measured(self, best_x: Tensor) -> dict[str, np.ndarray]:
        if self.family.measure is None:
            return {}
        measured = self.family.measure(best_x, self._instances)
        return {name: value.cpu().numpy() for name, value in measured.items()} | {"success_at": self._success_at}


def join(outcomes: Sequence[Outcome]) -> Outcome:
    """The runs of all of them, in order."""
    first = outcomes[0]
    cosines = [o.cosine for o in outcomes if o.cosine is not None]
    return Outcome(
        first.queries,
        np.concatenate([o.best for o in outcomes]),
        np.concatenate(cosines) if len(cosines) == len(outcomes) else None,
        np.concatenate([o.spent for o in outcomes]),
        torch.cat([o.best_x for o in outcomes]),
        {name: np.concatenate([o.extras[name] for o in outcomes]) for name in first.extras},
    )


def _carried(grid: np.ndarray, queries: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The values that are known, carried forward to the grid; NaN before the first."""
    known = ~np.isnan(values)
    if not known.any():
        return np.full(len(grid), math.nan)
    carried: np.ndarray = np.where(grid < queries[known][0], math.nan, on_grid(grid, queries[known], values[known]))
    return carried


def _array(values: Any) -> np.ndarray:
    array: np.ndarray = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    return array.astype(np.float64)
