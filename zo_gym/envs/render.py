"""What a person looks at while an environment runs: a picture of one run, drawn four ways.

A `Picture` holds plain arrays, so that the env, training (a TensorBoard figure) and evaluation share these functions:

- `figure`: a matplotlib Figure. Always f and best f against queries; for d = 2 also the path on the contours of f;
  for an image also original | difference | current.
- `rgb_array`: the same picture as pixels. The size depends only on which panels there are, as video writers need.
- `ansi`: a few lines of text; needs no matplotlib.
- `show` and `close`: the same picture in a window that does not block.

Only `show` and `close` touch pyplot. Axes have fixed places, in pixels, so that nothing jumps from frame to frame.
Values that are not finite are left out of every picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PlainObjective = Callable[[np.ndarray], np.ndarray]
"""f without its query counter: points (m, 2) -> values (m,)."""

# Okabe & Ito (2008): colours that remain apart for colour-blind readers.
ORANGE, BLUE, VERMILLION, GREY = "#E69F00", "#0072B2", "#D55E00", "#666666"

DPI, HEIGHT = 100, 400
CURVE_WIDTH, PATH_WIDTH, IMAGES_WIDTH = 600, 400, 600
# In pixels: margins and height of every plot; what is left above it holds the title and the legend.
LEFT, BOTTOM, PLOT_HEIGHT = 92, 52, 284
MAX_POINTS = 2000
GRID = 48
BARS = "▁▂▃▄▅▆▇█"
WINDOWLESS_BACKENDS = ("agg", "cairo", "inline", "pdf", "pgf", "ps", "svg", "template")


@dataclass(frozen=True, eq=False)
class Picture:
    """One run as it stands, one entry per step and one for the start; n entries in all.

    Attributes:
        title: What is being minimised.
        queries: Evaluations of f spent so far, int (n,).
        fun: f at the iterate, (n,).
        best: Least f at any iterate so far, (n,).
        path: The iterates of a problem with d = 2, (n, 2).
        objective: Points (m, 2) -> values (m,), drawn as contours behind the path. Pass the plain function, not the
            counted oracle: a picture evaluates it at GRID * GRID points, and looking must not cost the user's budget.
        original: The image that an attack starts from, (H, W).
        current: The image at the iterate, (H, W).
        target: Value of f that ends the run.
        minimum: Least known value of f.
    """

    title: str
    queries: np.ndarray
    fun: np.ndarray
    best: np.ndarray
    path: np.ndarray | None = None
    objective: PlainObjective | None = None
    original: np.ndarray | None = None
    current: np.ndarray | None = None
    target: float | None = None
    minimum: float | None = None

    def __post_init__(self) -> None:
        """Reject arrays that do not describe one run.

        Raises:
            ValueError: If the shapes disagree or there is no entry.
        """
        n = np.size(self.queries)
        if n == 0:
            raise ValueError("queries must have at least one entry (the start of the run), got none.")
        for name in ("queries", "fun", "best"):
            if np.shape(getattr(self, name)) != (n,):
                raise ValueError(f"{name} must have shape ({n},) like queries, got {np.shape(getattr(self, name))}.")
        if self.path is not None and np.shape(self.path) != (n, 2):
            raise ValueError(f"path must have shape ({n}, 2), a point per entry, got {np.shape(self.path)}.")
        if self.original is None and self.current is None:
            return
        if self.original is None or self.current is None:
            raise ValueError("original and current must be given together: the picture shows their difference.")
        shapes = np.shape(self.original), np.shape(self.current)
        if len(shapes[0]) != 2 or shapes[0] != shapes[1]:
            raise ValueError(
                f"original and current must be images of one shape (H, W), got {shapes[0]} and {shapes[1]}."
            )


def figure(picture: Picture) -> Figure:
    """Draw the picture on a new figure that pyplot does not know.

    The loss axis is logarithmic if every value on it is positive and they span two decades or more; a target or
    minimum that such an axis cannot show (<= 0) is left out.

    Costs no queries: the contours call `picture.objective`, which is not counted.
    """
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(_width(picture) / DPI, HEIGHT / DPI), dpi=DPI)
    _draw(drawn, picture)
    return drawn


def rgb_array(picture: Picture) -> np.ndarray:
    """Draw the picture as pixels, uint8 (HEIGHT, W, 3).

    W is 600 for the loss curve, plus 400 with a path, plus 600 with images, however far the run has come.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure(picture))  # matplotlib gives its methods no types
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()  # (H, W, 4) -> (H, W, 3)


def ansi(picture: Picture) -> str:
    """Describe the picture in three lines of text without colour codes; the last is a sparkline of best f."""
    numbers = [f"queries {int(picture.queries[-1]):,}", f"f {picture.fun[-1]:.4g}", f"best f {picture.best[-1]:.4g}"]
    if picture.target is not None:
        numbers.append(f"target {picture.target:.4g}")
    if picture.minimum is not None:
        numbers.append(f"minimum {picture.minimum:.4g}")
    return "\n".join([picture.title, "   ".join(numbers), _sparkline(picture.queries, picture.best)])


