"""Choose the line of each method, the same wherever it appears, and the limits of axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from zo_gym.agents.plots import BLACK, GREEN, PURPLE, SKY
from zo_gym.envs.render import BLUE, GREY, ORANGE, VERMILLION

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Dashes = str | tuple[float, tuple[float, ...]]
"""A linestyle of matplotlib."""

LINES_OF_GROUPS: dict[str, tuple[tuple[str, ...], tuple[Dashes, ...], float, float]] = {
    "policy": ((VERMILLION, PURPLE, BLUE), ("-", (0, (7, 2))), 2.2, 0.16),
    "ablation": ((ORANGE, GREEN, SKY, BLUE, PURPLE), ("-", (0, (5, 2)), (0, (2, 1))), 1.1, 0.08),
    "paper": ((SKY, BLACK), ("-", (0, (7, 2))), 2.2, 0.16),
    "control": (("#6E6E6E", "#8F8F8F", "#B0B0B0"), ((0, (5, 2)), "-", (0, (4, 1, 1, 1)), (0, (2, 1))), 1.1, 0.10),
    "further": ((BLUE, ORANGE, GREEN, PURPLE, SKY), ("-", (0, (6, 1)), (0, (3, 1, 1, 1))), 1.1, 0.08),
    "peer": ((SKY, VERMILLION, BLUE, PURPLE, GREEN), ((0, (4, 2)), (0, (1, 1)), "-"), 1.1, 0.08),
    "reference": ((BLACK,), ((0, (1, 1.5)), (0, (1, 4))), 1.3, 0.06),
}
"""Group -> colours, dashes (each taken in turn), width in points and opacity of the band."""

PAPER: dict[str, tuple[str, Dashes]] = {
    "zo-sgd": (BLUE, (0, (5, 1.5))),
    "guided-es": (ORANGE, (0, (6, 1.5, 1, 1.5))),
    "zo-lstm": (GREEN, (0, (1.5, 1))),
    "zo-rl": (VERMILLION, "-"),
    "zo-rl-lstm": (PURPLE, (0, (9, 1.5, 2, 1.5))),
}
"""The five methods of Anonymous (2022), section 4: colour and dashes."""

TOP_AFTER = 0.05
"""Share of the budget after which the greatest mean sets the top of the axis."""
STUCK = 0.1
"""A method whose f falls by less than this share of the best one's fall sets no limit."""
FLATTENING = 8.0
"""A method that ends further above the least f than this many times the distance of the better half's greatest mean
after `TOP_AFTER` of the budget sets no limit."""


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


def line_of(method: str, group: str, index: int) -> Line:
    """Return the line of a method: bold and coloured for the paper's, thin, grey or dotted for controls and references.

    Args:
        method: Its name; the paper's five have a colour of their own.
        group: A key of `benchmarks.results.GROUPS`.
        index: Its place among those methods of the group that have no colour of their own.
    """
    colours, dashes, width, shade = LINES_OF_GROUPS[group]
    colour, dash = PAPER.get(method, (colours[index % len(colours)], dashes[index % len(dashes)]))
    return Line(colour, dash, width, shade, 3.0 if group == "paper" else 2.0)


def loss_limits(means: Sequence[np.ndarray], stds: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return bottom and top of an axis for falling curves (T,), chosen so that their late parts can be told apart.

    The top is the greatest mean after a twentieth of the budget, because the steep start of every method would flatten
    the rest. Methods that fail (`STUCK`, `FLATTENING`) are left out of this. The bottom leaves room for the deviation
    at the end, up to half of the range of the means.
    """
    start, early, final = (np.array([m[place] for m in means]) for place in (0, int(TOP_AFTER * len(means[0])), -1))
    known = np.isfinite(final)
    if not known.any():
        return 0.0, 1.0
    least = float(final[known].min())
    with np.errstate(invalid="ignore"):
        moved = [i for i in np.argsort(final) if start[i] - final[i] >= STUCK * (start[i] - least)]
    competing = [i for i in moved if np.isfinite(early[i])] or [i for i in np.flatnonzero(known) if early[i] < np.inf]
    half = competing[: max(2, -(-len(competing) // 2))]
    reach = FLATTENING * (float(early[half].max()) - least)
    shown = [i for i in competing if final[i] - least <= reach]
    top = float(early[shown].max())
    spread = max(top - least, 1e-9 * max(1.0, abs(least)))
    tail = min(means[i][-1] - np.nan_to_num(stds[i][-1]) for i in shown)
    bottom = max(min(least, float(tail)), least - 0.5 * spread)
    return bottom - 0.05 * spread, top + 0.05 * spread


def draw_band(axis: Axes, queries: np.ndarray, mean: np.ndarray, std: np.ndarray, line: Line, label: str) -> None:
    """Draw a mean (T,) with one standard deviation (T,) to either side, where they are finite."""
    mean, std = np.where(np.isfinite(mean), mean, np.nan), np.where(np.isfinite(std), std, np.nan)
    low, high, height = mean - std, mean + std, line.height
    axis.plot(queries, mean, ls=line.dashes, lw=line.width, color=line.colour, label=label, zorder=height)
    axis.fill_between(queries, low, high, color=line.colour, alpha=line.shade, linewidth=0, zorder=height - 1)


def note_off_scale(axis: Axes, names: Sequence[str]) -> None:
    """Write the names of the methods that lie above the axis into its upper right corner."""
    if names:
        text = "\n".join(["above this axis:", *names])
        box = {"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1.5}
        place = axis.transAxes
        axis.text(0.98, 0.97, text, transform=place, ha="right", va="top", fontsize=7, color=GREY, zorder=9, bbox=box)
