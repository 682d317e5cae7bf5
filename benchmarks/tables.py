"""Write one table per problem from the stored results, as Markdown for readers and as CSV for programs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks.results import GROUPS, stored_problems
from benchmarks.summary import FRACTIONS, MethodSummary, summaries
from benchmarks.text_tables import csv_table, markdown_table
from zo_gym.files import write_text

FIRST_PROBLEMS = ("mnist_attack", "digits_attack", "a9a", "german.numer_scale", "heart_scale")
"""The problems whose tables come first, in this order; the others follow by name."""


def csv_text(table: Sequence[MethodSummary]) -> str:
    """Return the summaries as CSV at full precision; an empty cell means not measured, inf means never."""
    plain = [field.name for field in fields(MethodSummary) if field.name not in ("mean", "std")]
    split = plain.index("budget") + 1
    header = [*plain[:split], *(f"{kind}_{part}" for part in FRACTIONS for kind in ("mean", "std")), *plain[split:]]

    def cells(row: MethodSummary) -> Iterator[Any]:
        yield from (getattr(row, name) for name in plain[:split])
        yield from chain.from_iterable(zip(row.mean, row.std, strict=True))
        yield from (getattr(row, name) for name in plain[split:])

    return csv_table(header, map(cells, table))


@dataclass(frozen=True)
class Column:
    """Describes one column of the Markdown table.

    Attributes:
        heading: Its heading.
        cell: Turns a summary into text, "-" where nothing was measured.
        score: Turns a summary into the number that is least for the best method; None where there is no best one.
    """

    heading: str
    cell: Callable[[MethodSummary], str]
    score: Callable[[MethodSummary], float] | None = None


def problem_table(table: Sequence[MethodSummary]) -> str:
    """Return the summaries of one problem as a Markdown table under a heading, by group, with notes on the columns.

    The best value of each column is bold; the reference, which sees the gradient, does not compete.
    """
    columns = _columns(table)
    best = [_best(column, table) for column in columns]
    lines: list[list[str]] = []
    for group, heading in GROUPS.items():
        members = [row for row in table if row.group == group]
        if members:
            lines.append([f"*{heading}*", *[""] * len(columns)])
        for row in members:
            lines.append([row.label, *(_bold(c, row, least) for c, least in zip(columns, best, strict=True))])
    text = markdown_table(["method", *(column.heading for column in columns)], lines)
    return "\n".join([_heading(table), "", text, "", _notes(table), ""])


def _heading(table: Sequence[MethodSummary]) -> str:
    first = table[0]
    facts = [f"d = {first.dim}"] * (first.dim is not None) + [f"{first.budget:,} queries"]
    facts += [f"{first.images} images"] * (first.images > 1)
    return f"### {first.problem} ({', '.join(facts)})"


def _columns(table: Sequence[MethodSummary]) -> list[Column]:
    decimals = _decimals([row.mean[-1] for row in table if row.group != "reference"])
    columns = [Column("runs", lambda row: str(row.runs))]
    for place, part in enumerate(FRACTIONS.values()):
        columns.append(_moments(f"f at {max(1, table[0].budget // part):,}", place, decimals))
    optional = [
        Column("queries to ZO-SGD's f", _to_baseline, lambda row: row.to_baseline),
        Column("success", lambda row: _number(100 * row.success, ".0f", " %"), lambda row: -row.success),
        Column("median queries", lambda row: _number(row.median_queries, ",.0f"), lambda row: row.median_queries),
        Column("L1", lambda row: _number(row.distortion, ".1f")),
        Column("f - f*", lambda row: _number(row.gap, f".{decimals}f"), lambda row: row.gap),
        Column("cosine", lambda row: _number(row.cosine, ".2f")),
        Column("late cosine", lambda row: _number(row.late_cosine, ".2f")),
    ]
    columns += [column for column in optional if any(column.cell(row) != "-" for row in table)]
    columns.append(Column("training queries", lambda row: _number(row.training_queries, ",.0f")))
    return [*columns, Column("seconds", lambda row: _number(row.seconds, ".3g"))]


def _moments(heading: str, place: int, decimals: int) -> Column:
    def cell(row: MethodSummary) -> str:
        mean, std = row.mean[place], row.std[place]
        form = f".{decimals}f" if abs(mean) < 1e5 else ".3g"
        return _number(mean, form) + ("" if math.isnan(std) else f" ± {std:{form}}")

    return Column(heading, cell, lambda row: row.mean[place])


def _decimals(values: Sequence[float]) -> int:
    """Return the digits after the point that give the least of the values four significant ones, 0 to 8."""
    sizes = [abs(value) for value in values if math.isfinite(value) and value != 0]
    return min(8, max(0, 3 - math.floor(math.log10(min(sizes))))) if sizes else 4


def _number(value: float, form: str, unit: str = "") -> str:
    if not math.isfinite(value):
        return "-"
    text = f"{value:{form}}"
    return (text if any(digit in text for digit in "123456789") else text.removeprefix("-")) + unit


def _to_baseline(row: MethodSummary) -> str:
    return f"{row.to_baseline:,.0f} ({row.ratio:.3g}x)" if math.isfinite(row.to_baseline) else "-"


def _best(column: Column, table: Sequence[MethodSummary]) -> float:
    """Return the least score of those that compete; NaN if there is none, or if all are equal."""
    scores = {math.inf} if column.score is None else {column.score(row) for row in table if row.group != "reference"}
    finite = [score for score in scores if math.isfinite(score)]
    return min(finite) if finite and len(scores) > 1 else math.nan


def _bold(column: Column, row: MethodSummary, least: float) -> str:
    cell = column.cell(row)
    won = column.score is not None and row.group != "reference" and column.score(row) == least
    return f"**{cell}**" if won else cell


def _notes(table: Sequence[MethodSummary]) -> str:
    attack = any(math.isfinite(row.success) for row in table)
    several = any(row.runs > 1 for row in table)
    mean = f"mean of {table[0].images} images" if attack else "mean"
    deviation = f" ± sample standard deviation over the {'repeats' if attack else 'runs'}"
    notes = [
        f"f: the least value within so many queries, {mean}{deviation * several}.",
        "Queries to ZO-SGD's f: where the mean curve first is at or below ZO-SGD's final mean, and in brackets how "
        "many times sooner than ZO-SGD itself; -: never.",
    ]
    if attack:
        notes.append(
            "Success and median queries over all images and repeats, a failure counted as infinitely many; "
            "L1: mean of the final perturbation, failures included."
        )
    if any(math.isfinite(row.gap) for row in table):
        notes.append("f*: the least value known from exact gradients.")
    if any(math.isfinite(row.cosine) for row in table):
        notes.append("Cosine of estimate and gradient: mean over the run, and over its last fifth.")
    notes.append(f"Seconds: wall time of one {'image' if attack else 'run'}, an equal share of its batch's.")
    return " ".join(notes)


def write_tables(folder: Path, out: Path) -> tuple[Path, Path]:
    """Write tables.md, one table per problem, and tables.csv, all of them in one; return their paths.

    Raises:
        FileNotFoundError: There are no results.
        ValueError: As `load_results`.
    """
    stored = stored_problems(folder)
    names = [name for name in FIRST_PROBLEMS if name in stored] + sorted(stored - set(FIRST_PROBLEMS))
    tables = [summaries(folder, name) for name in names]
    paths = out / "tables.md", out / "tables.csv"
    write_text(paths[0], "\n".join(problem_table(table) for table in tables))
    write_text(paths[1], csv_text([row for table in tables for row in table]))
    return paths
