"""Places, sizes and colours in a picture. Places are fixed, in pixels, so that nothing jumps from frame to frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zo_gym.envs.render.picture import Picture

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


def width_of(picture: Picture) -> int:
    """Return the width of a picture in pixels; it depends only on which panels there are."""
    has_path, has_images = picture.path is not None, picture.original is not None
    return CURVE_WIDTH + PATH_WIDTH * has_path + IMAGES_WIDTH * has_images


def add_axes(canvas: Figure, total: int, left: float, bottom: float, width: float, height: float) -> Axes:
    """Add axes at a place in pixels to a figure `total` pixels wide."""
    axes = canvas.add_axes((left / total, bottom / HEIGHT, width / total, height / HEIGHT))
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
