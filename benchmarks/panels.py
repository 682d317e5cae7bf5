"""What the paper's figures show, as numbers: panels of curves from stored results."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.results import Entry, entries
from benchmarks.style import mean_std, running_mean
from zo_gym.registry import lookup

IMAGES = 3
"""So many test images have a panel of their own in figure 4."""
WINDOW = 20
"""Grid points in figure 6's running mean: a tenth of the budget."""
DRAWN = ("paper", "control", "reference")
"""The groups that are drawn unless methods are named: the further methods are in the tables."""
TITLES = {"mnist_attack": "MNIST", "digits_attack": "digits", "german.numer_scale": "german", "heart_scale": "heart"}


@dataclass(frozen=True)
class Curve:
    """One method in one panel: its values on the grid of queries, one row per repeat, (n, T)."""

    entry: Entry
    values: np.ndarray


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        problem: A task's name.
        part: What of it: "loss", "cosine", "image 1", ..., "all images".
        title: What stands above it.
        curves: The methods.
    """

    problem: str
    part: str
    title: str
    curves: list[Curve]

    @property
    def queries(self) -> np.ndarray:
        """The grid, the same for all curves, (T,)."""
        return self.curves[0].entry.queries

    @property
    def runs(self) -> tuple[int, int]:
        """The least and the greatest number of repeats of a method."""
        counts = [len(curve.values) for curve in self.curves]
        return min(counts), max(counts)


@dataclass(frozen=True)
class Kind:
    """One of the paper's figures.

    Attributes:
        problems: What the paper shows.
        stand_in: What is drawn if none of them is there: the quick run's.
        panels: Problem and its methods -> panels.
        label: Of the vertical axis.
        caption: What the values are; "{window}" is the width of the running mean in queries.
    """

    problems: tuple[str, ...]
    stand_in: str
    panels: Callable[[str, list[Entry]], list[Panel]]
    label: str
    caption: str


def panels_of(name: str, folder: Path, problems: Sequence[str] | None, methods: Sequence[str] | None) -> list[Panel]:
    """The panels of a figure, for the problems that have results; see `benchmarks.figures.draw_figure`."""
    kind = lookup(FIGURES, name, "figure")
    wanted = kind.problems if problems is None else problems
    there = [problem for problem in wanted if _stored(folder, problem)]
    if not there and problems is None and _stored(folder, kind.stand_in):
        there = [kind.stand_in]
    absent = ", ".join(problem for problem in wanted if problem not in there)
    if not there:
        raise FileNotFoundError(f"No results for {absent} in {folder}. Run `make paper` first.")
    if absent:
        print(f"Figure {name} shows {', '.join(there)}: no results for {absent} in {folder}.")
    found = []
    for problem in there:
        shown = [e for e in entries(folder, problem, methods) if methods is not None or e.group in DRAWN]
        found += [panel for panel in kind.panels(problem, shown) if panel.curves]
    if not found:
        raise FileNotFoundError(f"Results in {folder} hold nothing for figure {name}. Run `make paper` first.")
    return found


def _stored(folder: Path, problem: str) -> bool:
    return any(not path.name.startswith(".") for path in (folder / problem).glob("*/*.npz"))


def _attack_panels(problem: str, methods: list[Entry]) -> list[Panel]:
    """The first images one by one, over the repeats; then all of them, over images and repeats."""
    title, count = _title(problem), min((len(entry.records[0].best) for entry in methods), default=0)
    best = [np.stack([record.best for record in entry.records]) for entry in methods]  # (n, images, T)
    panels = [
        Panel(problem, f"image {i + 1}", f"{title} test {i + 1}", _curves(methods, [b[:, i] for b in best]))
        for i in range(min(IMAGES, count))
    ]
    every = _curves(methods, [rows.reshape(-1, rows.shape[-1]) for rows in best])
    return [*panels, Panel(problem, ALL_IMAGES, f"{title}, mean of {count} images", every)]


def _loss_panels(problem: str, methods: list[Entry]) -> list[Panel]:
    return [Panel(problem, "loss", _title(problem), _curves(methods, [entry.by_seed() for entry in methods]))]


def _cosine_panels(problem: str, methods: list[Entry]) -> list[Panel]:
    measured = [entry for entry in methods if np.isfinite(entry.cosines()).any()]
    smooth = [running_mean(entry.cosines(), WINDOW) for entry in measured]
    return [Panel(problem, "cosine", _title(problem), _curves(measured, smooth))]


def _title(problem: str) -> str:
    return TITLES.get(problem, problem)


def _curves(methods: list[Entry], values: list[np.ndarray]) -> list[Curve]:
    return [Curve(entry, rows) for entry, rows in zip(methods, values, strict=True)]


ALL_IMAGES = "all images"
"""The part of figure 4 that averages over images."""

_DATA_SETS = ("a9a", "german.numer_scale", "heart_scale")
_LEAST = "Least loss within so many queries"
_COSINE = "Cosine of estimate and true gradient, running mean over {window} queries"
FIGURES: dict[str, Kind] = {
    "4": Kind(("mnist_attack",), "digits_attack", _attack_panels, "Loss", _LEAST),
    "5": Kind(_DATA_SETS, "breast_cancer", _loss_panels, "Loss", _LEAST),
    "6": Kind(_DATA_SETS, "breast_cancer", _cosine_panels, "Cosine similarity", _COSINE),
}
"""The paper's figures by number."""


def csv_of(panels: Sequence[Panel]) -> str:
    """What is drawn, one line per problem, part, method and number of queries; empty: not known."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["problem", "part", "method", "queries", "mean", "std", "n"])
    for panel in panels:
        for curve in panel.curves:
            columns = (curve.entry.queries, *mean_std(curve.values))
            for queries, mean, std, n in zip(*(column.tolist() for column in columns), strict=True):
                values = ["" if value != value else value for value in (mean, std)]
                writer.writerow([panel.problem, panel.part, curve.entry.method, queries, *values, n])
    return out.getvalue()
