"""The figure of a comparison: f against queries, and the cosine where it was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .curve_style import COLOURS, STYLES, Line, draw_band, mean_std, running_mean, tidy
from .curves import Curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COSINE_WIDTH = 20
"""Grid points that the running mean of the cosine covers."""


def figure(curves: Sequence[Curves], title: str) -> Figure:
    """Draw mean lines with shaded standard deviations; the steep first twentieth of the budget may leave the axis of f.

    Where a method is `early`, both axes are logarithmic, and no mean leaves them. Where any curve measured
    |cos(g, grad f)|, a second panel shows it as a running mean over 20 grid points.
    """
    from matplotlib.figure import Figure

    measured = [c for c in curves if c.cosine is not None]
    result = Figure(figsize=(11 if measured else 6.5, 4.2), layout="constrained")
    axes = result.subplots(1, 2 if measured else 1, squeeze=False)[0]
    for index, c in enumerate(curves):
        line = Line(COLOURS[index % len(COLOURS)], STYLES[index % len(STYLES)])
        draw_band(axes[0], c.queries, c.best.mean(0), c.best.std(0), line, c.name)
        if c.cosine is not None:
            mean, _, _ = mean_std(running_mean(c.cosine, COSINE_WIDTH))
            axes[1].plot(c.queries, mean, linestyle=line.dashes, color=line.colour, linewidth=1.5)
    if any(c.early for c in curves):
        means = np.concatenate([c.best.mean(0) for c in curves])
        axes[0].set(xscale="log", yscale="log", ylim=(0.7 * means.min(), 1.4 * means.max()))
    else:
        last = [c.best[:, -1].mean() for c in curves]
        shown = [c.best.mean(0)[len(c.queries) // 20] for c in curves]
        spread = max(max(shown) - min(last), 1e-12)
        axes[0].set_ylim(min(last) - 0.05 * spread, max(shown) + 0.05 * spread)
    axes[0].set(xlabel="queries", ylabel="best f so far", title=title)
    axes[0].legend(fontsize=8, frameon=False)
    if measured:
        axes[1].set(xlabel="queries", ylabel="|cos(g, ∇f)|", title="estimate and true gradient")
        axes[1].set_ylim(0, None)
    for axis in axes:
        tidy(axis)
    return result
