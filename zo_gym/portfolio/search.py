"""What the parts of the portfolio share: the region, random numbers, the best point, and what is known of f."""

from __future__ import annotations

from collections.abc import Generator
from hashlib import blake2b
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

Asking = Generator[np.ndarray, np.ndarray, T]
"""Yields points (m, d), float64, inside the region, and is sent their values (m,)."""

ROUNDING = float(np.finfo(np.float64).eps)
"""The relative error of a float64."""
OPEN_WIDTH = 10.0
"""The width of a coordinate without two bounds, in units of x: how far the parts look."""
OPEN_SPREAD = 0.3
"""The standard deviation of random points in such a coordinate, in widths."""
LARGEST = 1e100
"""The size to which values are cut, in units of the first one, so that no arithmetic on them overflows."""


class Search:
    """Holds one run of the portfolio.

    Args:
        start: x0, (d,), float64.
        lower: The least values, (d,), -infinity where there is no bound.
        upper: The largest values, (d,), infinity where there is no bound.
        rng: Draws all random numbers.
        rounding: The relative rounding of x and f, e.g. 2.2e-16 for float64.

    Attributes:
        first_difference: The length of finite differences while nothing is known of the curvature, in widths.
        least_difference: Their least length.
        longest_difference: Their largest length.
        noise: The standard deviation of f's noise, as measured; 0 where none was looked for or found.
        first_change: How much f changed by in the first moves.
        width: The range of each coordinate, (d,).
        x: The best point so far, (d,).
        fun: f there; infinite before the first value.
        spent: Queries so far.
        tested: Whether ruggedness has been looked for.
        rugged: Whether f has many local minima or plateaus: then populations search, else quasi-Newton descents do.
        flat: Whether f has plateaus: then populations are larger.
    """

    def __init__(
        self,
        start: np.ndarray,
        lower: np.ndarray,
        upper: np.ndarray,
        rng: np.random.Generator,
        rounding: float = ROUNDING,
    ) -> None:
        self.start, self.lower, self.upper, self.rng = start, lower, upper, rng
        self.rounding = rounding
        root = float(np.sqrt(rounding))
        self.first_difference = max(1e-7, root)
        self.least_difference = max(1e-10, 1e3 * rounding if rounding > ROUNDING else 0.0)
        self.longest_difference = max(1e-4, 100 * root if rounding > ROUNDING else 0.0)
        self.noise, self.first_change = 0.0, 1.0
        self.dim = len(start)
        self._boxed = np.isfinite(lower) & np.isfinite(upper)
        with np.errstate(invalid="ignore"):
            self.width = np.where(self._boxed, upper - lower, OPEN_WIDTH)
        self.x, self.fun, self.spent = start, np.inf, 0
        self.tested = self.rugged = self.flat = False

    def fold(self, points: np.ndarray) -> np.ndarray:
        """Reflect points (..., d) at the bounds where a coordinate has two, else move them to the nearest one."""
        b = self._boxed
        folded = points.copy()
        around = np.abs(np.mod(points[..., b] - self.lower[b], 2 * self.width[b]))
        folded[..., b] = self.lower[b] + np.where(around > self.width[b], 2 * self.width[b] - around, around)
        return self.clip(folded)

    def clip(self, points: np.ndarray) -> np.ndarray:
        """Return the nearest points (..., d) of the region."""
        clipped: np.ndarray = np.clip(points, self.lower, self.upper)
        return clipped

    def random_points(self, count: int) -> np.ndarray:
        """Draw points (count, d): uniformly in the box, normally around x0 where there is none."""
        low, high = np.where(self._boxed, self.lower, 0.0), np.where(self._boxed, self.upper, 0.0)
        inside = self.rng.uniform(low, high, (count, self.dim))
        around = self.start + OPEN_SPREAD * self.width * self.rng.standard_normal((count, self.dim))
        return self.clip(np.where(self._boxed, inside, around))

    def note(self, points: np.ndarray, values: np.ndarray) -> None:
        """Count queries (m, d) with these values (m,), and keep the best."""
        self.spent += len(values)
        k = int(values.argmin())
        if values[k] < self.fun:
            self.fun, self.x = float(values[k]), points[k].copy()

    def noted(self, part: Asking[T]) -> Asking[T]:
        """Pass on the questions of a part, and note the answers."""
        points = next(part)
        while True:
            values = yield points
            self.note(points, values)
            try:
                points = part.send(values)
            except StopIteration as end:
                result: Any = end.value
                return result


def once(part: Asking[None]) -> Asking[None]:
    """Pass on the questions of an endless part, but answer from memory where a point was asked before."""
    known: dict[bytes, float] = {}
    points = next(part)
    while True:
        names = [blake2b(point.tobytes(), digest_size=16).digest() for point in points]
        new = {name: row for row, name in reversed(list(enumerate(names))) if name not in known}
        if new:
            rows = sorted(new.values())
            values = yield points[rows]
            known |= {names[row]: float(value) for row, value in zip(rows, values, strict=True)}
        points = part.send(np.array([known[name] for name in names]))


def scaled(part: Asking[None]) -> Asking[None]:
    """Pass on the questions of an endless part, and answer with values divided by the power of two next to the first.

    That is exact, so it changes no question, but that tiny values do not underflow and huge ones do not overflow.
    """
    points = next(part)
    exponent: int | None = None
    while True:
        values = yield points
        if exponent is None and values.any():
            exponent = 1 - int(np.frexp(np.abs(values).max())[1])
        with np.errstate(over="ignore"):
            units = np.clip(np.ldexp(values, exponent or 0), -LARGEST, LARGEST)
        points = part.send(units)
