"""A look along random lines: does f have many local minima, or plateaus?"""

from __future__ import annotations

import numpy as np

from zo_gym.portfolio.search import Asking, Search

PLACES = np.concatenate([np.arange(-8, 0), np.arange(1, 9)])
"""The points of a line, in steps from the best point."""
STEP = 0.03
"""The length of a step along a line in one dimension, in widths; d^(1/4) times that in d."""
LINES = 2
"""The most lines."""
MANY = 4
"""The number of changes between rising and falling from which on f counts as rugged."""
FEW = 1
"""The number up to which one line is enough to call f smooth."""
EQUAL = 3
"""The number of equal neighbours from which on f counts as flat, and as rugged."""


def look(search: Search, x: np.ndarray, fx: float) -> Asking[tuple[np.ndarray, float]]:
    """Evaluate f on lines through x, (d,), and set what the search knows of f; return the best point and f there."""
    search.tested = True
    best_x, best_f = x, fx
    steps = PLACES * STEP * search.dim**0.25
    for _ in range(LINES):
        direction = search.rng.standard_normal(search.dim)
        direction /= np.linalg.norm(direction)
        points = search.fold(x + steps[:, None] * search.width * direction)
        values = yield points
        k = int(values.argmin())
        if values[k] < best_f:
            best_x, best_f = points[k].copy(), float(values[k])
        half = len(PLACES) // 2
        signs = np.sign(np.diff(np.concatenate([values[:half], [fx], values[half:]])))
        equal, signs = int((signs == 0).sum()), signs[signs != 0]
        changes = int((signs[1:] != signs[:-1]).sum())
        search.flat |= equal >= EQUAL
        search.rugged |= changes >= MANY or equal >= EQUAL
        if search.rugged or changes <= FEW:
            break
    return best_x, best_f
