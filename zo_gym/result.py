"""Results: a run reports its trace, its result, and what a callback sees on the way."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


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


class Status(IntEnum):
    """Says why a run ended; `Result.status` holds the number."""

    CONVERGED = 0
    BUDGET = 1
    TARGET = 2
    CALLBACK = 3
    TIME = 4
    INTERRUPTED = 5
    FAILED = 6
    DIVERGED = 7

    @property
    def is_success(self) -> bool:
        """Tell whether the run ended as it was asked to."""
        return self < Status.INTERRUPTED

    def message(self, queries: int, budget: int | None, target: float | None) -> str:
        """Return a sentence for the user, given the queries spent."""
        return {
            Status.CONVERGED: f"Converged after {queries} of {budget} queries.",
            Status.BUDGET: f"Budget spent: {queries} of {budget} queries.",
            Status.TARGET: f"Target reached: f <= {target}.",
            Status.CALLBACK: "Stopped by the callback.",
            Status.TIME: f"Time spent, after {queries} of {budget} queries.",
            Status.INTERRUPTED: f"Interrupted after {queries} queries; this is the best so far.",
            Status.FAILED: f"f failed after {queries} queries; this is the best until then.",
            Status.DIVERGED: f"Diverged after {queries} queries: the steps are too long. Lower learning_rate, or use "
            "another method; this is the best until then.",
        }[self]


@dataclass(frozen=True, eq=False)
class Result:
    """Holds what `zo_gym.minimize` returns; the field names are scipy's, and `result["x"]` is `result.x`.

    Two results are equal where all their fields are.

    Attributes:
        x: The best iterate (the last one with `reevaluate`), in the form of x0, a copy.
        fun: f(x) as it was queried.
        nfev: Queries spent, every one of them. A batch that f, Ctrl-C or an exception cut short counts whole.
        nit: Steps taken.
        success: True if the run ended as asked and found a better point than x0.
        status: Why the run ended, a number of `zo_gym.result.Status`: 0 converged, 1 budget spent, 2 target reached,
            3 the callback, 4 time spent, 5 Ctrl-C or a signal, 6 f failed, 7 diverged.
        message: Why the run ended.
        trace: f against queries.
    """

    x: Any
    fun: float
    nfev: int
    nit: int
    success: bool
    status: int
    message: str
    trace: Trace

    def __getitem__(self, name: str) -> Any:
        """Return the field of this name; another name raises KeyError."""
        if name not in self.keys():
            raise KeyError(name)
        return getattr(self, name)

    def keys(self) -> list[str]:
        """Return the names of the fields."""
        return [field.name for field in fields(self)]

    def __eq__(self, other: object) -> bool:
        """Tell whether all fields are equal, arrays number by number."""
        if not isinstance(other, Result):
            return NotImplemented
        return all(_equal(self[name], other[name]) for name in self.keys())

    __hash__ = None  # type: ignore[assignment]  # it holds arrays


def _equal(one: Any, other: Any) -> bool:
    """Compare nested containers of arrays, tensors and plain values."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Trace):
        return all(_equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    return bool(np.array_equal(one, other)) if isinstance(one, np.ndarray) else bool(one == other)


class Progress(NamedTuple):
    """Shows the callback of `minimize` where the run is, after every step (of a baseline: after every batch)."""

    x: Any
    """The best iterate so far, in the form of x0, a copy; of a baseline the best point."""
    fun: float
    """f at `x`."""
    nfev: int
    """Queries spent."""
    nit: int
    """Steps taken; of a baseline the batches evaluated after the start."""
    last_x: Any
    """The iterate, a copy; of a baseline the best point of the last batch."""
    last_fun: float
    """f at `last_x`."""
