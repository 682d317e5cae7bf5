"""Draw the share of targets that are hit against queries / d, by group of functions and over all, as COCO does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.figures.style import Line, line_of
from benchmarks.peers.cases import SUITES
from benchmarks.peers.summary import Outcome
from benchmarks.peers.targets import first_hits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
"""Panels in a row."""
PANEL = (4.4, 3.1)
"""Width and height of a panel, in inches."""


def profile(outcomes: Sequence[Outcome]) -> tuple[np.ndarray, np.ndarray]:
    """Return the empirical distribution of the queries / d at which targets are hit: steps x (n,) and shares (n,)."""
    hits = []
    for outcome in outcomes:
        record = outcome.record
        at = first_hits(record.queries, record.best[0] - record.meta["f_opt"]) / outcome.case.dim
        hits.append(np.where(at <= outcome.budget, at, math.inf))
    pooled = np.sort(np.concatenate(hits))
    reached = pooled[np.isfinite(pooled)]
    shares = np.arange(1, len(reached) + 1) / len(pooled)
    last = shares[-1] if len(shares) else 0.0
    return np.append(reached, outcomes[0].budget), np.append(shares, last)


def draw_profiles(by_budget: Mapping[int, Mapping[str, Sequence[Outcome]]]) -> Figure:
    """Draw one suite in one dimension.

    A line is the run with the largest budget; marks are what the runs of each budget end with. Where f is noisy, the
    best f of a run says little, and marks are joined.

    Args:
        by_budget: Budget, in units of d -> solver -> outcomes on the same cases.
    """
    from matplotlib.figure import Figure

    first = next(iter(next(iter(by_budget.values())).values()))[0]
    suite = SUITES[first.case.suite]
    present = {outcome.case.function for found in by_budget.values() for of in found.values() for outcome in of}
    panels = {name: set(members) & present for name, members in suite.groups.items() if set(members) & present}
    panels = {"all functions": present, **(panels if len(panels) > 1 else {})}
    rows = math.ceil(len(panels) / COLUMNS)
    columns = min(COLUMNS, len(panels))
    figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows + 1.2), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flat
    solvers = dict.fromkeys(solver for found in by_budget.values() for solver in found)
    for axis, (name, functions) in zip(axes, panels.items(), strict=False):
        places = {True: 0, False: 0}
        for solver in solvers:
            of = {
                budget: [o for o in found[solver] if o.case.function in functions]
                for budget, found in by_budget.items()
                if solver in found
            }
            ours = bool(next(iter(of.values()))[0].record.meta["ours"])
            line = line_of(solver, "policy" if ours else "peer", places[ours])
            places[ours] += 1
            _draw(axis, of, line, suite.noisy)
        axis.set(xscale="log", ylim=(0, 1 if suite.noisy else None), title=name)
        axis.grid(alpha=0.25, linewidth=0.5)
    for axis in axes:
        axis.set_axis_off()
    figure.supxlabel("queries / d")
    figure.supylabel("share of targets hit")
    figure.suptitle(f"{suite.title}, d = {first.case.dim}")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def _draw(axis: Axes, outcomes: Mapping[int, Sequence[Outcome]], line: Line, noisy: bool) -> None:
    """Draw one solver: the steps of its longest run, and a mark at the end of each budget."""
    budgets = sorted(outcomes)
    ends = [float(np.mean([outcome.share for outcome in outcomes[budget]])) for budget in budgets]
    label = str(outcomes[budgets[-1]][0].record.meta["label"])
    look = {"color": line.colour, "linestyle": line.dashes, "linewidth": line.width, "zorder": line.height}
    marks = {"color": line.colour, "linestyle": "none", "marker": "o", "markersize": 3, "zorder": line.height + 1}
    if noisy:
        axis.plot(budgets, ends, label=label, **look)
    else:
        x, y = profile(outcomes[budgets[-1]])
        axis.plot(x, y, drawstyle="steps-post", label=label, **look)
    axis.plot(budgets, ends, **marks)
