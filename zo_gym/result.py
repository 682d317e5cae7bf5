"""Results: a run reports its trace, its result, and what a callback sees on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


@dataclass(frozen=True)
class Trace:
    """Records f over the queries; one entry for the start and one per step.

    Attributes:
        queries: Evaluations of f spent so far, int64 (steps + 1,).
        fun: f at the iterate, (steps + 1,).
        best: Least f at any iterate so far, (steps + 1,).
    """

    queries: np.ndarray
    fun: np.ndarray
    best: np.ndarray


@dataclass(frozen=True)
class Result:
    """Holds what `zo_gym.minimize` returns; the field names are scipy's.

    Attributes:
        x: The best iterate (the last one with `reevaluate`), in the type of x0 (numpy array or tensor), (d,).
        fun: f(x) as it was queried.
        nfev: Queries spent, every one of them. A batch that f, Ctrl-C or an exception cut short counts whole.
        nit: Steps taken.
        success: True if the run ended as asked (budget spent, target reached, or the callback stopped it).
        message: Why the run ended.
        trace: f against queries.
    """

    x: Any
    fun: float
    nfev: int
    nit: int
    success: bool
    message: str
    trace: Trace


class Progress(NamedTuple):
    """Shows the callback of `minimize` where the run is, after every step (of a baseline: after every batch)."""

    x: Any
    """The best iterate so far (d,), a copy; of a baseline the best point."""
    fun: float
    """f at `x`."""
    nfev: int
    """Queries spent."""
    nit: int
    """Steps taken; of a baseline the batches evaluated after the start."""
