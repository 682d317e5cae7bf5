"""The panels of a picture: the loss curve, the path on the contours of f, and the images of an attack.

Their places are fixed, in pixels, so that nothing jumps from frame to frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zo_gym.envs.render.picture import Picture, PlainObjective, drawable, spans_decades

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ORANGE, BLUE, VERMILLION, GREY = "#E69F00", "#0072B2", "#D55E00", "#666666"
"""Colours that remain apart for colour-blind readers, from Okabe and Ito (2008), "Color Universal Design"."""

DPI = 100
"""Pixels per inch, matplotlib's unit of length."""
HEIGHT = 400
"""Height of a picture in pixels."""
CURVE_WIDTH, PATH_WIDTH, IMAGES_WIDTH = 600, 400, 600
"""Width in pixels of the panels with the loss curve, the path and the images."""
LEFT, BOTTOM, PLOT_HEIGHT = 92, 52, 284
"""Margins and height of every plot in pixels; the rest above it holds the title and the legend."""
MAX_POINTS = 2000
"""The most points of a line; longer runs are thinned."""
GRID = 48
"""The contours come from f at GRID x GRID points."""


def width_of(picture: Picture) -> int:
    """Return the width of a picture in pixels; it depends only on which panels there are."""
    has_path, has_images = picture.path is not None, picture.original is not None
    return CURVE_WIDTH + PATH_WIDTH * has_path + IMAGES_WIDTH * has_images


def add_axes(canvas: Figure, total: int, left: float, width: float) -> Axes:
    """Add axes at a place in pixels to a figure `total` pixels wide."""
    axes = canvas.add_axes((left / total, BOTTOM / HEIGHT, width / total, PLOT_HEIGHT / HEIGHT))
    axes.tick_params(labelsize=9, colors=GREY)
    for side, spine in axes.spines.items():
        spine.set_color(GREY)
        spine.set_visible(side in ("left", "bottom"))
    return axes


def add_labels(axes: Axes, x: str, y: str) -> None:
    """Place the axis labels, and the power of ten that the vertical ticks share, clear of tick labels and legend."""
    width = axes.bbox.width
    axes.set_xlabel(x, fontsize=10)
    axes.set_ylabel(y, fontsize=10)
    axes.yaxis.set_label_coords((22 - LEFT) / width, 0.5)
    axes.yaxis.get_offset_text().set_x((12 - LEFT) / width)


def add_legend(axes: Axes, columns: int) -> None:
    """Add a legend in one row above the axes, where it cannot hide a line."""
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, frameon=False, fontsize=9, borderaxespad=0.2,
        borderpad=0.2, handlelength=1.2, handletextpad=0.5, columnspacing=1.0,
    )  # fmt: skip


