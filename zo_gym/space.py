"""The coordinates z in which a bounded run moves: the free ones, each in units of its range, inside a box.

x is what the user sees. With both bounds finite z runs from 0 to 1, so that one smoothing and one step size suit all
coordinates; else a unit of z is a unit of x. A log-scaled coordinate moves by its logarithm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from zo_gym.problem import Problem


class Box(NamedTuple):
    """Bounds of z."""

    lower: Tensor
    """The least values, (d,); -infinity where there is no bound."""
    upper: Tensor
    """The largest values, (d,); infinity where there is no bound."""

    def inside(self, points: Tensor) -> Tensor:
        """Return the nearest points (..., d) of the box."""
        return torch.minimum(torch.maximum(points, self.lower), self.upper)


@dataclass(frozen=True)
class Space:
    """Maps z, (..., d), to the user's x, (..., n), n - d coordinates of which are fixed.

    Attributes:
        fixed: x with the values of the fixed coordinates, (n,).
        free: Indices of the other coordinates, int64 (d,).
        lower: Least x of the free coordinates, (d,), -infinity where there is none.
        upper: Largest x of the free coordinates, (d,), infinity where there is none.
        logarithmic: Which free coordinates move by their logarithm, bool (d,).
        origin: x, or log x, where z = 0, (d,).
        unit: Length of a unit of z, in units of x, or of log x, (d,).
    """

    fixed: Tensor
    free: Tensor
    lower: Tensor
    upper: Tensor
    logarithmic: Tensor
    origin: Tensor
    unit: Tensor

    @property
    def box(self) -> Box:
        """Return the bounds of z."""
        return Box(self._scaled(self.lower), self._scaled(self.upper))

    def to_user(self, z: Tensor) -> Tensor:
        """Return x, (..., n), inside the bounds to the last bit."""
        moved = self.origin + z * self.unit
        moved = torch.where(self.logarithmic, moved.exp(), moved)
        x = self.fixed.expand(*z.shape[:-1], -1).clone()
        x[..., self.free] = Box(self.lower, self.upper).inside(moved)
        return x

    def from_user(self, x: Tensor) -> Tensor:
        """Return z, (..., d), of points inside the bounds."""
        return self._scaled(x[..., self.free])

    def _scaled(self, x: Tensor) -> Tensor:
        return (torch.where(self.logarithmic, x.log(), x) - self.origin) / self.unit

    def seen_from_inside(self, problem: Problem) -> Problem:
        """Return the problem as a function of z; its composite term and the shape of its images are left out."""
        gradient = problem.gradient

        def chained(z: Tensor, instances: Tensor) -> Tensor:
            assert gradient is not None
            x = self.to_user(z)
            slope = torch.where(self.logarithmic, x[..., self.free], 1.0) * self.unit
            return gradient(x, instances)[..., self.free] * slope

        return replace(
            problem,
            dim=len(self.free),
            fun=lambda z, instances: problem.fun(self.to_user(z), instances),
            initial=lambda instances, generators: self.from_user(problem.initial(instances, generators)),
            gradient=None if gradient is None else chained,
            measure=None,
            composite=None,
            shape=None,
        )


def space_of(start: Tensor, bounds: Any, log_scaled: Any = False, dtype: torch.dtype = torch.float64) -> Space | None:
    """Return the space of x inside bounds; None where there are none, nor log-scaled coordinates.

    Args:
        start: x0, (n,), inside the bounds.
        bounds: What scipy takes: `scipy.optimize.Bounds`, or a pair (least, largest) for each coordinate, None or an
            infinity where there is none; or one pair for all. Where both are equal the coordinate is fixed.
        log_scaled: Which coordinates move by their logarithm, bool (n,) or one for all; their bounds, or else x0, must
            be > 0.
        dtype: That to which f's argument is rounded: the bounds are rounded inwards, so that it stays inside.

    Raises:
        TypeError, ValueError: The bounds are not as described, or x0 lies outside.
    """
    if bounds is None and not np.any(log_scaled):
        return None
    n = len(start)
    lower, upper = _limits((None, None) if bounds is None else bounds, n)
    if (bad := np.flatnonzero(~(lower <= upper))).size:
        i = bad[0]
        raise ValueError(
            f"bounds must be (least, largest), got ({lower[i]}, {upper[i]}) for coordinate {i}. Swap the two."
        )
    x = start.detach().cpu().double().numpy()
    if (bad := np.flatnonzero((x < lower) | (x > upper))).size:
        i = bad[0]
        raise ValueError(
            f"x0 must lie within bounds, got {x[i]} for coordinate {i} of bounds ({lower[i]}, {upper[i]}). Move x0."
        )
    flags = np.asarray(log_scaled)
    if flags.dtype != np.bool_ or flags.shape not in ((), (n,)):
        raise TypeError(f"log_scaled must be a bool, or one for each of {n} coordinates, got {log_scaled!r:.80}.")
    logarithmic = np.broadcast_to(flags, n)
    least = np.where(np.isfinite(lower), lower, x)
    if (bad := np.flatnonzero(logarithmic & (least <= 0))).size:
        i = bad[0]
        raise ValueError(
            f"log_scaled coordinates must be > 0, got {least[i]} as the least of coordinate {i}. Raise its bound."
        )
    lower = np.where(logarithmic, np.maximum(lower, 0.0), lower)
    free = np.flatnonzero(lower < upper)
    if not free.size:
        raise ValueError("bounds must leave a coordinate free, got equal ones for all. Evaluate f at x0 instead.")
    lower, upper, logarithmic = lower[free], upper[free], logarithmic[free]
    lower, upper = -_rounded_down(-lower, dtype), _rounded_down(upper, dtype)
    if (bad := np.flatnonzero(lower >= upper)).size:
        raise ValueError(
            f"bounds must hold several numbers of {dtype}, got none for coordinate {free[bad[0]]}. Widen them."
        )
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        low, high = (np.where(logarithmic, np.log(bound), bound) for bound in (lower, upper))
        both = np.isfinite(low) & np.isfinite(high)
        origin, unit = np.where(both, low, 0.0), np.where(both, high - low, 1.0)
    if not np.isfinite(unit).all():
        raise ValueError("bounds must be no further apart than the largest float, got a range of inf. Narrow them.")
    parts = (torch.as_tensor(part, dtype=start.dtype, device=start.device) for part in (lower, upper, origin, unit))
    lower_, upper_, origin_, unit_ = parts
    index, logs = (torch.as_tensor(part.copy(), device=start.device) for part in (free, logarithmic))
    return Space(start.detach().clone(), index, lower_, upper_, logs, origin_, unit_)


def _rounded_down(x: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    """Return the largest numbers of this dtype that are at most x, as float64."""
    exact = torch.from_numpy(x)
    near = exact.to(dtype)
    below = torch.nextafter(near, torch.full_like(near, -torch.inf))
    rounded: np.ndarray = torch.where(near.double() > exact, below, near).double().numpy()
    return rounded


def _limits(bounds: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return least and largest values, float64 (n,) each."""
    if isinstance(bounds, Mapping) or (not hasattr(bounds, "lb") and not isinstance(bounds, (Sequence, np.ndarray))):
        raise TypeError(f"bounds must be (least, largest) for each coordinate, or scipy's Bounds, got {bounds!r:.80}.")
    try:
        pairs: Any = [bounds.lb, bounds.ub] if hasattr(bounds, "lb") else _transposed(bounds, n)
        lower, upper = (
            np.array([default if v is None else float(v) for v in np.broadcast_to(np.asarray(side, dtype=object), n)])
            for side, default in zip(pairs, (-np.inf, np.inf), strict=True)
        )
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"bounds must be {n} pairs (least, largest) of numbers or None, one a coordinate, got {bounds!r:.80}."
        ) from error
    return lower, upper


def _transposed(bounds: Any, n: int) -> Any:
    """Turn pairs into two columns; one pair of numbers serves all coordinates."""
    listed = list(bounds)
    if len(listed) == 2 and all(side is None or np.ndim(side) == 0 for side in listed):
        return listed
    if len(listed) != n:
        raise ValueError(f"{len(listed)} pairs for {n} coordinates")
    return zip(*[tuple(pair) for pair in listed], strict=True)
