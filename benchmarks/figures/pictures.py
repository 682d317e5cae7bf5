"""Draw images on axes, and write figures to files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zo_gym.envs.render import GREY
from zo_gym.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
"""Resolution of PNG files, in dots per inch."""


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
        write_atomically(path, lambda temporary: figure.savefig(temporary, format=ending, dpi=DPI, metadata=metadata))