def show(picture: Picture, window: Figure | None = None) -> Figure:
    """Open a window with the picture, or bring the given one up to date, without blocking.

    A window that the user has closed stays closed.

    Args:
        picture: What to show.
        window: What an earlier call returned; None opens a window.

    Returns:
        The window, to be passed to the next call and at last to `close`.

    Raises:
        RuntimeError: If matplotlib cannot open a window here.
    """
    from matplotlib import pyplot

    if window is None:
        window = _open_window(_width(picture))
    if pyplot.fignum_exists(window.number):
        window.clear()
        _draw(window, picture)
        window.canvas.draw()
        window.canvas.flush_events()
    return window


def close(window: Figure | None) -> None:
    """Close a window that `show` opened; nothing happens if there is none or the user has closed it."""
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
    except ImportError as error:  # matplotlib's own word for a GUI backend without a display
        raise RuntimeError(f"{need}, but matplotlib cannot open one: {error}. {remedy}") from error
    window.show()
    return window


def _width(picture: Picture) -> int:
    has_path, has_images = picture.path is not None, picture.original is not None
    return CURVE_WIDTH + PATH_WIDTH * has_path + IMAGES_WIDTH * has_images


def _draw(canvas: Figure, picture: Picture) -> None:
    """Put every panel on an empty figure, from left to right."""
    canvas.set_layout_engine("none")  # the user's settings may ask for one, which would move the axes
    total = _width(picture)
    room = total // 12  # characters
    title = picture.title if len(picture.title) <= room else picture.title[: room - 1] + "…"
    canvas.text(14 / total, 1 - 12 / HEIGHT, title, fontsize=12, fontweight="bold", va="top", parse_math=False)
    _draw_curve(_axes(canvas, total, LEFT, BOTTOM, CURVE_WIDTH - LEFT - 20, PLOT_HEIGHT), picture)
    left = CURVE_WIDTH
    if picture.path is not None:
        _draw_path(_axes(canvas, total, left + LEFT, BOTTOM, PLOT_HEIGHT, PLOT_HEIGHT), picture, picture.path)
        left += PATH_WIDTH
    if picture.original is not None and picture.current is not None:
        _draw_images(canvas, total, left, picture.original, picture.current)


