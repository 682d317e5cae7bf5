"""The picture in a window that does not block. Only this module touches pyplot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zo_gym.envs.render.canvas import draw
from zo_gym.envs.render.layout import DPI, HEIGHT, width_of
from zo_gym.envs.render.picture import Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WINDOWLESS_BACKENDS = ("agg", "cairo", "inline", "pdf", "pgf", "ps", "svg", "template")
"""The backends of matplotlib that open no window."""


def show(picture: Picture, window: Figure | None = None) -> Figure:
    """Open a window with the picture, or bring the given one up to date, without blocking.

    A window that the user has closed stays closed.

    Args:
        picture: What to show.
        window: What an earlier call returned; None opens a window.

    Returns:
        The window, to be passed to the next call and at last to `close`.

    Raises:
        RuntimeError: matplotlib cannot open a window here.
    """
    from matplotlib import pyplot

    if window is None:
        window = _open_window(width_of(picture))
    if pyplot.fignum_exists(window.number):
        window.clear()
        draw(window, picture)
        window.canvas.draw()
        window.canvas.flush_events()
    return window


def close(window: Figure | None) -> None:
    """Close a window that `show` opened; do nothing if there is none or the user has closed it."""
    if window is not None:
        from matplotlib import pyplot

        pyplot.close(window)


def _open_window(width: int) -> Figure:
    from matplotlib import pyplot

    need, remedy = 'render_mode="human" needs a window', 'Use render_mode="rgb_array" or render_mode="ansi" instead.'
    backend = pyplot.get_backend()
    if backend.lower().removeprefix("module://matplotlib_inline.backend_") in WINDOWLESS_BACKENDS:
        cause = "there is no display, no GUI toolkit such as tkinter or PyQt, or the backend was chosen by hand"
        raise RuntimeError(f"{need}, but matplotlib's backend is {backend!r}: {cause}. {remedy}")
    try:
        window = pyplot.figure(figsize=(width / DPI, HEIGHT / DPI), dpi=DPI)
    except ImportError as error:  # so matplotlib reports a GUI backend without a display
        raise RuntimeError(f"{need}, but matplotlib cannot open one: {error}. {remedy}") from error
    window.show()
    return window
