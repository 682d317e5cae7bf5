"""The figure of a comparison: f against queries, and the cosine where it was measured."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from zo_gym.envs.render import BLUE, ORANGE, VERMILLION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .curves import Curves

# Okabe and Ito (2008), "Color Universal Design": these colours remain apart for colour-blind readers.
GREEN, PURPLE, SKY, BLACK = "#009E73", "#CC79A7", "#56B4E9", "#000000"
COLOURS = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY)
STYLES = ("-", "--", "-.", ":", "-", "--")
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
        colour, dashes = COLOURS[index % len(COLOURS)], STYLES[index % len(STYLES)]
        mean, std = c.best.mean(0), c.best.std(0)
        axes[0].plot(c.queries, mean, linestyle=dashes, color=colour, linewidth=1.8, label=c.name)
        axes[0].fill_between(c.queries, mean - std, mean + std, color=colour, alpha=0.18, linewidth=0)
        if c.cosine is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # of the mean of nothing, NaN, before the first cosine
                cosine = np.nanmean(running_mean(c.cosine, COSINE_WIDTH), axis=0)
            axes[1].plot(c.queries, cosine, linestyle=dashes, color=colour, linewidth=1.5)
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


def running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Replace each value by the mean of the known ones among its `width` neighbours, (n, T) -> (n, T).

    The window is centred and shorter at the ends; the result is NaN where the window holds no known value.
    """
    known = np.isfinite(values)
    kernel = np.ones(min(width, values.shape[1]))
    weight = np.stack([np.convolve(row, kernel, mode="same") for row in known.astype(np.float64)])
    total = np.stack([np.convolve(row, kernel, mode="same") for row in np.where(known, values, 0.0)])
    return np.where(weight > 0.5, total / np.maximum(weight, 1.0), np.nan)


def tidy(axis: Axes) -> None:
    """Hide the axes that carry no numbers, and draw a faint grid."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25)
