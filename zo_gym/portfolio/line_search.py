"""The search along a quasi-Newton step, each trial where a parabola through the known values has its minimum."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from zo_gym.portfolio.search import Asking, Search

TRIALS = 20
"""The most trials along one step."""
SHORTEST = 1e-13
"""The length, in widths, below which a trial is not made."""
SUFFICIENT = 1e-4
"""The share of the predicted decrease that ends the shortening of steps (Armijo's rule)."""
CLOSE = 0.1
"""Where the parabola's minimum is as close as this, relative to the trial, no further one is made."""
LONGEST = 4.0
"""The largest factor by which a trial is lengthened."""


class Reached(NamedTuple):
    """The end of a search."""

    x: np.ndarray
    """The best point, (d,); the start where nothing was better."""
    fun: float
    """f there."""
    length: float
    """How many times the step it lies away; 0 at the start."""


def line_search(search: Search, start: Reached, gradient: np.ndarray, step: np.ndarray) -> Asking[Reached]:
    """Search along a step from a point.

    Args:
        search: The run.
        start: The point, and f there.
        gradient: grad f there, in units of f per mean width, (d,).
        step: The step in mean widths of each coordinate, (d,).

    Reference: Nocedal and Wright (2006), "Numerical optimization", section 3.5 (interpolation).
    """
    x, fx = start.x, start.fun
    mean = search.width.mean()
    scale = search.width / mean
    length, best = 1.0, Reached(x, fx, 0.0)
    for trial in range(TRIALS):
        at = search.clip(x + length * scale * step)
        move = (at - x) / scale
        if np.linalg.norm(move) < SHORTEST * mean:
            break
        slope = gradient @ move
        fun = float((yield at[None])[0])
        if fun < best.fun:
            best = Reached(at, fun, length)
        bend = 2 * (fun - fx - slope)
        ahead = (-slope / bend if bend > 0 else LONGEST) if slope < 0 else 0.25  # where the parabola is least
        if fun > fx + SUFFICIENT * slope and best.fun >= fx:
            length *= min(max(ahead, 0.1), 0.5)
            continue
        if fun > best.fun or abs(ahead - 1) < CLOSE or (trial > 0 and 0.5 < ahead < 1):
            break
        farther = length * min(max(ahead, 0.1), LONGEST)
        at = search.clip(x + farther * scale * step)
        fun = float((yield at[None])[0])
        if not fun < best.fun:
            break
        best = Reached(at, fun, farther)
        if farther < 0.97 * LONGEST * length:
            break
        length = LONGEST * farther
    return best
