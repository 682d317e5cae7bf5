"""The picture as a matplotlib figure, as pixels, and in a window that does not block."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from zo_gym.envs.render import panels
from zo_gym.envs.render.picture import Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WINDOWLESS_BACKENDS = ("agg", "cairo", "inline", "pdf", "pgf", "ps", "svg", "template")
"""The backends of matplotlib that open no window."""


def figure(picture: Picture) -> Figure:
    """Draw the picture on a new figure that pyplot does not know; raise ImportError without matplotlib.

    The loss axis is logarithmic if its values are positive and span two decades; a target or minimum <= 0 is then left
    out. This costs no queries: the contours call `picture.objective`, which is not counted.
    """
    _require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(panels.width_of(picture) / panels.DPI, panels.HEIGHT / panels.DPI), dpi=panels.DPI)
    FigureCanvasAgg(drawn)  # now drawn.canvas, which holds pixels
    _draw(drawn, picture)
    return drawn


def rgb_array(picture: Picture) -> np.ndarray:
    """Draw the picture as pixels, uint8 (400, W, 3); errors as `figure`.

    W is 600 for the loss curve, plus 400 with a path, plus 600 with images: the same in every frame, for video writers.
    """
    canvas: Any = figure(picture).canvas  # matplotlib gives its methods no types
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()  # (H, W, 4) -> (H, W, 3)


def show(picture: Picture, window: Figure | None = None) -> Figure:
    """Open a window with the picture, or bring the given one up to date, without blocking.

    Return the window, for the next call and at last for `close`. A window that the user has closed stays closed.

    Raises:
        ImportError: matplotlib is not installed.
        RuntimeError: matplotlib cannot open a window here.
    """
    _require_matplotlib()
    from matplotlib import pyplot

    if window is None:
        window = _open_window(panels.width_of(picture))
    if pyplot.fignum_exists(window.number):
        window.clear()
        _draw(window, picture)
        window.canvas.draw()
        window.canvas.flush_events()
    return window


def close(window: Figure) -> None:
    """Close a window that `show` opened; do nothing if the user has closed it."""
    from matplotlib import pyplot

    pyplot.close(window)


def _require_matplotlib() -> None:
    if find_spec("matplotlib") is None:
        raise ImportError(
            "Pictures need matplotlib. Install it: pip install 'zo-gym[plot]'. Only render_mode=\"ansi\" needs none."
        )


def _open_window(width: int) -> Figure:
    from matplotlib import pyplot

    need, remedy = 'render_mode="human" needs a window', 'Use render_mode="rgb_array" or render_mode="ansi" instead.'
    backend = pyplot.get_backend()
    if backend.lower().removeprefix("module://matplotlib_inline.backend_") in WINDOWLESS_BACKENDS:
        cause = "there is no display, no GUI toolkit such as tkinter or PyQt, or the backend was chosen by hand"
        raise RuntimeError(f"{need}, but matplotlib's backend is {backend!r}: {cause}. {remedy}")
    try:
        window = pyplot.figure(figsize=(width / panels.DPI, panels.HEIGHT / panels.DPI), dpi=panels.DPI)
    except ImportError as error:  # so matplotlib reports a GUI backend without a display
        raise RuntimeError(f"{need}, but matplotlib cannot open one: {error}. {remedy}") from error
    window.show()
    return window


def _draw(canvas: Figure, picture: Picture) -> None:
    """Put every panel on an empty figure, from left to right."""
    canvas.set_layout_engine("none")  # the user's settings may ask for one, which would move the axes
    total = panels.width_of(picture)
    room = total // 12  # characters
    title = picture.title if len(picture.title) <= room else picture.title[: room - 1] + "…"
    canvas.text(14 / total, 1 - 12 / panels.HEIGHT, title, fontsize=12, fontweight="bold", va="top", parse_math=False)
    left, margin, side = panels.CURVE_WIDTH, panels.LEFT, panels.PLOT_HEIGHT
    panels.draw_curve(panels.add_axes(canvas, total, margin, left - margin - 20), picture)
    if picture.path is not None:
        panels.draw_path(panels.add_axes(canvas, total, left + margin, side), picture, picture.path)
        left += panels.PATH_WIDTH
    if picture.original is not None and picture.current is not None:
        panels.draw_images(canvas, total, left, picture.original, picture.current)
