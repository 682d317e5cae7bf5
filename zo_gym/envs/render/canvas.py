"""The picture as a matplotlib figure and as pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from zo_gym.envs.render.layout import (
    BOTTOM,
    CURVE_WIDTH,
    DPI,
    HEIGHT,
    LEFT,
    PATH_WIDTH,
    PLOT_HEIGHT,
    add_axes,
    width_of,
)
from zo_gym.envs.render.panels import draw_curve, draw_images, draw_path
from zo_gym.envs.render.picture import Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure(picture: Picture) -> Figure:
    """Draw the picture on a new figure that pyplot does not know.

    The loss axis is logarithmic if every value on it is positive and they span two decades or more; a target or
    minimum that such an axis cannot show (<= 0) is left out.

    Costs no queries: the contours call `picture.objective`, which is not counted.
    """
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(width_of(picture) / DPI, HEIGHT / DPI), dpi=DPI)
    draw(drawn, picture)
    return drawn


def rgb_array(picture: Picture) -> np.ndarray:
    """Draw the picture as pixels, uint8 (400, W, 3).

    W is 600 for the loss curve, plus 400 with a path, plus 600 with images, however far the run has come.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure(picture))  # matplotlib gives its methods no types
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()  # (H, W, 4) -> (H, W, 3)


def draw(canvas: Figure, picture: Picture) -> None:
    """Put every panel on an empty figure, from left to right."""
    canvas.set_layout_engine("none")  # the user's settings may ask for one, which would move the axes
    total = width_of(picture)
    room = total // 12  # characters
    title = picture.title if len(picture.title) <= room else picture.title[: room - 1] + "…"
    canvas.text(14 / total, 1 - 12 / HEIGHT, title, fontsize=12, fontweight="bold", va="top", parse_math=False)
    draw_curve(add_axes(canvas, total, LEFT, BOTTOM, CURVE_WIDTH - LEFT - 20, PLOT_HEIGHT), picture)
    left = CURVE_WIDTH
    if picture.path is not None:
        draw_path(add_axes(canvas, total, left + LEFT, BOTTOM, PLOT_HEIGHT, PLOT_HEIGHT), picture, picture.path)
        left += PATH_WIDTH
    if picture.original is not None and picture.current is not None:
        draw_images(canvas, total, left, picture.original, picture.current)
