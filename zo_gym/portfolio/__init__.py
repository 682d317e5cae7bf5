"""The portfolio: a search that finds out what kind of function it faces, for a deterministic f of few variables.

1. Is f a sum of functions of one coordinate each? Three queries tell for most functions. If so, it is minimised
   coordinate by coordinate (`zo_gym.portfolio.separable`).
2. A quasi-Newton descent follows (`zo_gym.portfolio.quasi_newton`).
3. After 20 d queries, or at the descent's end, f along a random line tells whether it is rugged
   (`zo_gym.portfolio.ruggedness`). If so, populations of growing size search (`zo_gym.portfolio.cma`); if not, further
   descents begin at random points, and a tenth of the queries goes to populations.
"""

from __future__ import annotations

import numpy as np

from zo_gym.portfolio.cma import cma
from zo_gym.portfolio.quasi_newton import descend
from zo_gym.portfolio.ruggedness import look
from zo_gym.portfolio.search import ROUNDING, Asking, Search, once, scaled
from zo_gym.portfolio.separable import is_additive, sweep

SHORT = 8
"""Queries, in units of d, within which a descent that ended has met a plateau."""
NOISY = 100.0
"""The noise, in units of f's rounding, from which on populations search."""
POOL = 2
"""The random points, in units of d, of which a further descent begins at the best."""
POPULATION_SHARE = 0.1
"""The queries that go to populations, relative to those of further descents, where f is smooth."""


def ask_portfolio(
    start: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    rng: np.random.Generator,
    rounding: float = ROUNDING,
) -> Asking[None]:
    """Search without end: yield points (m, d) inside the bounds, and be sent their values (m,).

    The first question is f(x0) alone, and no point is asked twice. Equal seeds and values give equal questions.

    Args:
        start: x0, (d,), float64.
        lower: The least values, (d,), -infinity where there is no bound.
        upper: The largest values, (d,), infinity where there is no bound.
        rng: Draws all random numbers.
        rounding: The relative rounding of f's argument.
    """
    yield from once(scaled(_search(Search(start, lower, upper, rng, rounding))))


def _search(search: Search) -> Asking[None]:
    yield from search.noted(_first(search))
    by_populations = by_descents = runs = 0
    searching: Asking[None] | None = None
    popsize = (4 + int(3 * np.log(search.dim))) * (2 if search.flat else 1)
    while True:
        before = search.spent
        if not search.rugged and by_populations >= POPULATION_SHARE * by_descents:
            yield from search.noted(_again(search))
            by_descents += search.spent - before
            continue
        if searching is None:
            mean = search.start if runs == 0 else search.random_points(1)[0]
            searching = cma(search, mean, popsize * 2**runs)
            points = next(searching)
        values = yield points
        search.note(points, values)
        by_populations += search.spent - before
        try:
            points = searching.send(values)
        except StopIteration:
            searching, runs = None, runs + 1


def _first(search: Search) -> Asking[None]:
    x = search.start
    fx = float((yield x[None])[0])
    additive = yield from is_additive(search, x, fx)
    if additive:
        x, fx = yield from sweep(search, x, fx)
    elif search.fun < fx:
        x, fx = search.x, search.fun
    x, fx = yield from descend(search, x, fx)
    search.rugged |= search.noise > NOISY * search.rounding * max(abs(fx), 1e-300) and not additive
    if search.tested or search.rugged:
        return
    if not additive and search.spent < SHORT * search.dim:
        search.tested = search.rugged = search.flat = True
    else:
        yield from look(search, x, fx)


def _again(search: Search) -> Asking[None]:
    points = search.random_points(max(1, POOL * search.dim))
    values = yield points
    k = int(values.argmin())
    yield from descend(search, points[k].copy(), float(values[k]))
