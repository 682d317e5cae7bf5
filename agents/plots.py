"""Figures of curves over queries: lines with bands of one standard deviation, running means, axes without clutter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from zo_gym.envs.render import BLUE, ORANGE, VERMILLION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .curves import Curves

Dashes = str | tuple[float, tuple[float, ...]]
"""A linestyle of matplotlib."""

# Okabe and Ito (2008), "Color Universal Design": these colours remain apart for colour-blind readers.
GREEN, PURPLE, SKY, BLACK = "#009E73", "#CC79A7", "#56B4E9", "#000000"
COLOURS = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY)
STYLES: tuple[Dashes, ...] = ("-", "--", "-.", ":", "-", "--")
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


@dataclass(frozen=True)
class Line:
    """Holds how one method is drawn.

    Attributes:
        colour: Colour of line and band.
        dashes: Linestyle.
        width: Width of the line in points.
        shade: Opacity of the band, from 0 to 1.
        height: Order of drawing; lines with greater heights cover the others.
    """

    colour: str
    dashes: Dashes
    width: float = 1.8
    shade: float = 0.18
    height: float = 2.0


def draw_band(axis: Axes, queries: np.ndarray, mean: np.ndarray, std: np.ndarray, line: Line, label: str) -> None:
    """Draw a mean (T,) with one standard deviation (T,) to either side, where they are finite."""
    mean, std = np.where(np.isfinite(mean), mean, np.nan), np.where(np.isfinite(std), std, np.nan)
    low, high, height = mean - std, mean + std, line.height
    axis.plot(queries, mean, ls=line.dashes, lw=line.width, color=line.colour, label=label, zorder=height)
    axis.fill_between(queries, low, high, color=line.colour, alpha=line.shade, linewidth=0, zorder=height - 1)


def mean_std(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute mean, sample standard deviation and number of the known (not NaN) values of each column.

    Args:
        values: (n, T).

    Returns:
        Three arrays (T,). The mean is NaN where nothing is known, the deviation where fewer than two values are known.
    """
    known = ~np.isnan(values)
    count = known.sum(0)
    with np.errstate(invalid="ignore", over="ignore"):  # a run that overflowed has no deviation
        mean = np.where(count > 0, np.where(known, values, 0.0).sum(0) / np.maximum(count, 1), np.nan)
        squares = (np.where(known, values - mean, 0.0) ** 2).sum(0)
        std = np.where(count > 1, np.sqrt(squares / np.maximum(count - 1, 1)), np.nan)
    return mean, std, count


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
