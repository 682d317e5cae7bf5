"""Draw the estimators' bias, variance and cosine, and write them as Markdown and as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, fields, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.figures.pictures import save_figure
from benchmarks.text_tables import csv_table, markdown_table
from benchmarks.theory.measure import measure, predict
from benchmarks.theory.panels import SHOWN, MeasuredCurve, MeasuredPanel
from benchmarks.theory.plan import PANELS, QUANTITIES, Measurement
from zo_gym.agents.plots import tidy
from zo_gym.envs.render import GREY
from zo_gym.files import write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUMMARY = """# The gradient estimators: measured, and in closed form

"Unbiased as μ → 0; however, the variance is infinite", say the slides of (f(x + μv) - f(x)) / μ · v. Measured:

- **A smooth f without noise: not so.** E|g|² → (d + 2)|∇f|² for one Gaussian direction, d |∇f|² for one of length
  √d; q directions divide the error by q. A large μ adds μ²/4 E[(u'Hu)²|u|²]: variance, no bias on a quadratic.
- **Additive noise of variance s² on every query: so.** Forward 2 s² d / (q μ²), central s² d / (2 q μ²), one
  difference along each axis 2 s² d / μ². (That the q directions share f(x) adds nothing on average: its error meets the
  sum of independent directions.) Hence a best μ > 0, of order √s (forward) or ∛s (central).
- **Rounded values of f: so, but slower.** Steps of r act as noise of s = r / √12 while μ|∇f| > r; below, E|g|² grows as
  √(2/π) (d + 1) |∇f| r / μ, for f(x) anywhere between two steps. Differences mostly vanish; the others are too large.

"""

HEADER = ("estimator", "sampler", "d", "q", "μ", "s", "f in", "measured ± standard error", "closed form")


def draw_estimators(rows: Sequence[Measurement]) -> Figure:
    """Draw six panels: measured means with two standard errors to either side as markers, closed forms as lines.

    Args:
        rows: What `measure` returned, or a part of it that holds every curve of `SHOWN`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.5, 8.6))
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    for letter, axis, (key, panel) in zip("abcdef", figure.subplots(2, 3).flat, SHOWN.items(), strict=True):
        for curve in panel.curves:
            _draw_curve(axis, panel, curve, curve.rows(rows, key, panel.quantity))
        axis.set(xscale="log", yscale="log", ylim=panel.ylim, xlabel=panel.xlabel, ylabel=panel.ylabel)
        axis.set_title(f"({letter}) {panel.title}", fontsize=11)
        tidy(axis)
        _mark(axis, key, rows)
        axis.legend(loc=panel.legend, fontsize=8, frameon=False, handlelength=2.6, labelspacing=0.35)
        if panel.x in ("q", "d"):
            shown = {tick for row in rows if row.panel == key and (tick := getattr(row, panel.x)) & (tick - 1) == 0}
            axis.set_xticks(sorted(shown), [str(tick) for tick in sorted(shown)])
            axis.minorticks_off()
    figure.supxlabel(
        "Markers: measured, ± 2 standard errors (mostly smaller than the marker). Lines: closed forms. "
        "Stars in (e): the closed form of the best μ.",
        fontsize=9,
        color=GREY,
    )
    return figure


def _draw_curve(axis: Axes, panel: MeasuredPanel, curve: MeasuredCurve, rows: list[Measurement]) -> None:
    """Draw the measured points, and the closed form in between."""
    x = [getattr(row, panel.x) for row in rows]
    line = np.geomspace(min(x), max(x), 150)
    if panel.x in ("q", "d"):
        line = np.unique(line.round().astype(int))
    forms = [predict(replace(rows[0], **{panel.x: value}))[0] for value in line.tolist()]
    look: dict[str, Any] = {"color": curve.colour, "markersize": 5, "markerfacecolor": "white", "markeredgewidth": 1.2}
    measured, error = [row.measured for row in rows], [2 * row.standard_error for row in rows]
    axis.plot(line, forms, curve.dashes, color=curve.colour, linewidth=1.4, zorder=2)
    axis.errorbar(x, measured, error, fmt=curve.marker, elinewidth=1, zorder=3, **look)
    axis.plot([], [], curve.dashes, marker=curve.marker, linewidth=1.4, label=curve.label, **look)


def _mark(axis: Axes, key: str, rows: Sequence[Measurement]) -> None:
    """Draw what a panel shows besides its curves."""
    if key == "cosine":
        d = np.geomspace(32, 512, 50)
        label = "√(q / (q + d + 1)), q = 20"
        axis.plot(d, np.sqrt(20 / (20 + d + 1)), ":", color="black", linewidth=1.6, zorder=5, label=label)
    if key == "smoothing":
        for row in (row for row in rows if row.quantity == "best_mu" and row.estimator != "span"):
            least = predict(replace(row, quantity="added"))[0]
            axis.plot(row.predicted, least, "*", color="black", markersize=9, zorder=4)


def measurement_table(rows: Sequence[Measurement]) -> str:
    """Return the rows as Markdown, one table a panel and quantity; "about" marks a closed form of leading order."""
    text = ""
    for (panel, quantity), group in groupby(sorted(rows, key=_place), lambda row: (row.panel, row.quantity)):
        text += f"## {PANELS[panel].capitalize()}: {QUANTITIES[quantity]}\n\n"
        text += markdown_table(HEADER, map(_cells, group)) + "\n\n"
    return text


def _cells(row: Measurement) -> list[str]:
    numbers = [str(row.d), str(row.q), f"{row.mu:.3g}", f"{row.s:.3g}"]
    found = f"{row.measured:.5g} ± {row.standard_error:.1g}"
    form = f"{'' if row.exact else 'about '}{row.predicted:.5g}"
    return [row.estimator, row.sampler, *numbers, row.values, found, form]


def _place(row: Measurement) -> tuple[int, int]:
    return list(PANELS).index(row.panel), list(QUANTITIES).index(row.quantity)


def to_csv(rows: Sequence[Measurement]) -> str:
    """Return the rows as CSV, one column a field, floats in full."""
    return csv_table([field.name for field in fields(Measurement)], map(astuple, rows))


def estimators_figure(folder: Path) -> None:
    """Measure, and write estimators.png, .pdf, .csv (every number) and .md into the folder, in half a minute."""
    rows = measure()
    figure = draw_estimators(rows)
    for ending in ("png", "pdf"):
        save_figure(figure, folder / f"estimators.{ending}")
    write_text(folder / "estimators.csv", to_csv(rows))
    write_text(folder / "estimators.md", SUMMARY + measurement_table(rows))
