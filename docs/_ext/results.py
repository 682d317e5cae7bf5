"""`{results} FILE.csv`: a table of measurements, rendered from the stored numbers when the site is built.

Two kinds of files lie in `docs/results/`. Files that `benchmarks.tables` writes (`make paper`, `make policies`) have
one row per problem and method; the option `:problem:` selects one problem, and `:view: headline` lines the problems up
beside each other. All other files are shown as they are. In both, a column "X std" is shown as "± ..." behind the
column X, and a column "group" becomes a line above the rows of a group.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "results"

GROUPS = {
    "policy": "Learned policies and gradient models",
    "ablation": "One part changed",
    "paper": "The paper's methods",
    "control": "Controls",
    "further": "Further methods",
    "peer": "Other optimisers",
    "reference": "Reference (sees the gradient)",
}
"""Key in the column "group" of a benchmark's file -> heading."""
FRACTIONS = {"tenth": 10, "fifth": 5, "half": 2, "all": 1}
"""Column of a benchmark's file -> the budget divided by the queries at which f was read."""

Record = dict[str, str]


@dataclass
class Table:
    """A table ready to be rendered.

    Attributes:
        head: Column headings.
        groups: (Heading or "", rows of cells) in order.
        best: Cells (group, row, column) that hold the best value of their column.
    """

    head: list[str]
    groups: list[tuple[str, list[list[str]]]] = field(default_factory=list)
    best: set[tuple[int, int, int]] = field(default_factory=set)


