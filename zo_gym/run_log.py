"""Keeps what `minimize` needs of one run, and the rules by which the user ends it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from zo_gym.checks import check_at_least, check_number, check_positive
from zo_gym.oracle import Oracle
from zo_gym.result import Progress, Result, Status, Trace

EXPLOSION = 1e6
"""A run has diverged where f has risen by more than so many times what an early step changed it by, or it fell."""
EARLY = 2
"""The steps that tell how much a step of this run changes f."""


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


@dataclass(frozen=True)
class Stops:
    """Holds the rules that end a run besides its budget; None switches a rule off.

    Attributes:
        target: The f at or below which the run ends.
        ftol: The run has converged where the least f has fallen by at most this within `window` queries, in units of f.
        xtol: The run has converged where no coordinate of the best x has moved by more than this within `window`
            queries, in units of x, or in shares of its range where it has two bounds.
        max_seconds: The wall time after which no further step begins.
        window: 20 + 10 d queries.
    """

    target: float | None
    ftol: float | None
    xtol: float | None
    max_seconds: float | None
    window: int

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.target is not None:
            check_number("target", self.target)
        for name in ("ftol", "xtol"):
            if (value := getattr(self, name)) is not None:
                check_at_least(name, value, 0.0)
        if self.max_seconds is not None:
            check_positive("max_seconds", self.max_seconds)


class _Best(NamedTuple):
    queries: int
    x: Tensor
    fun: float


class RunLog:
    """Keeps what one run has found, and tells when it should stop.

    Args:
        oracle: Of one row; counts the queries.
        stops: When the run ends besides its budget.
        callback: The user's, see `minimize`.
        export: Turns the coordinates in which the run moves, (d,), into a copy for the user.

    Attributes:
        uses_last: The result is the last iterate, not the best one.
        why: Which method was chosen and why, for the message; empty where the user chose it.
        may_diverge: The steps have a fixed size, so that f can explode.
        best: The best point (d,) and f there; None before f(x0) is known.
    """

    def __init__(
        self,
        oracle: Oracle,
        stops: Stops,
        callback: Callable[[Progress], Any] | None,
        export: Callable[[Tensor], Any],
    ) -> None:
        self.oracle = oracle
        self.uses_last = self.may_diverge = False
        self.why = ""
        self._stops, self._callback, self._export = stops, callback, export
        self._history = History()
        self.best: tuple[Tensor, float] | None = None
        self._last: tuple[Tensor, float] | None = None
        self._begun = time.monotonic()
        self._window: deque[_Best] = deque()
        self._first = 0.0
        self._scale = 0.0

    def add(self, x: Tensor, fun: float, best_x: Tensor, best_f: float) -> Status | None:
        """Note where the run is, points (d,); return why it should stop here, or nothing."""
        before = fun if self._last is None else self._last[1]
        self._last, self.best = (x, fun), (best_x, best_f)
        self._history.add(self.nfev, fun, best_f)
        if self._history.nit == 0:
            self._first = fun
        elif self._history.nit <= EARLY:
            self._scale = max(self._scale, abs(fun - before))
        if self._callback is not None and self._history.nit > 0 and self._asks_to_stop(self._callback):
            return Status.CALLBACK
        if self._stops.target is not None and best_f <= self._stops.target:
            return Status.TARGET
        if self.may_diverge and fun - self._first > EXPLOSION * max(self._scale, self._first - best_f) > 0:
            return Status.DIVERGED
        if self._stops.max_seconds is not None and time.monotonic() - self._begun >= self._stops.max_seconds:
            return Status.TIME
        if self._stops.ftol is None and self._stops.xtol is None:
            return None
        return Status.CONVERGED if self._has_converged(best_x, best_f) else None

    def _has_converged(self, best_x: Tensor, best_f: float) -> bool:
        ftol, xtol = self._stops.ftol, self._stops.xtol
        self._window.append(_Best(self.nfev, best_x, best_f))
        while len(self._window) > 1 and self.nfev - self._window[1].queries >= self._stops.window:
            self._window.popleft()
        then = self._window[0]
        if self.nfev - then.queries < self._stops.window:
            return False
        if ftol is not None and then.fun - best_f <= ftol:
            return True
        return xtol is not None and float((best_x - then.x).abs().max()) <= xtol

    def _asks_to_stop(self, callback: Callable[[Progress], Any]) -> bool:
        assert self.best is not None
        assert self._last is not None
        (x, fun), (last_x, last_fun) = self.best, self._last
        shown = self._export(x)
        last = shown if last_x is x else self._export(last_x)
        try:
            answer = callback(Progress(shown, fun, self.nfev, self._history.nit, last, last_fun))
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

    def result(self, status: Status, detail: str = "") -> Result:
        """Return the run so far; `detail` is said instead of what the status says.

        It is no success where the run was cut short, or found nothing better than x0.
        """
        found = self._last if self.uses_last else self.best
        assert found is not None
        assert self.best is not None
        message = detail or status.message(self.nfev, self.oracle.budget, self._stops.target)
        success = status.is_success
        if success and status is not Status.TARGET and not self.best[1] < self._first:
            success, message = False, f"{message} No point better than x0 was found."
        message += f" Chosen by method='auto': {self.why}." if self.why else ""
        trace, nit = self._history.trace(), self._history.nit
        return Result(self._export(found[0]), found[1], self.nfev, nit, success, int(status), message, trace)
