"""Functions that are sums of functions of one coordinate each: how they are recognised and minimised.

All coordinates of a round are one batch.
"""

from __future__ import annotations

import numpy as np

from zo_gym.portfolio.one_dimension import expected_improvement
from zo_gym.portfolio.search import ROUNDING, Asking, Search

ROUNDS = 3
"""The rounds of the test."""
NEAR, FAR = 0.1, 0.3
"""How far the test's points lie away in each coordinate, in widths: at least, and at most."""
ADDITIVE = 1e-9
"""The relative error up to which f counts as additive."""
KEPT = 0.3
"""The share of a predicted decrease that a parabola must have kept to be trusted again."""
SEEN = 1e-3
"""The predicted decrease, relative to the range of values, from which on a failed one speaks of several minima."""
PREFERRED = 3.0
"""Where there are several minima: how much larger than the expected improvement a parabola's decrease must be."""
WORTH = 0.01
"""The share of the largest gain that a coordinate must promise to take part in a round."""
PATIENCE = 4
"""The rounds after which a coordinate takes part whatever it promises."""
IDLE = 8
"""The moves without a decrease after which a coordinate is done, where none has several minima."""
SHARED = 0.25
"""The share of coordinates with several minima above which all are taken to have some."""
FIRST_MODEL, LAST_MODEL = 5, 80
"""The numbers of values from which and up to which a coordinate is modelled by a Gaussian process."""
ALTERNATE = 30
"""The number of values from which on the model and the widest promising interval take turns."""
LEAST_GAIN = 1e-5
"""The expected improvement, relative to the values' deviation, below which the model is not followed."""
BELOW = 1e-4
"""How far below the least value, relative to the range, the next one is hoped for."""
FARTHEST = 1e9
"""The length, in widths, beyond which the interval of a coordinate without bounds is not extended."""
WINDOW = 0.5
"""Half the length of the interval that is searched where a coordinate has no bound, in widths."""


def is_additive(search: Search, x: np.ndarray, fx: float) -> Asking[bool]:
    """Tell whether f changes by the sum of what two random halves of the coordinates change it by.

    Costs 3 queries a round; most functions end it after one.
    """
    if search.dim == 1:
        return True
    for _ in range(ROUNDS):
        half = search.rng.permutation(search.dim) < search.dim // 2
        move = search.rng.uniform(NEAR, FAR, search.dim) * search.width * search.rng.choice([-1, 1], search.dim)
        other = x + move
        other = search.clip(np.where((other < search.lower) | (other > search.upper), x - move, other))
        values = yield np.array([np.where(half, other, x), np.where(half, x, other), other])
        search.first_change = max(float(np.abs(values - fx).max()), 1e-300)
        error = abs(values[2] - values[0] - values[1] + fx)
        scale, size = np.abs(values - fx).max(), max(np.abs(values).max(), abs(fx))
        if not (error <= ADDITIVE * scale + 16 * ROUNDING * size and scale > 1e3 * ROUNDING * size):
            return False
    return True


