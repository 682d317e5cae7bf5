"""A quasi-Newton descent on finite differences along the axes of the model's own curvature.

The Hessian B is rebuilt from the pairs (step, change of gradient) while these are few, on a multiple of the identity
that is tuned anew each time; so a wrong first guess of the curvature does not stay. Coordinates are in units of the
mean width: the box is a cube there.
"""

from __future__ import annotations

import numpy as np

from zo_gym.portfolio.line_search import Reached, line_search
from zo_gym.portfolio.ruggedness import look
from zo_gym.portfolio.search import Asking, Search

LOOK_AFTER = 20
"""Queries, in units of d, after which a descent looks whether f is rugged."""
FIRST_REACH = 0.3
"""The length of the first step, in mean widths."""
LEAST_REACH, MOST_REACH = 0.02, 3.0
"""The bounds of the factor by which that length adapts."""
REACH_POWER = 0.35
"""The power of a line search's step length by which the factor is multiplied."""
REACH_PAIRS = 1.5
"""The number of pairs, in units of d, from which on it counts no more."""
REBUILT = 2
"""The number of pairs, in units of d, up to which B is rebuilt."""
LEAST_UNSEEN = 0.2
"""The least share of the gradient that is thought to lie outside the pairs' span."""
DAMPING = 0.2
"""The least curvature of a pair, relative to B's (Powell's damping)."""
LONGEST_DIFFERENCE = 0.05
"""The largest length of finite differences of a noisy f, in mean widths."""
NOISE = 4.0
"""The error of f that is assumed, in units of its rounding."""
NOISY = 20.0
"""The error from which on f counts as noisy, in units of its rounding."""
NOISE_POINTS = 6
"""The points that are evaluated to measure noise."""
LONGEST_STEP = 10.0
"""The length of the longest step, in mean widths; the line search may go farther."""
LEAST_CURVATURE = 1e-14
"""The least curvature of a Newton step, relative to the largest."""
MOST_RESETS = 3
"""The number of times that a descent may forget B and measure the gradient on both sides."""
STALLED = 1e-13
"""A relative decrease of f below which a step counts as none; two of them end the descent."""

Pairs = list[tuple[np.ndarray, np.ndarray]]