def draw_curve(axes: Axes, picture: Picture) -> None:
    """Draw f and best f against queries, with the target and the minimum where the axis can show them."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    rows = _thin(len(picture.queries))
    queries = np.asarray(picture.queries)[rows]
    fun, best = drawable(picture.fun[rows]), drawable(picture.best[rows])
    logarithmic = spans_decades(np.concatenate([fun, best]))
    if logarithmic:
        axes.set_yscale("log")
        axes.minorticks_off()
    axes.step(queries, best, where="post", color=BLUE, lw=3, label=f"best f {picture.best[-1]:.4g}")
    axes.plot(queries, fun, color=ORANGE, lw=1, label=f"f {picture.fun[-1]:.4g}")
    axes.plot(queries[-1:], best[-1:], "o", color=BLUE, ms=6, clip_on=False)
    axes.plot(queries[-1:], fun[-1:], "o", color=ORANGE, ms=3.5, clip_on=False)
    floor = 0 if logarithmic else -np.inf  # what the axis can show lies above it
    if picture.target is not None and drawable(picture.target) > floor:
        label = f"target {picture.target:.4g}"
        axes.axhline(picture.target, color=VERMILLION, ls="--", lw=1.2, zorder=1, label=label)
    if picture.minimum is not None and drawable(picture.minimum) > floor:
        axes.axhline(picture.minimum, color=GREY, ls=":", lw=1.2, zorder=1, label="minimum")
    if not np.isfinite(best).any() and not np.isfinite(fun).any():
        axes.text(0.5, 0.5, "no finite value yet", transform=axes.transAxes, ha="center", color=GREY)

    axes.set_xlim(0, max(1.0, 1.02 * float(queries[-1])))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    add_labels(axes, "queries", "f")
    axes.grid(color="#E6E6E6", lw=0.6)
    axes.set_axisbelow(True)
    add_legend(axes, columns=4)


def draw_path(axes: Axes, picture: Picture, path: np.ndarray) -> None:
    """Draw the iterates (n, 2) on the contours of f, with the start, the best and the current one."""
    from matplotlib.ticker import MaxNLocator

    fun = drawable(picture.fun)
    seen = np.isfinite(drawable(path)).all(axis=1)
    path, fun = np.asarray(path, dtype=float)[seen], fun[seen]
    axes.spines[:].set_visible(True)
    add_labels(axes, "$x_1$", "$x_2$")
    if len(path) == 0:
        axes.text(0.5, 0.5, "no finite point yet", transform=axes.transAxes, ha="center", color=GREY)
        return

    low, high = _limits(path)
    if picture.objective is not None:
        _draw_contours(axes, picture.objective, low, high)
    line = path[_thin(len(path))]
    axes.plot(line[:, 0], line[:, 1], color=VERMILLION, lw=1.2, marker="." if len(line) <= 60 else "", ms=4)
    axes.plot(*path[0], "o", color="white", mec="black", ms=7, ls="", label="start")
    if np.isfinite(fun).any():
        axes.plot(*path[np.nanargmin(fun)], "*", color=ORANGE, mec="black", ms=13, mew=0.8, ls="", label="best")
    axes.plot(*path[-1], "o", color=VERMILLION, mec="black", ms=5, mew=0.8, ls="", label="now")
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    add_legend(axes, columns=3)


def _draw_contours(axes: Axes, objective: PlainObjective, low: np.ndarray, high: np.ndarray) -> None:
    """Fill between quantiles of f, so that a valley is visible at any scale of f; darker is lower."""
    from matplotlib.colors import BoundaryNorm

    x1, x2 = np.meshgrid(np.linspace(low[0], high[0], GRID), np.linspace(low[1], high[1], GRID))  # (GRID, GRID) each
    with np.errstate(all="ignore"):  # the corners of the window may overflow f
        values = drawable(objective(np.stack([x1.ravel(), x2.ravel()], axis=1))).reshape(GRID, GRID)
    if np.isnan(values).all():
        return
    levels = np.unique(np.nanquantile(values, np.linspace(0, 1, 15)))
    if len(levels) < 3:
        return
    norm = BoundaryNorm(levels, 256)
    filled = axes.contourf(x1, x2, np.ma.masked_invalid(values), levels=levels, cmap="GnBu_r", norm=norm, alpha=0.85)
    filled.set(edgecolor="white", linewidth=0.6, antialiased=True)


def draw_images(canvas: Figure, total: int, left: float, original: np.ndarray, current: np.ndarray) -> None:
    """Draw original | difference | current: one grey scale for both images, symmetric limits for the difference."""
    original, current = drawable(original), drawable(current)
    difference = current - original
    both = np.concatenate([original.ravel(), current.ravel()])
    both = both[np.isfinite(both)]
    black, white = (both.min(), both.max()) if both.size else (0.0, 1.0)
    largest = float(np.nanmax(np.abs(difference))) if np.isfinite(difference).any() else 0.0
    limit = largest or 1.0

    height, width = original.shape
    gap = 0.08 * width
    axes = add_axes(canvas, total, left + 16, IMAGES_WIDTH - 32)
    panels = (
        ("original", original, "gray", black, white),
        ("difference", difference, "RdBu_r", -limit, limit),
        ("current", current, "gray", black, white),
    )
    for column, (name, image, colours, low, high) in enumerate(panels):
        start, end = column * (width + gap), column * (width + gap) + width
        axes.imshow(image, cmap=colours, vmin=low, vmax=high, interpolation="nearest", extent=(start, end, height, 0))
        axes.plot([start, end, end, start, start], [0, 0, height, height, 0], color=GREY, lw=0.8, clip_on=False)
        axes.annotate(name, ((start + end) / 2, 0), (0, 6), textcoords="offset points", ha="center", fontsize=10)
    axes.set(xlim=(0, 3 * width + 2 * gap), ylim=(height, 0))
    scale = f"blue {-limit:.2g}, red +{limit:.2g}"
    middle = (1.5 * width + gap, height)
    axes.annotate(scale, middle, (0, -14), textcoords="offset points", ha="center", fontsize=9, color=GREY)
    axes.set_axis_off()


def _thin(n: int) -> np.ndarray:
    """Choose at most MAX_POINTS of the row numbers 0 to n - 1, first and last included."""
    return np.unique(np.linspace(0, n - 1, min(n, MAX_POINTS)).astype(int))


def _limits(path: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a square window (low (2,), high (2,)) around the path, on round numbers so that it moves rarely."""
    extent = max(float(np.ptp(path, axis=0).max()), 0.2 * float(np.abs(path[0]).max())) or 1.0
    grain = 2.0 ** np.ceil(np.log2(extent)) / 4
    low, high = path.min(axis=0) - extent / 5, path.max(axis=0) + extent / 5
    low, high = np.floor(low / grain) * grain, np.ceil(high / grain) * grain
    centre, half = (low + high) / 2, max(float((high - low).max()), 1.5 * extent) / 2
    return centre - half, centre + half
