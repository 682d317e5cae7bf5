"""What the stored results say in numbers: one table per problem, as Markdown for readers and as CSV for programs."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from benchmarks.style import GROUPS
from benchmarks.summary import FRACTIONS, Row, rows
from zo_gym.files import write_text

PROBLEMS = ("mnist_attack", "digits_attack", "a9a", "german.numer_scale", "heart_scale")
"""The order of the tables; other problems follow by name."""


def csv_text(table: Sequence[Row]) -> str:
    """The rows as CSV at full precision; empty: not measured, inf: never."""
    out = io.StringIO()
    plain = [field.name for field in fields(Row) if field.name not in ("mean", "std")]
    split = plain.index("budget") + 1
    moments = [f"{kind}_{part}" for part in FRACTIONS for kind in ("mean", "std")]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*plain[:split], *moments, *plain[split:]])
    for row in table:
        values = [value for pair in zip(row.mean, row.std, strict=True) for value in pair]
        cells = [*(getattr(row, name) for name in plain[:split]), *values, *(getattr(row, n) for n in plain[split:])]
        writer.writerow(["" if value is None or value != value else value for value in cells])
    return out.getvalue()


@dataclass(frozen=True)
class Column:
    """One column of the Markdown table.

    Attributes:
        heading: What stands above it.
        cell: A row -> its text, "-" where there is nothing to say.
        score: A row -> the number that the best method has least of; None where no one is best.
    """

    heading: str
    cell: Callable[[Row], str]
    score: Callable[[Row], float] | None = None


def markdown(table: Sequence[Row]) -> str:
    """The rows of one problem as a Markdown table under a heading, by group, with notes on what the columns mean.

    The best value of each column is bold; the reference, which sees the gradient, does not compete.
    """
    columns = _columns(table)
    best = [_best(column, table) for column in columns]
    lines = [
        f"| {' | '.join(['method', *(column.heading for column in columns)])} |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for group, heading in GROUPS.items():
        members = [row for row in table if row.group == group]
        if members:
            lines.append(f"| *{heading}* |{' |' * len(columns)}")
        for row in members:
            cells = [_bold(column, row, least) for column, least in zip(columns, best, strict=True)]
            lines.append(f"| {' | '.join([row.label, *cells])} |")
    return "\n".join([_heading(table), "", *lines, "", _notes(table), ""])


def _heading(table: Sequence[Row]) -> str:
    first = table[0]
    facts = [f"d = {first.dim}"] * (first.dim is not None) + [f"{first.budget:,} queries"]
    facts += [f"{first.images} images"] * (first.images > 1)
    return f"### {first.problem} ({', '.join(facts)})"


def _columns(table: Sequence[Row]) -> list[Column]:
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
    def cell(row: Row) -> str:
        mean, std = row.mean[place], row.std[place]
        form = f".{decimals}f" if abs(mean) < 1e5 else ".3g"
        return _number(mean, form) + ("" if math.isnan(std) else f" ± {std:{form}}")

    return Column(heading, cell, lambda row: row.mean[place])


def _decimals(values: Sequence[float]) -> int:
    """Digits after the point that give the least of the values four significant ones, 0 to 8."""
    sizes = [abs(value) for value in values if math.isfinite(value) and value != 0]
    return min(8, max(0, 3 - math.floor(math.log10(min(sizes))))) if sizes else 4


def _number(value: float, form: str, unit: str = "") -> str:
    if not math.isfinite(value):
        return "-"
    text = f"{value:{form}}"
    return (text if any(digit in text for digit in "123456789") else text.removeprefix("-")) + unit


def _to_baseline(row: Row) -> str:
    return f"{row.to_baseline:,.0f} ({row.ratio:.3g}x)" if math.isfinite(row.to_baseline) else "-"


def _best(column: Column, table: Sequence[Row]) -> float:
    """The least score of those that compete; NaN if there is none, or if all are equal."""
    scores = {math.inf} if column.score is None else {column.score(row) for row in table if row.group != "reference"}
    finite = [score for score in scores if math.isfinite(score)]
    return min(finite) if finite and len(scores) > 1 else math.nan


def _bold(column: Column, row: Row, least: float) -> str:
    cell = column.cell(row)
    won = column.score is not None and row.group != "reference" and column.score(row) == least
    return f"**{cell}**" if won else cell


def _notes(table: Sequence[Row]) -> str:
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
    """Write `tables.md`, one table per problem, and `tables.csv`, all of them; returns their paths.

    Raises:
        FileNotFoundError: There are no results.
        ValueError: As `entries`.
    """
    there = {path.parent.parent.name for path in folder.glob("*/*/*.npz") if not path.name.startswith(".")}
    if not there:
        raise FileNotFoundError(f"No results in {folder}. Run `make paper` first.")
    names = [name for name in PROBLEMS if name in there] + sorted(there - set(PROBLEMS))
    tables = [rows(folder, name) for name in names]
    paths = out / "tables.md", out / "tables.csv"
    write_text(paths[0], "\n".join(markdown(table) for table in tables))
    write_text(paths[1], csv_text([row for table in tables for row in table]))
    return paths
