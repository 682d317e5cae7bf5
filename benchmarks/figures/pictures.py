"""Draw images on axes, and write figures to files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zo_gym.envs.render import GREY
from zo_gym.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PNG_DPI = 150
"""Resolution of PNG files, in dots per inch."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of a figure of images, in inches.

    Attributes:
        cell: Width and height of an image.
        gap: Gap to the next image in a line.
        caption: Height of the words below an image.
        head: Height of the words above a method's images.
        margin: Margin at the sides.
        between: Further gap between methods.
        bar: Width of the colour bar, with its labels.
    """

    cell: float
    gap: float
    caption: float
    head: float
    margin: float
    between: float
    bar: float = 0.0


def show_picture(axis: Axes, picture: np.ndarray, colours: str = "gray", low: float = 0, high: float = 1) -> None:
    """Show a picture (H, W) in a thin frame, without ticks, its colours spread from `low` to `high`."""
    axis.imshow(picture, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set(linewidth=0.5, color=GREY)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format of its ending, atomically; equal figures give equal files."""
    from matplotlib import rc_context

    ending = path.suffix.removeprefix(".")
    metadata = {"CreationDate": None} if ending == "pdf" else None
    with rc_context({"pdf.fonttype": 42}):  # text stays text: publishers refuse the default type 3
        write_atomically(
            path, lambda temporary: figure.savefig(temporary, format=ending, dpi=PNG_DPI, metadata=metadata)
        )
