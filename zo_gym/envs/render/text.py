"""The picture as text, for terminals; it needs no matplotlib."""

from __future__ import annotations

import numpy as np

from zo_gym.envs.render.picture import Picture, drawable, spans_decades

BARS = "▁▂▃▄▅▆▇█"
"""The bars of a sparkline, lowest first."""


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
