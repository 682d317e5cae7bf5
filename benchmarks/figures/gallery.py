"""Show what an attack did: image + perturbation = adversarial image, with the classifier's answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.figures.pictures import Sizes, save_figure, show_picture
from benchmarks.results import MethodResults, load_results
from benchmarks.stored_runs import Record
from zo_gym.envs.render import GREY, VERMILLION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DEFAULT_METHODS = ("zo-sgd", "zo-rl")
"""The methods that are shown unless others are named."""
NEEDED = ("final_x", "original", "label", "predicted", "confidence_before", "confidence_after", "success_at")
"""The extras of a record that a gallery is drawn from."""

GALLERY = Sizes(cell=1.25, gap=0.35, caption=0.5, head=0.45, margin=0.15, between=0.3, bar=0.75)


def draw_gallery(
    folder: Path, problem: str, methods: Sequence[str] | None = None, images: Sequence[int] = (0, 1, 2)
) -> Figure:
    """Draw one line per image, and in it for each method: original + perturbation = the image that it ended with.

    The images are those of each method's first repeat. All perturbations share one scale, centred at 0; their L1 norm
    is written below.

    Args:
        folder: Folder of the results.
        problem: Name of an attack.
        methods: The methods to show; None for ZO-SGD and ZO-RL, or for the first two stored.
        images: Numbers of the images, from 0.

    Raises:
        FileNotFoundError: There are no results.
        ValueError: The results are not those of an attack, or there is no such image.
    """
    chosen = load_results(folder, problem, methods)
    if methods is None:
        known = [results for results in chosen if results.method in DEFAULT_METHODS]
        chosen = known if len(known) == len(DEFAULT_METHODS) else chosen[:2]
    records = [results.records[0] for results in chosen]
    for record in records:
        _require_attack(record, images)
    changes = {(m, i): _change(record, i) for m, record in enumerate(records) for i in images}
    scale = max((float(np.abs(change).max()) for change in changes.values()), default=0.0) or 1.0
    figure, axes = _grid(len(images), len(chosen))
    for row, image in enumerate(images):
        for m, record in enumerate(records):
            original, change, result = axes[row][3 * m : 3 * m + 3]
            _show_original(original, record, image)
            _show_change(change, changes[m, image], scale)
            _show_result(result, record, image)
    _head(figure, chosen)
    _bar(figure, axes[0][1].images[0])
    return figure


def write_gallery(
    folder: Path, problem: str, out: Path, methods: Sequence[str] | None = None, images: Sequence[int] = (0, 1, 2)
) -> Path:
    """Write gallery_<problem>.png into the folder `out`, see `draw_gallery`, and return its path."""
    path = out / f"gallery_{problem}.png"
    save_figure(draw_gallery(folder, problem, methods, images), path)
    return path


def _require_attack(record: Record, images: Sequence[int]) -> None:
    missing = [name for name in NEEDED if name not in record.extras]
    if missing:
        raise ValueError(
            f"A gallery needs the results of an attack: {record.method} on {record.problem} holds no "
            f"{', '.join(missing)}. Name an attack's problem, or run it again."
        )
    count = len(record.best)
    wrong = [image for image in images if not 0 <= image < count]
    if wrong or not len(images):
        raise ValueError(f"images must be numbers from 0 to {count - 1}, at least one, got {list(images)}.")


def _change(record: Record, image: int) -> np.ndarray:
    """Return the perturbation as a picture, (H, W)."""
    difference = record.extras["final_x"][image].astype(np.float64) - record.extras["original"][image]
    return _picture(difference, record)


def _picture(pixels: np.ndarray, record: Record) -> np.ndarray:
    """Reshape pixels (d,) to a picture (H, W) of `meta["shape"]`, or a square one."""
    side = math.isqrt(pixels.size)
    shape = tuple(record.meta.get("shape") or (side, side))
    if math.prod(shape) != pixels.size or len(shape) != 2:
        raise ValueError(
            f"{pixels.size} pixels of {record.problem} make no picture of shape {shape}; set meta['shape']."
        )
    return pixels.reshape(shape)


def _show_original(axis: Axes, record: Record, image: int) -> None:
    extras = record.extras
    show_picture(axis, _picture(extras["original"][image], record))
    _say(axis, f"“{extras['label'][image]}”, {_percent(extras['confidence_before'][image])}", f"test image {image + 1}")


def _show_change(axis: Axes, change: np.ndarray, scale: float) -> None:
    show_picture(axis, change, "RdBu_r", -scale, scale)
    _say(axis, f"L1 = {np.abs(change).sum():.1f}", f"largest {np.abs(change).max():.2f}")
    _sign(axis, "+")


def _show_result(axis: Axes, record: Record, image: int) -> None:
    extras = record.extras
    show_picture(axis, _picture(extras["final_x"][image], record))
    fooled, at = extras["predicted"][image] != extras["label"][image], int(extras["success_at"][image])
    words = f"“{extras['predicted'][image]}”, {_percent(extras['confidence_after'][image])}"
    _say(axis, words, f"after {at:,} queries" if at >= 0 else "never fooled", VERMILLION if fooled else "black")
    _sign(axis, "=")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _say(axis: Axes, first: str, second: str, colour: str = "black") -> None:
    """Write two lines below an image."""
    axis.text(0.5, -0.05, first, transform=axis.transAxes, ha="center", va="top", fontsize=9, color=colour)
    axis.text(0.5, -0.20, second, transform=axis.transAxes, ha="center", va="top", fontsize=7.5, color=GREY)


def _sign(axis: Axes, sign: str) -> None:
    """Write a sign into the gap to the left of an image."""
    axis.text(
        -GALLERY.gap / GALLERY.cell / 2, 0.5, sign, transform=axis.transAxes, ha="center", va="center", fontsize=15
    )


def _left(column: int) -> float:
    """Return where a column begins, in inches: three columns a method, a wider gap between methods."""
    return GALLERY.margin + column * (GALLERY.cell + GALLERY.gap) + column // 3 * GALLERY.between


def _grid(lines: int, methods: int) -> tuple[Figure, list[list[Axes]]]:
    """Make a figure and its axes, [image][original, perturbation and result of each method]."""
    from matplotlib.figure import Figure

    columns = 3 * methods
    width = _left(columns - 1) + GALLERY.cell + GALLERY.bar + GALLERY.margin
    height = GALLERY.head + lines * (GALLERY.cell + GALLERY.caption) + GALLERY.margin / 2
    figure = Figure(figsize=(width, height))
    axes = []
    for line in range(lines):
        bottom = (height - GALLERY.head - line * (GALLERY.cell + GALLERY.caption) - GALLERY.cell) / height
        places = [
            (_left(column) / width, bottom, GALLERY.cell / width, GALLERY.cell / height) for column in range(columns)
        ]
        axes.append([figure.add_axes(place) for place in places])
    return figure, axes


def _head(figure: Figure, chosen: Sequence[MethodResults]) -> None:
    """Write each method's name above its columns."""
    from matplotlib.lines import Line2D

    width, height = figure.get_size_inches()
    for m, results in enumerate(chosen):
        left, right = _left(3 * m) / width, (_left(3 * m + 2) + GALLERY.cell) / width
        figure.text(
            (left + right) / 2, 1 - GALLERY.head / 2 / height, results.label, ha="center", va="center", fontsize=11
        )
        rule = 1 - (GALLERY.head - 0.08) / height
        figure.add_artist(Line2D([left, right], [rule, rule], color=GREY, linewidth=0.6))


def _bar(figure: Figure, image: object) -> None:
    """Draw the perturbations' scale at the right of the first line."""
    width, height = figure.get_size_inches()
    left = width - GALLERY.margin - GALLERY.bar + 0.15
    bottom = height - GALLERY.head - GALLERY.cell
    axis = figure.add_axes((left / width, bottom / height, 0.1 / width, GALLERY.cell / height))
    bar = figure.colorbar(image, cax=axis)  # type: ignore[arg-type]
    bar.set_label("perturbation", fontsize=8)
    bar.ax.tick_params(labelsize=7)