def read(name: str) -> list[Record]:
    """Read the records of a file in `docs/results`."""
    with (FOLDER / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def build(name: str, problem: str | None = None, view: str | None = None) -> Table:
    """Make the table that a directive with these options shows.

    Raises:
        ValueError: The file holds no such problem, or the view is unknown.
    """
    records = read(name)
    if view == "headline":
        return _headline(records)
    if view is not None:
        raise ValueError(f"view must be 'headline', got {view!r}.")
    if "mean_all" not in records[0]:
        return _plain(records)
    chosen = [record for record in records if record["problem"] == (problem or records[0]["problem"])]
    if not chosen:
        raise ValueError(f"{name} holds no problem {problem!r}; it holds {sorted({r['problem'] for r in records})}.")
    return _benchmark(chosen)


def with_std(mean: str, std: str) -> str:
    """Write a mean and its standard deviation, either of which may be empty."""
    return f"{_thousands(mean)} ± {_thousands(std)}" if mean and std else _thousands(mean)


def _thousands(number: str) -> str:
    return f"{int(number):,}" if number.isdigit() and len(number) > 3 else number


def decimals(records: Sequence[Record]) -> int:
    """Return the digits after the point that give the least final value four significant ones, 0 to 8.

    The reference, which sees the gradient, does not count.
    """
    sizes = [abs(float(record["mean_all"])) for record in records if record["group"] != "reference"]
    sizes = [size for size in sizes if math.isfinite(size) and size > 0]
    return min(8, max(0, 3 - math.floor(math.log10(min(sizes))))) if sizes else 4


def _plain(records: Sequence[Record]) -> Table:
    names = [name for name in records[0] if name != "group" and not name.endswith(" std")]
    rows = [[with_std(record[name], record.get(f"{name} std", "")) or "-" for name in names] for record in records]
    table = Table(names)
    for record, row in zip(records, rows, strict=True):
        heading = record.get("group", "")
        if not table.groups or table.groups[-1][0] != heading:
            table.groups.append((heading, []))
        table.groups[-1][1].append(row)
    return table


@dataclass(frozen=True)
class Column:
    """One column of a benchmark's table: heading, cell, and the number of which the best method has least."""

    heading: str
    cell: Callable[[Record], str]
    score: Callable[[Record], float] | None = None


def _number(record: Record, name: str) -> float:
    return float(record[name]) if record[name] else math.nan


def _cell(name: str, form: str, unit: str = "", scale: float = 1) -> Callable[[Record], str]:
    def cell(record: Record) -> str:
        value = _number(record, name) * scale
        return f"{value:{form}}{unit}" if math.isfinite(value) else "-"

    return cell


def _moments(mean: str, std: str, digits: int) -> Callable[[Record], str]:
    def cell(record: Record) -> str:
        values = [_number(record, mean), _number(record, std)]
        return " ± ".join(f"{value:.{digits}f}" for value in values if math.isfinite(value)) or "-"

    return cell


def _to_baseline(record: Record) -> str:
    queries = _number(record, "to_baseline")
    if not math.isfinite(queries):
        return "-"
    ratio = _number(record, "ratio")
    return f"{queries:,.0f} ({ratio:,.3g} x)" if ratio < 1000 else f"{queries:,.0f} ({ratio:,.0f} x)"


def _benchmark(records: Sequence[Record]) -> Table:
    budget, digits = int(records[0]["budget"]), decimals(records)
    columns = [
        Column(
            f"f at {max(1, budget // part):,}",
            _moments(f"mean_{name}", f"std_{name}", digits),
            lambda r, name=name: _number(r, f"mean_{name}"),
        )
        for name, part in FRACTIONS.items()
    ]
    columns += [
        Column("queries to ZO-SGD's f", _to_baseline, lambda r: _number(r, "to_baseline")),
        Column("f - f*", _cell("gap", f".{digits}f"), lambda r: _number(r, "gap")),
        Column("success", _cell("success", ".0f", " %", 100), lambda r: -_number(r, "success")),
        Column("median queries", _cell("median_queries", ",.0f"), lambda r: _number(r, "median_queries")),
        Column("L1", _cell("distortion", ".1f")),
        Column("cosine", _cell("cosine", ".2f")),
        Column("late cosine", _cell("late_cosine", ".2f")),
        Column("training queries", _cell("training_queries", ",.0f")),
        Column("seconds", _cell("seconds", ".3g")),
    ]
    columns = [column for column in columns if any(column.cell(record) != "-" for record in records)]
    return _grouped(records, [Column("method", lambda r: r["label"]), *columns])


def _headline(records: Sequence[Record]) -> Table:
    """The paper's comparison: one row per method, its last f - f* on every dataset and its attack in five columns."""
    by_problem: dict[str, dict[str, Record]] = {}
    for record in records:
        by_problem.setdefault(record["problem"], {})[record["method"]] = record
    attack = by_problem["mnist_attack"]
    digits = decimals(list(attack.values()))

    def gap(problem: str) -> Column:
        of = by_problem[problem]
        moments = _moments("gap", "std_all", decimals(list(of.values())))
        heading = f"{problem.split('.')[0].removesuffix('_scale')}, d = {next(iter(of.values()))['dim']}: f - f*"
        return Column(
            heading,
            lambda r: moments(of[r["method"]]),
            lambda r: _number(of[r["method"]], "gap"),
        )

    columns = [
        Column("method", lambda r: r["label"]),
        *(gap(problem) for problem in ("heart_scale", "german.numer_scale", "a9a")),
        Column(
            "MNIST attack, d = 784: f at 500",
            _moments("mean_tenth", "std_tenth", digits),
            lambda r: _number(r, "mean_tenth"),
        ),
        Column("f at 5,000", _moments("mean_all", "std_all", digits), lambda r: _number(r, "mean_all")),
        Column("success", _cell("success", ".0f", " %", 100), lambda r: -_number(r, "success")),
        Column("median queries", _cell("median_queries", ",.0f"), lambda r: _number(r, "median_queries")),
        Column("L1", _cell("distortion", ".1f")),
    ]
    return _grouped(list(attack.values()), columns)


def _grouped(records: Sequence[Record], columns: Sequence[Column]) -> Table:
    table = Table([column.heading for column in columns])
    rivals = [record for record in records if record["group"] != "reference"]
    least = [_least(column, rivals) for column in columns]
    for key, heading in GROUPS.items():
        members = [record for record in records if record["group"] == key]
        if not members:
            continue
        place = len(table.groups)
        table.groups.append((heading, [[column.cell(record) for column in columns] for record in members]))
        for i, record in enumerate(members):
            for j, column in enumerate(columns):
                if key != "reference" and column.score is not None and column.score(record) == least[j]:
                    table.best.add((place, i, j))
    return table


def _least(column: Column, records: Sequence[Record]) -> float:
    """The least score, or NaN where it tells nobody apart."""
    scores = {math.inf} if column.score is None else {column.score(record) for record in records}
    finite = [score for score in scores if math.isfinite(score)]
    return min(finite) if finite and len(scores) > 1 else math.nan
