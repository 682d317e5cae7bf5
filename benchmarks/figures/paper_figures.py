"""Draw the figures of Anonymous (2022), section 4, from stored results.

Figure 4 shows the loss of the attack on three test images and on all of them, figure 5 the loss on three data sets, and
figure 6 the cosine of the estimate and the true gradient on the same three. There are two deviations from the paper:
the loss is the least one so far, because that is what a user of so many queries has, and figure 6 is a running mean,
because a single step's cosine is mostly noise.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.figures.panels import ALL_IMAGES, PAPER_FIGURES, SMOOTHED, Panel, csv_of, panels_of
from benchmarks.figures.pictures import save_figure
from benchmarks.figures.style import PAPER, Line, draw_band, line_of, loss_limits, note_off_scale
from benchmarks.summary import mean_std
from zo_gym.agents.plots import tidy
from zo_gym.files import write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# In inches.
PANEL_WIDTH, PANEL_HEIGHT, LEAST_WIDTH = 3.4, 2.9, 6.8
LEGEND_LINE, LEGEND_HANDLE, LETTER = 0.2, 0.75, 0.068
LEGEND_COLUMNS = 5


def draw_figure(
    name: str, folder: Path, problems: Sequence[str] | None = None, methods: Sequence[str] | None = None
) -> Figure:
    """Draw one of the paper's figures: mean over the repeats, and one standard deviation to either side.

    A problem that has no results is left out, and a line on the terminal says so.

    Args:
        name: "4", "5" or "6".
        folder: Folder of the results.
        problems: Names of tasks; None for the paper's, or for the quick run's if none of them has results.
        methods: Only these; None for the paper's, the controls and the reference.

    Raises:
        ValueError: The figure is unknown, or results do not belong together.
        FileNotFoundError: None of the problems has results, or one of `methods` has none.
    """
    return _draw(name, panels_of(name, folder, problems, methods))


def write_figure(name: str, folder: Path, out: Path) -> tuple[Path, Path, Path]:
    """Write figure<name>.png, .pdf and .csv (what is drawn: mean, std and n at every point), and return their paths.

    Raises:
        ValueError, FileNotFoundError: As `draw_figure`.
    """
    panels = panels_of(name, folder, None, None)
    figure = _draw(name, panels)
    png, pdf, table = (out / f"figure{name}.{ending}" for ending in ("png", "pdf", "csv"))
    save_figure(figure, png)
    save_figure(figure, pdf)
    write_text(table, csv_of(panels))
    return png, pdf, table


def _draw(name: str, panels: list[Panel]) -> Figure:
    from matplotlib.figure import Figure

    problems = list(dict.fromkeys(panel.problem for panel in panels))
    several = len(panels) > len(problems)  # figure 4: a problem fills a line of its own
    lines = [[p for p in panels if p.problem == problem] for problem in problems] if several else [panels]
    columns = max(len(line) for line in lines)
    width = max(columns * PANEL_WIDTH, LEAST_WIDTH)
    methods = {curve.results.method: curve.results.group for panel in panels for curve in panel.curves}
    labels = _labels(panels)
    per_line = _legend_columns(list(labels.values()), width)
    caption = textwrap.fill(_caption(name, panels), int(width / LETTER))
    below = LEGEND_LINE * (2 + caption.count("\n") - (-len(methods) // per_line))
    figure = Figure(figsize=(width, len(lines) * PANEL_HEIGHT + below))
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.06)
    grid = figure.subplots(len(lines), columns, squeeze=False)
    looks = _looks(methods)
    handles: dict[str, Any] = {}
    for row, line in zip(grid, lines, strict=True):
        for axis in row[len(line) :]:
            axis.remove()
        for axis, panel in zip(row, line, strict=False):
            letter = f"({'abcdefghijklmnopqrstuvwxyz'[panels.index(panel)]}) " if len(panels) > 1 else ""
            _draw_panel(axis, panel, looks, letter)
            handles |= {c.results.method: drawn for c, drawn in zip(panel.curves, axis.get_lines(), strict=True)}
        row[0].set_ylabel(PAPER_FIGURES[name].label)
    _add_legend(figure, handles, labels, per_line, caption)
    return figure


def _looks(methods: dict[str, str]) -> dict[str, Line]:
    """Return method -> its line, from method -> group; the same in every panel."""
    without = [method for method in sorted(methods) if method not in PAPER]
    looks = {}
    for method, group in methods.items():
        peers = [other for other in without if methods[other] == group]
        looks[method] = line_of(method, group, peers.index(method) if method in peers else 0)
    return looks


def _draw_panel(axis: Axes, panel: Panel, looks: dict[str, Line], letter: str) -> None:
    moments = [mean_std(curve.values) for curve in panel.curves]
    means, stds = [m for m, _, _ in moments], [s for _, s, _ in moments]
    for curve, mean, std in zip(panel.curves, means, stds, strict=True):
        if panel.part == ALL_IMAGES and curve.results.group != "paper":  # the spread of 50 images would bury the lines
            std = np.zeros_like(std)
        draw_band(axis, panel.queries, mean, std, looks[curve.results.method], curve.results.label)
    if panel.part == "cosine":
        lowest = min(float(np.nanmin(mean)) for mean in means)
        axis.set_ylim(lowest - 0.05 if lowest < 0 else 0.0, 1.03)
    else:
        bottom, top = loss_limits(means, stds)
        axis.set_ylim(bottom, top)
        note_off_scale(
            axis, [c.results.label for c, mean in zip(panel.curves, means, strict=True) if not (mean <= top).any()]
        )
    axis.set_xlim(0, int(panel.queries[-1]))
    axis.set_xlabel("Query number")
    axis.set_title(f"{letter}{panel.title}\n{_facts(panel)}", fontsize=10)
    tidy(axis)


def _facts(panel: Panel) -> str:
    dim, (least, most) = panel.curves[0].results.dim, panel.runs
    runs = f"{most} run{'s' * (most != 1)}" if least == most else f"{least} to {most} runs"
    return runs if dim is None else f"d = {dim}, {runs}"


def _caption(name: str, panels: list[Panel]) -> str:
    queries = panels[0].queries
    what = PAPER_FIGURES[name].caption.format(window=round(SMOOTHED * float(np.median(np.diff(queries)))))
    return what + ": mean and ± 1 standard deviation of the runs" * any(panel.runs[1] > 1 for panel in panels)


def _labels(panels: list[Panel]) -> dict[str, str]:
    """Return method -> legend. Details in brackets are left out where they differ between panels."""
    found: dict[str, list[str]] = {}
    for panel in panels:
        for curve in panel.curves:
            found.setdefault(curve.results.method, []).append(curve.results.label)
    return {m: labels[0] if len(set(labels)) == 1 else labels[0].split(" (")[0] for m, labels in found.items()}


def _legend_columns(labels: list[str], width: float) -> int:
    """Return the most columns, up to the paper's five methods, whose labels fit side by side into so many inches."""
    for columns in range(min(len(labels), LEGEND_COLUMNS), 1, -1):
        longest = [max(len(label) for label in labels[first::columns]) for first in range(columns)]
        if sum(longest) * LETTER + columns * LEGEND_HANDLE <= width:
            return columns
    return 1


def _add_legend(figure: Figure, handles: dict[str, Any], labels: dict[str, str], columns: int, caption: str) -> None:
    """Add one legend below all panels, in the order of the methods line by line."""
    order = [m for first in range(columns) for m in list(labels)[first::columns]]  # matplotlib fills column by column
    legend = figure.legend(
        [handles[m] for m in order],
        [labels[m] for m in order],
        loc="outside lower center",
        ncols=columns,
        title=caption,
        title_fontsize=9,
        fontsize=9,
        frameon=False,
        handlelength=3.4,
    )
    legend.get_title().set_multialignment("center")