def _axes(canvas: Figure, total: int, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place in pixels on a figure `total` pixels wide."""
    axes = canvas.add_axes((left / total, bottom / HEIGHT, width / total, height / HEIGHT))
    axes.tick_params(labelsize=9, colors=GREY)
    for side, spine in axes.spines.items():
        spine.set_color(GREY)
        spine.set_visible(side in ("left", "bottom"))
    return axes


def _label(axes: Axes, x: str, y: str) -> None:
    """Axis labels, and the power of ten that the vertical ticks share, where tick labels and legend leave room."""
    width = axes.bbox.width
    axes.set_xlabel(x, fontsize=10)
    axes.set_ylabel(y, fontsize=10)
    axes.yaxis.set_label_coords((22 - LEFT) / width, 0.5)
    axes.yaxis.get_offset_text().set_x((12 - LEFT) / width)


def _legend(axes: Axes, columns: int) -> None:
    """One row above the axes, where it cannot hide a line."""
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, frameon=False, fontsize=9, borderaxespad=0.2,
        borderpad=0.2, handlelength=1.2, handletextpad=0.5, columnspacing=1.0,
    )  # fmt: skip


def _draw_curve(axes: Axes, picture: Picture) -> None:
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    rows = _thin(len(picture.queries))
    queries = np.asarray(picture.queries)[rows]
    fun, best = _finite(picture.fun[rows]), _finite(picture.best[rows])
    logarithmic = _spans_decades(np.concatenate([fun, best]))
    if logarithmic:
        axes.set_yscale("log")
        axes.minorticks_off()
    axes.step(queries, best, where="post", color=BLUE, lw=3, label=f"best f {picture.best[-1]:.4g}")
    axes.plot(queries, fun, color=ORANGE, lw=1, label=f"f {picture.fun[-1]:.4g}")
    axes.plot(queries[-1:], best[-1:], "o", color=BLUE, ms=6, clip_on=False)
    axes.plot(queries[-1:], fun[-1:], "o", color=ORANGE, ms=3.5, clip_on=False)
    floor = 0 if logarithmic else -np.inf  # what the axis can show lies above it
    if picture.target is not None and _finite(picture.target) > floor:
        label = f"target {picture.target:.4g}"
        axes.axhline(picture.target, color=VERMILLION, ls="--", lw=1.2, zorder=1, label=label)
    if picture.minimum is not None and _finite(picture.minimum) > floor:
        axes.axhline(picture.minimum, color=GREY, ls=":", lw=1.2, zorder=1, label="minimum")
    if not np.isfinite(best).any() and not np.isfinite(fun).any():
        axes.text(0.5, 0.5, "no finite value yet", transform=axes.transAxes, ha="center", color=GREY)

    axes.set_xlim(0, max(1.0, 1.02 * float(queries[-1])))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    _label(axes, "queries", "f")
    axes.grid(color="#E6E6E6", lw=0.6)
    axes.set_axisbelow(True)
    _legend(axes, columns=4)


def _draw_path(axes: Axes, picture: Picture, path: np.ndarray) -> None:
    from matplotlib.ticker import MaxNLocator

    fun = _finite(picture.fun)
    kept = np.isfinite(_finite(path)).all(axis=1)
    path, fun = np.asarray(path, dtype=float)[kept], fun[kept]
    axes.spines[:].set_visible(True)
    _label(axes, "$x_1$", "$x_2$")
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
    _legend(axes, columns=3)


def _draw_contours(axes: Axes, objective: PlainObjective, low: np.ndarray, high: np.ndarray) -> None:
    """Fill between quantiles of f, so that a valley shows whatever the scale of f; darker is lower."""
    from matplotlib.colors import BoundaryNorm

    x1, x2 = np.meshgrid(np.linspace(low[0], high[0], GRID), np.linspace(low[1], high[1], GRID))  # (GRID, GRID) each
    with np.errstate(all="ignore"):  # the corners of the window may overflow f
        values = _finite(objective(np.stack([x1.ravel(), x2.ravel()], axis=1))).reshape(GRID, GRID)
    if np.isnan(values).all():
        return
    levels = np.unique(np.nanquantile(values, np.linspace(0, 1, 15)))
    if len(levels) < 3:
        return
    norm = BoundaryNorm(levels, 256)
    filled = axes.contourf(x1, x2, np.ma.masked_invalid(values), levels=levels, cmap="GnBu_r", norm=norm, alpha=0.85)
    filled.set(edgecolor="white", linewidth=0.6, antialiased=True)


def _draw_images(canvas: Figure, total: int, left: float, original: np.ndarray, current: np.ndarray) -> None:
    """Original | difference | current: one grey scale for both images, symmetric limits for their difference."""
    original, current = _finite(original), _finite(current)
    difference = current - original
    both = np.concatenate([original.ravel(), current.ravel()])
    both = both[np.isfinite(both)]
    black, white = (both.min(), both.max()) if both.size else (0.0, 1.0)
    largest = float(np.nanmax(np.abs(difference))) if np.isfinite(difference).any() else 0.0
    limit = largest or 1.0

    height, width = original.shape
    gap = 0.08 * width
    axes = _axes(canvas, total, left + 16, BOTTOM, IMAGES_WIDTH - 32, PLOT_HEIGHT)
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


def _finite(values: object) -> np.ndarray:
    """The values as floats, NaN (which matplotlib leaves out) where they are not finite or too large for its axes."""
    array = np.asarray(values, dtype=float)
    return np.where(np.abs(array) < 1e150, array, np.nan)


def _thin(n: int) -> np.ndarray:
    """Row numbers 0 to n - 1, at most MAX_POINTS of them, first and last included."""
    return np.unique(np.linspace(0, n - 1, min(n, MAX_POINTS)).astype(int))


def _spans_decades(values: np.ndarray) -> bool:
    """Whether a logarithmic axis suits the values: all positive, two decades or more between least and greatest."""
    values = values[np.isfinite(values)]
    return bool(values.size and values.min() > 0 and values.max() >= 100 * values.min())


def _limits(path: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A square window (low (2,), high (2,)) around the path, on round numbers so that it moves rarely."""
    extent = max(float(np.ptp(path, axis=0).max()), 0.2 * float(np.abs(path[0]).max())) or 1.0
    grain = 2.0 ** np.ceil(np.log2(extent)) / 4
    low, high = path.min(axis=0) - extent / 5, path.max(axis=0) + extent / 5
    low, high = np.floor(low / grain) * grain, np.ceil(high / grain) * grain
    centre, half = (low + high) / 2, max(float((high - low).max()), 1.5 * extent) / 2
    return centre - half, centre + half


def _sparkline(queries: np.ndarray, values: np.ndarray, width: int = 60) -> str:
    """Values against queries as at most `width` bars; heights are logarithmic where the loss curve's axis would be."""
    finite = _finite(values)
    kept = np.isfinite(finite)
    if not kept.any():
        return "(no finite value yet)"
    queries, finite = np.asarray(queries)[kept], finite[kept]
    ends = f"{finite[0]:.4g} -> {finite[-1]:.4g}"
    at = np.linspace(queries[0], queries[-1], min(width, len(finite)))
    finite = finite[np.maximum(np.searchsorted(queries, at, side="right") - 1, 0)]
    heights = np.log(finite) if _spans_decades(finite) else finite
    heights = (heights - heights.min()) / (np.ptp(heights) or 1.0)  # 0 .. 1
    return "".join(BARS[round(height * (len(BARS) - 1))] for height in heights) + f"  {ends}"
