"""Keeps what `minimize` needs of one run, and the rules by which the user ends it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from zo_gym.oracle import Oracle
from zo_gym.result import Progress, Result, Trace


class History:
    """Collects the columns of a `Trace` step by step.

    Attributes:
        nit: Steps so far; -1 before the start.
    """

    def __init__(self) -> None:
        self.nit = -1
        self._entries: list[tuple[int, float, float]] = []

    def add(self, queries: int, fun: float, best: float) -> None:
        """Append one entry."""
        self.nit += 1
        self._entries.append((queries, fun, best))

    def trace(self) -> Trace:
        """Return the entries as arrays."""
        return Trace(*map(np.array, zip(*self._entries, strict=True)))


class RunLog:
    """Keeps what one run has found, and tells when it should stop.

    Args:
        oracle: Of one row; counts the queries.
        target: f that ends the run.
        callback: The user's, see `minimize`.
        as_numpy: Points go out as numpy arrays.

    Attributes:
        uses_last: The result is the last iterate, not the best one.
        best: The best point (d,) and f there; None before f(x0) is known.
    """

    def __init__(
        self, oracle: Oracle, target: float | None, callback: Callable[[Progress], Any] | None, as_numpy: bool
    ) -> None:
        self.oracle = oracle
        self.uses_last = False
        self._target, self._callback, self._as_numpy = target, callback, as_numpy
        self._history = History()
        self.best: tuple[Tensor, float] | None = None
        self._last: tuple[Tensor, float] | None = None

    def add(self, x: Tensor, fun: float, best_x: Tensor, best_f: float) -> str:
        """Note where the run is, points (d,); return why it should stop here, or nothing."""
        self._last, self.best = (x, fun), (best_x, best_f)
        self._history.add(self.nfev, fun, best_f)
        if self._callback is not None and self._history.nit > 0 and self._asks_to_stop(self._callback):
            return "Stopped by the callback."
        return "" if self._target is None or best_f > self._target else f"Target reached: f <= {self._target}."

    def _asks_to_stop(self, callback: Callable[[Progress], Any]) -> bool:
        assert self.best is not None
        x, fun = self.best
        try:
            answer = callback(Progress(self._export(x), fun, self.nfev, self._history.nit))
        except StopIteration:
            return True
        flag = answer.detach().cpu().numpy() if isinstance(answer, Tensor) else answer
        if not isinstance(flag, (bool, np.bool_, np.ndarray)):
            return False
        flags = np.asarray(flag)
        return flags.dtype == np.bool_ and flags.size == 1 and bool(flags)

    @property
    def nfev(self) -> int:
        """Return the number of queries spent."""
        return int(self.oracle.queries[0])

    def _export(self, x: Tensor) -> Any:
        return x.cpu().numpy().copy() if self._as_numpy else x.clone()

    def result(self, success: bool, message: str) -> Result:
        """Return the run so far."""
        found = self._last if self.uses_last else self.best
        assert found is not None
        trace, nit = self._history.trace(), self._history.nit
        return Result(self._export(found[0]), found[1], self.nfev, nit, success, message, trace)
