"""Draw the share of targets that are hit against queries / d, by group of functions and over all, as COCO does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.figures.style import Line, line_of
from benchmarks.peers.cases import SUITES
from benchmarks.peers.solvers import PEERS
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
    rows, columns = math.ceil(len(panels) / COLUMNS), min(COLUMNS, len(panels))
    figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows + 1.2), layout="constrained")
    axes = iter(figure.subplots(rows, columns, squeeze=False).flat)
    lines = _lines(by_budget)
    least = min(by_budget) if suite.noisy else 1 / first.case.dim
    for (name, functions), axis in zip(panels.items(), axes, strict=False):
        for solver, line in lines.items():
            of = {
                budget: [outcome for outcome in found[solver] if outcome.case.function in functions]
                for budget, found in by_budget.items()
                if solver in found
            }
            _draw(axis, of, line, suite.noisy)
        axis.set(xscale="log", xlim=(least / 1.05, 1.05 * max(by_budget)), ylim=(0, None), title=name)
        axis.set(xlabel="queries / d", ylabel="share of targets hit")
        axis.grid(alpha=0.25, linewidth=0.5)
    for axis in axes:
        axis.set_axis_off()
    figure.suptitle(f"{suite.title}, d = {first.case.dim}")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def _lines(by_budget: Mapping[int, Mapping[str, Sequence[Outcome]]]) -> dict[str, Line]:
    """Return solver -> its line, the same in all figures, in the order of the legend: by the share in the end."""
    last = {solver: found for _, of in sorted(by_budget.items()) for solver, found in of.items()}
    methods = [solver for solver, found in last.items() if found[0].record.meta["ours"]]
    return {
        solver: line_of(solver, "policy", methods.index(solver))
        if solver in methods
        else line_of(solver, "peer", list(PEERS).index(solver))
        for solver in sorted(last, key=lambda solver: -_mean_share(last[solver]))
    }


def _mean_share(outcomes: Sequence[Outcome]) -> float:
    return float(np.mean([outcome.share for outcome in outcomes]))


def _draw(axis: Axes, outcomes: Mapping[int, Sequence[Outcome]], line: Line, noisy: bool) -> None:
    """Draw one solver: the steps of its longest run, and a mark at the end of each budget."""
    budgets = sorted(outcomes)
    ends = [_mean_share(outcomes[budget]) for budget in budgets]
    label = str(outcomes[budgets[-1]][0].record.meta["label"])
    look: dict[str, Any] = {
        "color": line.colour,
        "linestyle": line.dashes,
        "linewidth": line.width,
        "zorder": line.height,
    }
    if noisy:
        axis.plot(budgets, ends, label=label, **look)
    else:
        x, y = profile(outcomes[budgets[-1]])
        axis.plot(x, y, drawstyle="steps-post", label=label, **look)
    axis.plot(budgets, ends, "o", color=line.colour, markersize=3, zorder=line.height + 1)
