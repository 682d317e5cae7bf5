"""Curves over queries: the grid that they are stored on, and the generators that make runs comparable."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from zo_gym.rng import make_generator

POINTS = 200
"""Steps of the grid from the first query to the budget."""
EARLY = 100
"""How many of the first queries are each a point of the grid where `early` is asked for."""


def grid_of(budget: int, early: bool = False) -> np.ndarray:
    """Return the query counts that curves are stored at, int64 (T,).

    Args:
        budget: The last of them; the first is 1.
        early: Include each of the first 100.
    """
    even = np.linspace(1, budget, POINTS + 1).round().astype(np.int64)
    return np.unique(np.concatenate([even, np.arange(1, min(EARLY, budget) + 1)]) if early else even)


def on_grid(grid: np.ndarray, queries: Sequence[int] | np.ndarray, values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Carry values that are known at these query counts (K,) forward to the grid, (..., K) -> (..., T)."""
    places = np.searchsorted(np.asarray(queries), grid, side="right") - 1
    carried: np.ndarray = np.asarray(values, dtype=np.float64)[..., np.maximum(places, 0)]
    return carried


def direction_generators(seeds: tuple[int, ...], device: torch.device) -> list[torch.Generator]:
    """Make one generator per row, for its directions."""
    return [make_generator(int(np.random.SeedSequence([1, seed]).generate_state(1)[0]), device) for seed in seeds]
