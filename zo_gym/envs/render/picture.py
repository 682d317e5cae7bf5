"""A picture: one run as plain arrays, so that anything that runs can be drawn; and the same as text, for terminals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

PlainObjective = Callable[[np.ndarray], np.ndarray]
"""f without its query counter: points (m, 2) -> values (m,)."""
BARS = "▁▂▃▄▅▆▇█"
"""The bars of a sparkline, lowest first."""


@dataclass(frozen=True, eq=False)
class Picture:
    """Holds one run so far, one entry per step and one for the start; n entries in all.

    Attributes:
        title: What is being minimised.
        queries: Evaluations of f spent so far, int (n,).
        fun: f at the iterate, (n,).
        best: Least f at any iterate so far, (n,).
        path: The iterates of a problem with d = 2, (n, 2).
        objective: Computes f at points (m, 2), (m,), for the contours behind the path. Pass the plain function, not the
            counted oracle: a picture evaluates it on a grid, and looking must not cost the user's budget.
        original: The image that an attack starts from, (H, W).
        current: The image at the iterate, (H, W).
        target: Value of f that ends the run.
        minimum: Least known value of f.
    """

    title: str
    queries: np.ndarray
    fun: np.ndarray
    best: np.ndarray
    path: np.ndarray | None = None
    objective: PlainObjective | None = None
    original: np.ndarray | None = None
    current: np.ndarray | None = None
    target: float | None = None
    minimum: float | None = None

    def __post_init__(self) -> None:
        """Raise ValueError where the arrays do not describe one run: the shapes disagree, or there is no entry."""
        n = np.size(self.queries)
        if n == 0:
            raise ValueError("queries must have at least one entry (the start of the run), got none.")
        for name in ("queries", "fun", "best"):
            if np.shape(getattr(self, name)) != (n,):
                raise ValueError(f"{name} must have shape ({n},) like queries, got {np.shape(getattr(self, name))}.")
        if self.path is not None and np.shape(self.path) != (n, 2):
            raise ValueError(f"path must have shape ({n}, 2), a point per entry, got {np.shape(self.path)}.")
        if self.original is None and self.current is None:
            return
        if self.original is None or self.current is None:
            raise ValueError("original and current must be given together: the picture shows their difference.")
        old, new = np.shape(self.original), np.shape(self.current)
        if len(old) != 2 or old != new:
            raise ValueError(f"original and current must be images of one shape (H, W), got {old} and {new}.")


def drawable(values: object) -> np.ndarray:
    """Return the values as floats, NaN where they are not finite or too large for axes; matplotlib leaves NaN out."""
    array = np.asarray(values, dtype=float)
    return np.where(np.abs(array) < 1e150, array, np.nan)


def spans_decades(values: np.ndarray) -> bool:
    """Tell whether a logarithmic axis suits the values: all positive, two decades or more from least to greatest."""
    values = values[np.isfinite(values)]
    return bool(values.size and values.min() > 0 and values.max() >= 100 * values.min())


def ansi(picture: Picture) -> str:
    """Describe the picture in three lines of text without colour codes; the last is a sparkline of best f."""
    numbers = [f"queries {int(picture.queries[-1]):,}", f"f {picture.fun[-1]:.4g}", f"best f {picture.best[-1]:.4g}"]
    if picture.target is not None:
        numbers.append(f"target {picture.target:.4g}")
    if picture.minimum is not None:
        numbers.append(f"minimum {picture.minimum:.4g}")
    return "\n".join([picture.title, "   ".join(numbers), _sparkline(picture.queries, picture.best)])


def _sparkline(queries: np.ndarray, values: np.ndarray, width: int = 60) -> str:
    """Draw values against queries as at most `width` bars, logarithmic where the loss curve's axis would be."""
    finite = drawable(values)
    seen = np.isfinite(finite)
    if not seen.any():
        return "(no finite value yet)"
    queries, finite = np.asarray(queries)[seen], finite[seen]
    ends = f"{finite[0]:.4g} -> {finite[-1]:.4g}"
    at = np.linspace(queries[0], queries[-1], min(width, len(finite)))
    finite = finite[np.maximum(np.searchsorted(queries, at, side="right") - 1, 0)]
    levels = np.log(finite) if spans_decades(finite) else finite
    levels = (levels - levels.min()) / (np.ptp(levels) or 1.0)  # 0 .. 1
    return "".join(BARS[round(level * (len(BARS) - 1))] for level in levels) + f"  {ends}"
