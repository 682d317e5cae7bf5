"""How curves look: one line for each method wherever it appears, bands, smoothing, limits, axes without clutter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from zo_gym.envs.render import BLUE, GREY, ORANGE, VERMILLION

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Dashes = str | tuple[float, tuple[float, ...]]

# Okabe & Ito (2008): colours that remain apart for colour-blind readers.
GREEN, PURPLE, SKY, BLACK = "#009E73", "#CC79A7", "#56B4E9", "#000000"
COLOURS = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY)
STYLES: tuple[Dashes, ...] = ("-", "--", "-.", ":", "-", "--")

GROUPS = {
    "policy": "Learned policies",
    "ablation": "The policy with one part changed",
    "paper": "The paper's methods",
    "control": "Controls",
    "further": "Further methods",
    "peer": "Other optimisers",
    "reference": "Reference (sees the gradient)",
}
"""What `meta["group"]` may be, in the order of tables and legends, and its heading."""

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

EARLY = 0.05
"""Share of the budget after which the slowest method sets the top of the axis."""
STUCK = 0.1
"""A method that makes less than this share of the best one's way sets no limit."""
FLATTENING = 8.0
"""Nor does one that ends so many times further above the best one than the better half is, early on."""


@dataclass(frozen=True)
class Line:
    """How one method is drawn.

    Attributes:
        colour: Of line and band.
        dashes: As matplotlib's linestyle.
        width: In points.
        shade: Opacity of the band, 0 to 1.
        height: Lines with greater ones cover the others.
    """

    colour: str
    dashes: Dashes
    width: float = 1.8
    shade: float = 0.18
    height: float = 2.0


def line_of(method: str, group: str, index: int) -> Line:
    """The line of a method: bold and coloured for the paper's, thin and grey or dotted for what they are measured by.

    Args:
        method: Its name; the paper's five have a colour of their own.
        group: A key of `GROUPS`.
        index: Its place among those methods of the group that have no line of their own.
    """
    colours, dashes, width, shade = LINES_OF_GROUPS[group]
    colour, dash = PAPER.get(method, (colours[index % len(colours)], dashes[index % len(dashes)]))
    return Line(colour, dash, width, shade, 3.0 if group == "paper" else 2.0)


def draw_band(axis: Axes, queries: np.ndarray, mean: np.ndarray, std: np.ndarray, line: Line, label: str) -> None:
    """A mean (T,) with one standard deviation (T,) to either side, where they are finite."""
    mean, std = np.where(np.isfinite(mean), mean, np.nan), np.where(np.isfinite(std), std, np.nan)
    low, high, height = mean - std, mean + std, line.height
    axis.plot(queries, mean, ls=line.dashes, lw=line.width, color=line.colour, label=label, zorder=height)
    axis.fill_between(queries, low, high, color=line.colour, alpha=line.shade, linewidth=0, zorder=height - 1)


def mean_std(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, sample standard deviation and number of the known (not NaN) values of each column, (n, T) -> 3 x (T,).

    The mean is NaN where nothing is known, the deviation where there are fewer than two values.
    """
    known = ~np.isnan(values)
    count = known.sum(0)
    with np.errstate(invalid="ignore", over="ignore"):  # a run that overflowed has no deviation
        mean = np.where(count > 0, np.where(known, values, 0.0).sum(0) / np.maximum(count, 1), np.nan)
        squares = (np.where(known, values - mean, 0.0) ** 2).sum(0)
        std = np.where(count > 1, np.sqrt(squares / np.maximum(count - 1, 1)), np.nan)
    return mean, std, count


def running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Each value replaced by the mean of the known ones among its `width` neighbours, (n, T) -> (n, T).

    The window is centred and shorter at the ends; NaN where it holds no known value.
    """
    known = np.isfinite(values)
    kernel = np.ones(min(width, values.shape[1]))
    weight = np.stack([np.convolve(row, kernel, mode="same") for row in known.astype(np.float64)])
    total = np.stack([np.convolve(row, kernel, mode="same") for row in np.where(known, values, 0.0)])
    return np.where(weight > 0.5, total / np.maximum(weight, 1.0), np.nan)


def loss_limits(means: Sequence[np.ndarray], stds: Sequence[np.ndarray]) -> tuple[float, float]:
    """Bottom and top of an axis for falling curves (T,), chosen so that what happens late can be told apart.

    The top is the greatest mean after a twentieth of the budget: the steep start of every method would hide the rest.
    Methods that fail (`STUCK`, `FLATTENING`) are left out of this. The bottom leaves room for the deviation at the
    end, up to half of the range of the means.
    """
    start, early, final = (np.array([m[place] for m in means]) for place in (0, int(EARLY * len(means[0])), -1))
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


def tidy(axis: Axes) -> None:
    """Only the axes that carry numbers, and a faint grid."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25)


def note_off_scale(axis: Axes, names: Sequence[str]) -> None:
    """Name the methods that lie above the axis, inside its upper right corner."""
    if names:
        text = "\n".join(["above this axis:", *names])
        box = {"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1.5}
        place = axis.transAxes
        axis.text(0.98, 0.97, text, transform=place, ha="right", va="top", fontsize=7, color=GREY, zorder=9, bbox=box)