class _Coordinate:
    """What is known of f along one coordinate: values relative to that at the start."""

    def __init__(self, search: Search, index: int, at: float) -> None:
        self.width = float(search.width[index])
        self.bounds = float(search.lower[index]), float(search.upper[index])
        low, high = self.bounds
        self.ends = (
            low if np.isfinite(low) else at - WINDOW * self.width,
            high if np.isfinite(high) else at + WINDOW * self.width,
        )
        self.places, self.values = [at], [0.0]
        self.offset = 0.0
        self.trusted, self.by_parabola, self.many = True, False, False
        self.predicted = 0.0
        self.waited = self.idle = 0

    def propose(self, size: float, many: bool) -> tuple[float, float] | None:
        """Return the next place and the gain that it promises; None where no place is left.

        `size` is |f|, and `many` tells whether other coordinates have several minima.
        """
        order = np.argsort(self.places)
        t, v = np.array(self.places)[order], np.array(self.values)[order]
        was_parabola, self.by_parabola, self.predicted = self.by_parabola, False, 0.0
        if len(t) < 3:
            for end in self.ends:
                if np.abs(t - end).min() > 1e-9 * self.width:
                    return end, np.inf
        k = int(v.argmin())
        length = float(t[-1] - t[0])
        if length < FARTHEST * self.width:
            if k == 0 and not np.isfinite(self.bounds[0]):
                return t[0] - 2 * length, np.inf
            if k == len(t) - 1 and not np.isfinite(self.bounds[1]):
                return t[-1] + 2 * length, np.inf
        parabola = self._parabola(t, v, k, size)
        modelled = FIRST_MODEL <= len(t) <= LAST_MODEL and (len(t) < ALTERNATE or len(t) % 2 == 1) and np.ptp(v) > 0
        model = None
        follow = parabola is not None and (self.trusted or not was_parabola)
        if (self.many or many) and modelled:
            model = self._model(t, v)
            follow = parabola is not None and parabola[1] >= PREFERRED * model[1]
        if follow and parabola is not None:
            self.by_parabola, self.predicted = True, parabola[1]
            return parabola
        if modelled:
            model = self._model(t, v) if model is None else model
            if model[1] > LEAST_GAIN * v.std():
                return model
        return self._widest(t, v)

    def _parabola(self, t: np.ndarray, v: np.ndarray, k: int, size: float) -> tuple[float, float] | None:
        """Return the minimum of the parabola through the best place and its neighbours, and the decrease there."""
        if not 0 < k < len(t) - 1:
            return None
        left, right = t[k - 1] - t[k], t[k + 1] - t[k]
        below, above = v[k - 1] - v[k], v[k + 1] - v[k]
        bend = (below / left - above / right) / (left - right)
        slope = below / left - bend * left
        if bend <= 0:
            return None
        move, gain = -slope / (2 * bend), slope**2 / (4 * bend)
        if gain <= 4 * ROUNDING * size or abs(move) <= 1e-12 * self.width:
            return None
        return float(t[k] + np.clip(move, 0.9 * left, 0.9 * right)), float(gain)

    def _model(self, t: np.ndarray, v: np.ndarray) -> tuple[float, float]:
        place, gain = expected_improvement((t - t[0]) / (t[-1] - t[0]), v)
        return float(t[0] + place * (t[-1] - t[0])), gain

    def _widest(self, t: np.ndarray, v: np.ndarray) -> tuple[float, float] | None:
        """Return the middle of the interval in which the flattest parabola reaches just below the least value.

        Reference: Swarzberg, Seront and Bersini (1994), "S.T.E.P.: the easiest way to optimize a function", ICEC.
        """
        aim = v.min() - BELOW * max(float(np.ptp(v)), 1e-300)
        gaps = np.diff(t)
        difficulty = ((np.sqrt(v[:-1] - aim) + np.sqrt(v[1:] - aim)) / gaps) ** 2
        difficulty[gaps < 1e-6 * self.width] = np.inf
        k = int(difficulty.argmin())
        return (float(0.5 * (t[k] + t[k + 1])), np.inf) if np.isfinite(difficulty[k]) else None

    def learn(self, place: float, change: float) -> None:
        """Take in that f changed by so much where the coordinate went to this place."""
        self.places.append(place)
        self.values.append(self.offset + change)
        if self.by_parabola:
            kept = -change >= KEPT * self.predicted
            self.trusted = change < 0 and kept
            self.many |= not kept and self.predicted > SEEN * float(np.ptp(self.values))
        self.waited = 0
        self.idle = 0 if change < 0 or self.many else self.idle + 1


def sweep(search: Search, x: np.ndarray, fx: float) -> Asking[tuple[np.ndarray, float]]:
    """Minimise an additive f coordinate by coordinate; return the end, (d,), and f there.

    It ends where no place is left in any coordinate, or f turns out not to be additive.
    """
    x = x.copy()
    coordinates = [_Coordinate(search, i, x[i]) for i in range(search.dim)]
    proposals = [coordinate.propose(abs(fx), False) for coordinate in coordinates]
    while True:
        gains = {i: proposal[1] for i, proposal in enumerate(proposals) if proposal is not None}
        if not gains:
            return x, fx
        most = max((gain for gain in gains.values() if np.isfinite(gain)), default=0.0)
        chosen = [i for i, gain in gains.items() if gain >= WORTH * most or coordinates[i].waited >= PATIENCE]
        for i in gains:
            coordinates[i].waited += 1
        points = np.repeat(x[None], len(chosen), axis=0)
        for row, i in enumerate(chosen):
            proposal = proposals[i]
            assert proposal is not None
            points[row, i] = proposal[0]
        values = yield points
        changes = values - fx
        for row, i in enumerate(chosen):
            coordinates[i].learn(points[row, i], float(changes[row]))
        better = [row for row in range(len(chosen)) if changes[row] < 0]
        if better:
            joined, fun = yield from _join(x, points, values, [(row, chosen[row]) for row in better])
            rounding = 64 * ROUNDING * max(abs(fx), float(np.abs(values).max()))
            gain = float(changes[better].sum())
            if abs(fun - fx - gain) > 1e-6 * abs(gain) + rounding:  # f is not additive after all
                k = int(values.argmin())
                return (joined, fun) if fun < values[k] else (points[k].copy(), float(values[k]))
            for row in better:
                coordinates[chosen[row]].offset += float(changes[row])
            x, fx = joined, fun
        count = sum(coordinate.many for coordinate in coordinates)
        for i in chosen:
            done = coordinates[i].idle >= IDLE and not count
            proposals[i] = None if done else coordinates[i].propose(abs(fx), count > SHARED * search.dim)


def _join(
    x: np.ndarray, points: np.ndarray, values: np.ndarray, better: list[tuple[int, int]]
) -> Asking[tuple[np.ndarray, float]]:
    """Evaluate x with the coordinates of those points that lowered f, given as (row, coordinate)."""
    joined = x.copy()
    for row, i in better:
        joined[i] = points[row, i]
    if len(better) == 1:
        return joined, float(values[better[0][0]])
    return joined, float((yield joined[None])[0])
