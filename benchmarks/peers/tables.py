"""Write the summaries as tables: one file a suite as Markdown and as CSV, one of who wins where, one of failures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.peers.cases import SUITES
from benchmarks.peers.summary import Line, Outcome, lines_of, winners_of
from benchmarks.text_tables import csv_table, markdown_table
from zo_gym.files import write_text

Comparison = dict[str, list[Outcome]]
"""Solver -> its outcomes on the cases of one suite in one dimension within one budget."""


def suite_table(lines: Sequence[Line]) -> str:
    """Return one table as Markdown under a heading; the best share of each column is bold."""
    first = lines[0]
    columns = [("all", [line.share for line in lines])]
    columns += [(name, [line.shares[name] for line in lines]) for name in first.shares]
    known = [(name, values) for name, values in columns if not all(map(math.isnan, values))]
    columns = known if len(known) > 2 else known[:1]  # a single group is all there is
    header = ["solver", *(name for name, _ in columns), "wins", "mean f", "failures", "µs per query"]
    rows = []
    for place, line in enumerate(lines):
        cells = [_share(values[place], max(values)) for _, values in columns]
        facts = [str(line.wins), f"{line.f:.6g}", str(line.failures or ""), f"{line.microseconds:,.0f}"]
        rows.append([f"**{line.label}**" if line.ours else line.label, *cells, *facts])
    heading = f"## {SUITES[first.suite].title}, d = {first.dim}, {first.budget} d queries ({first.runs} runs a solver)"
    return f"{heading}\n\n{markdown_table(header, rows)}\n"


def _share(value: float, best: float) -> str:
    text = "-" if math.isnan(value) else f"{value:.3f}"
    return f"**{text}**" if value == best > 0 else text


def suite_csv(lines: Sequence[Line]) -> str:
    """Return the lines of one suite as CSV at full precision, its groups of functions as columns."""
    groups = list(lines[0].shares)
    header = ["suite", "dim", "budget", "solver", "label", "ours", "share", *(f"share {name}" for name in groups)]
    header += ["f", "wins", "runs", "failures", "microseconds"]
    rows = [
        [line.suite, line.dim, line.budget, line.solver, line.label, line.ours, line.share]
        + [line.shares[name] for name in groups]
        + [line.f, line.wins, line.runs, line.failures, line.microseconds]
        for line in lines
    ]
    return csv_table(header, rows)


def wins_table(suite: str, comparisons: Sequence[Comparison]) -> str:
    """Return who wins each function, as Markdown: one table a dimension, one column a budget."""
    parts = [f"## {SUITES[suite].title}: who has the highest share on each function\n"]
    dims = dict.fromkeys(_place(comparison)[0] for comparison in comparisons)
    for dim in dims:
        of = [comparison for comparison in comparisons if _place(comparison)[0] == dim]
        winners = [winners_of(comparison) for comparison in of]
        header = [f"d = {dim}", *(f"{_place(comparison)[1]} d queries" for comparison in of)]
        rows = [[name, *(_names(*found[name]) if name in found else "-" for found in winners)] for name in winners[0]]
        parts.append(markdown_table(header, rows) + "\n")
    return "\n".join(parts)


def wins_csv(suite: str, comparisons: Sequence[Comparison]) -> str:
    """Return who wins each function as CSV; several winners are joined by spaces."""
    rows = [
        [suite, *_place(comparison), function, " ".join(best), value]
        for comparison in comparisons
        for function, (best, value) in winners_of(comparison).items()
    ]
    return csv_table(["suite", "dim", "budget", "function", "winners", "share (or f)"], rows)


def _names(best: Sequence[str], value: float) -> str:
    return f"{', '.join(best)} ({value:.3g})" if best else "nobody"


def _place(comparison: Comparison) -> tuple[int, int]:
    first = next(iter(comparison.values()))[0]
    return first.case.dim, first.budget


def failures_csv(comparisons: Iterable[Comparison]) -> str:
    """Return every run that a failure ended before its budget was spent, with what it said."""
    rows = []
    for outcome in (o for comparison in comparisons for outcomes in comparison.values() for o in outcomes if o.failure):
        case, spent = outcome.case, int(outcome.record.spent[0])
        place = [case.suite, case.dim, case.function, case.instance]
        rows.append([outcome.solver, *place, outcome.budget, spent, outcome.failure])
    return csv_table(["solver", "suite", "dim", "function", "instance", "budget", "queries", "failure"], rows)


def write_tables(suite: str, comparisons: Sequence[Comparison], out: Path) -> list[Path]:
    """Write the tables of a suite, one comparison a dimension and budget, and return their paths."""
    lines = [lines_of(comparison) for comparison in comparisons]
    texts = {
        f"{suite}.md": "\n".join(map(suite_table, lines)),
        f"{suite}.csv": suite_csv([line for part in lines for line in part]),
        f"{suite}-wins.md": wins_table(suite, comparisons),
        f"{suite}-wins.csv": wins_csv(suite, comparisons),
        f"{suite}-failures.csv": failures_csv(comparisons),
    }
    for name, text in texts.items():
        write_text(out / name, text)
    return [out / name for name in texts]