class _Model:
    """The gradient at x and the Hessian, with its axes."""

    def __init__(self, dim: int) -> None:
        self.hessian = np.eye(dim)
        self.axes = np.eye(dim)
        self.curvatures: np.ndarray | None = None
        self.pairs: Pairs = []
        self.reach = 1.0

    def forget(self) -> None:
        """Drop the pairs."""
        self.pairs = []
        self.reach = 1.0

    def update(self, gradient: np.ndarray, width: float, with_last: bool) -> None:
        """Fit the Hessian to the pairs; `with_last`: the last one is new."""
        d, count = len(gradient), len(self.pairs)
        size = float(np.linalg.norm(gradient))
        length = FIRST_REACH * width * (self.reach if count < REACH_PAIRS * d else 1.0)
        if not count:
            self.hessian = np.eye(d) * size / length
        elif count <= REBUILT * d:
            span = np.linalg.qr(np.array([s / np.linalg.norm(s) for s, _ in self.pairs]).T)[0]
            unseen = max(float(np.linalg.norm(gradient - span @ (span.T @ gradient))), LEAST_UNSEEN * size)
            most = max((float(y @ y / (s @ y)) for s, y in self.pairs if s @ y > 0), default=0.0)
            self.hessian = np.eye(d) * (min(unseen / length, most) if most > 0 else unseen / length)
            for s, y in self.pairs:
                self.hessian = bfgs(self.hessian, s, y)
        elif with_last:
            self.hessian = bfgs(self.hessian, *self.pairs[-1])

    def adapt(self, length: float) -> None:
        """Lengthen or shorten first steps, after a search that ended at so many steps."""
        longer = self.reach * float(np.clip(length, 0.1, 10.0)) ** REACH_POWER
        self.reach = min(max(longer, LEAST_REACH), MOST_REACH)

    def step(self, gradient: np.ndarray, free: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the Newton step of the free coordinates, (d,), and the axes of the Hessian, (d, d)."""
        self.curvatures, axes = np.linalg.eigh(self.hessian)
        if free.all():
            least = LEAST_CURVATURE * max(float(self.curvatures[-1]), np.finfo(float).tiny)
            step = -axes @ ((axes.T @ gradient) / np.maximum(self.curvatures, least))
        else:
            step = np.zeros(len(gradient))
            step[free] = -np.linalg.solve(self.hessian[np.ix_(free, free)], gradient[free])
        size = float(np.linalg.norm(step))
        return step * min(1.0, LONGEST_STEP * width / max(size, np.finfo(float).tiny)), axes


def bfgs(hessian: np.ndarray, s: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the Hessian (d, d) updated by a step s (d,) along which the gradient changed by y (d,).

    Reference: Nocedal and Wright (2006), "Numerical optimization", procedure 18.2 (damped BFGS).
    """
    bent = hessian @ s
    curvature, measured = s @ bent, s @ y
    if curvature <= 0:
        return hessian
    if measured < DAMPING * curvature:
        share = (1 - DAMPING) * curvature / (curvature - measured)
        y = share * y + (1 - share) * bent
        measured = s @ y
    updated: np.ndarray = hessian - np.outer(bent, bent) / curvature + np.outer(y, y) / measured
    return updated


def descend(search: Search, x: np.ndarray, fx: float) -> Asking[tuple[np.ndarray, float]]:
    """Descend from x, (d,), to where no step lowers f; return the end and f there.

    A gradient costs d queries as one batch, a step mostly 1 or 2. It ends early where f turns out to be rugged. Where f
    turns out to be noisy it begins anew with differences far above the noise.

    References: Nocedal and Wright (2006), "Numerical optimization", chapter 6; Moré and Wild (2012), "Estimating
    derivatives of noisy simulations", ACM Trans. Math. Softw. 38 (the length 2 sqrt(noise / curvature)).
    """
    run, stalls = _Descent(search, x, fx), 0
    while True:
        if not search.tested and search.spent >= LOOK_AFTER * search.dim:
            seen_x, seen_f = yield from look(search, run.x, run.fun)
            if search.rugged:
                return (seen_x, seen_f) if seen_f < run.fun else (run.x, run.fun)
        gradient = yield from run.gradient()
        noise = search.noise
        end = yield from run.move(gradient)
        if search.noise > noise:
            run.begin_anew()
            continue
        if not end.fun < run.fun:
            return run.x, run.fun
        stalls = stalls + 1 if run.fun - end.fun < STALLED * abs(run.fun) else 0
        run.x, run.fun = end.x, end.fun
        if stalls >= 2:
            return run.x, run.fun


class _Descent:
    """A descent's point, model and last differences."""

    def __init__(self, search: Search, x: np.ndarray, fun: float) -> None:
        self.search, self.x, self.fun = search, x.copy(), fun
        self.mean = float(search.width.mean())
        self.scale = search.width / self.mean
        self.resets = 0
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget all but the point."""
        self.model = _Model(self.search.dim)
        self.before: tuple[np.ndarray, np.ndarray] | None = None
        self.lengths, self.values = np.zeros(0), np.zeros(0)

    def gradient(self) -> Asking[np.ndarray]:
        """Measure the gradient, (d,), in units of f per mean width, by differences along the model's axes."""
        search, model = self.search, self.model
        self.lengths = self._lengths()
        points = self._along(self.lengths)
        outside = ((points < search.lower) | (points > search.upper)).any(axis=1)
        self.lengths = np.where(outside, -self.lengths, self.lengths)
        self.values = yield search.clip(self._along(self.lengths))
        correction = 0.0 if model.curvatures is None else 0.5 * self.lengths * model.curvatures
        gradient: np.ndarray = model.axes @ ((self.values - self.fun) / self.lengths - correction)
        if self.before is not None:
            model.pairs.append(((self.x - self.before[0]) / self.scale, gradient - self.before[1]))
        self.before = self.x, gradient
        return gradient

    def _along(self, lengths: np.ndarray) -> np.ndarray:
        return self.x + self.scale * (lengths[:, None] * self.model.axes.T)

    def _lengths(self) -> np.ndarray:
        """Return the distances of the points from x, (d,), in mean widths."""
        search, mean = self.search, self.mean
        rounding = search.rounding * max(abs(self.fun), 1e-300)
        noisy = search.noise > NOISY * rounding
        noise = max(NOISE * rounding, search.noise)
        if self.model.curvatures is not None:
            best = 2 * np.sqrt(noise / np.maximum(np.abs(self.model.curvatures), 1e-300))
            longest = LONGEST_DIFFERENCE if noisy else search.longest_difference
            return np.clip(best, search.least_difference * mean, longest * mean)
        above = min(LONGEST_DIFFERENCE, max(1e-5, 0.4 * float(np.sqrt(noise / search.first_change))))
        return np.full(search.dim, (above if noisy else search.first_difference) * mean)

    def move(self, gradient: np.ndarray) -> Asking[Reached]:
        """Make a step; where none lowers f, look for noise, then try again without the model. Return the end."""
        end, step, axes = yield from self._step(gradient, True)
        if not (end.fun < self.fun or self.resets >= MOST_RESETS or step is None):
            if not self.search.noise:
                self.search.noise = yield from self._measure_noise(step)
                if self.search.noise:
                    return end
            self.resets += 1
            behind = yield self.search.clip(self._along(-self.lengths))
            gradient = self.model.axes @ ((self.values - behind) / (2 * self.lengths))
            self.model.forget()
            end, _, axes = yield from self._step(gradient, False)
        self.model.axes = axes
        if end.fun < self.fun:
            self.model.adapt(end.length)
        return end

    def _step(self, gradient: np.ndarray, with_last: bool) -> Asking[tuple[Reached, np.ndarray | None, np.ndarray]]:
        """Search along the model's step; return the end, the step where there is one, and the model's new axes."""
        search, here = self.search, Reached(self.x, self.fun, 0.0)
        free = ~(((self.x <= search.lower) & (gradient > 0)) | ((self.x >= search.upper) & (gradient < 0)))
        if not np.isfinite(gradient).all() or not gradient[free].any():
            return here, None, self.model.axes
        self.model.update(gradient, self.mean, with_last)
        step, axes = self.model.step(gradient, free, self.mean)
        end = yield from line_search(search, here, gradient, step)
        return end, step, axes

    def _measure_noise(self, step: np.ndarray) -> Asking[float]:
        """Return the standard deviation of f's noise, from equispaced points along a step; 0 where f is smooth."""
        unit = step / max(float(np.linalg.norm(step)), 1e-300)
        apart = max(1e-8 * self.mean, 0.37 * float(self.lengths.mean()))
        places = np.arange(1, NOISE_POINTS + 1)[:, None] * apart
        values = yield self.search.clip(self.x + self.scale * (places * unit))
        noise = noise_level(np.concatenate([[self.fun], values]))
        return noise if noise > NOISY * self.search.rounding * abs(self.fun) else 0.0


def noise_level(values: np.ndarray) -> float:
    """Estimate the standard deviation of the noise in values at equispaced places, (n,); 0 where they show none.

    Reference: Moré and Wild (2011), "Estimating computational noise", SIAM J. Sci. Comput. 33.
    """
    table, factor = values, 1.0
    levels: list[tuple[float, bool]] = []
    for k in range(1, len(values) - 1):
        table = np.diff(table)
        factor *= k / (2 * (2 * k - 1))
        levels.append((float(np.sqrt(factor * np.mean(table**2))), bool(table.min() * table.max() < 0)))
    for k in range(len(levels) - 2):
        three = [level for level, _ in levels[k : k + 3]]
        if max(three) <= 4 * min(three) and levels[k][1]:
            return three[0]
    return 0.0
