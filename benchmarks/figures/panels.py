"""Make the panels of the paper's figures, as numbers: curves from stored results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.results import MethodResults, load_results
from benchmarks.summary import mean_std
from benchmarks.text_tables import csv_table
from zo_gym.agents.plots import running_mean
from zo_gym.registry import lookup

SINGLE_IMAGES = 3
"""How many test images have a panel of their own in figure 4."""
SMOOTHED = 20
"""Grid points in the running mean of figure 6: a tenth of the budget."""
DRAWN = ("paper", "control", "reference")
"""The groups that are drawn unless methods are named; the others are in the tables."""
TITLES = {"mnist_attack": "MNIST", "digits_attack": "digits", "german.numer_scale": "german", "heart_scale": "heart"}
"""Problem -> its name in titles, where that is another."""


@dataclass(frozen=True)
class Curve:
    """Holds one method's values in one panel on the grid of queries, one row per repeat, (n, T)."""

    results: MethodResults
    values: np.ndarray


@dataclass(frozen=True)
class Panel:
    """Describes one pair of axes.

    Attributes:
        problem: Name of a task.
        part: The part of its results: "loss", "cosine", "image 1", ..., "all images".
        title: Its title.
        curves: The methods.
    """

    problem: str
    part: str
    title: str
    curves: list[Curve]

    @property
    def queries(self) -> np.ndarray:
        """Return the grid, the same for all curves, (T,)."""
        return self.curves[0].results.queries

    @property
    def runs(self) -> tuple[int, int]:
        """Return the least and the greatest number of repeats of a method."""
        counts = [len(curve.values) for curve in self.curves]
        return min(counts), max(counts)


@dataclass(frozen=True)
class PaperFigure:
    """Describes one of the paper's figures.

    Attributes:
        problems: The problems that the paper shows.
        stand_in: The problem of the quick run that is drawn if none of them has results.
        panels: Makes the panels of a problem from its methods.
        label: Label of the vertical axis.
        caption: Names the values; "{window}" is the width of the running mean in queries.
    """

    problems: tuple[str, ...]
    stand_in: str
    panels: Callable[[str, list[MethodResults]], list[Panel]]
    label: str
    caption: str


def panels_of(name: str, folder: Path, problems: Sequence[str] | None, methods: Sequence[str] | None) -> list[Panel]:
    """Return the panels of a figure for the problems that have results; see `paper_figures.draw_figure`."""
    kind = lookup(PAPER_FIGURES, name, "figure")
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
        shown = [e for e in load_results(folder, problem, methods) if methods is not None or e.group in DRAWN]
        found += [panel for panel in kind.panels(problem, shown) if panel.curves]
    if not found:
        raise FileNotFoundError(f"Results in {folder} hold nothing for figure {name}. Run `make paper` first.")
    return found


def _stored(folder: Path, problem: str) -> bool:
    return any(not path.name.startswith(".") for path in (folder / problem).glob("*/*.npz"))


def _attack_panels(problem: str, methods: list[MethodResults]) -> list[Panel]:
    """Return panels of the first images one by one, over the repeats, and of all images and repeats together."""
    title, count = _title(problem), min((len(results.records[0].best) for results in methods), default=0)
    best = [np.stack([record.best for record in results.records]) for results in methods]  # (n, images, T)
    panels = [
        Panel(problem, f"image {i + 1}", f"{title} test {i + 1}", _curves(methods, [b[:, i] for b in best]))
        for i in range(min(SINGLE_IMAGES, count))
    ]
    every = _curves(methods, [rows.reshape(-1, rows.shape[-1]) for rows in best])
    return [*panels, Panel(problem, ALL_IMAGES, f"{title}, mean of {count} images", every)]


def _loss_panels(problem: str, methods: list[MethodResults]) -> list[Panel]:
    return [Panel(problem, "loss", _title(problem), _curves(methods, [results.by_seed() for results in methods]))]


def _cosine_panels(problem: str, methods: list[MethodResults]) -> list[Panel]:
    measured = [results for results in methods if np.isfinite(results.cosines()).any()]
    smooth = [running_mean(results.cosines(), SMOOTHED) for results in measured]
    return [Panel(problem, "cosine", _title(problem), _curves(measured, smooth))]


def _title(problem: str) -> str:
    return TITLES.get(problem, problem)


def _curves(methods: list[MethodResults], values: list[np.ndarray]) -> list[Curve]:
    return [Curve(results, rows) for results, rows in zip(methods, values, strict=True)]


ALL_IMAGES = "all images"
"""The part of figure 4 that averages over images."""

_DATA_SETS = ("a9a", "german.numer_scale", "heart_scale")
_LEAST = "Least loss within so many queries"
_COSINE = "Cosine of estimate and true gradient, running mean over {window} queries"
PAPER_FIGURES: dict[str, PaperFigure] = {
    "4": PaperFigure(("mnist_attack",), "digits_attack", _attack_panels, "Loss", _LEAST),
    "5": PaperFigure(_DATA_SETS, "breast_cancer", _loss_panels, "Loss", _LEAST),
    "6": PaperFigure(_DATA_SETS, "breast_cancer", _cosine_panels, "Cosine similarity", _COSINE),
}
"""The paper's figures by number."""


def csv_of(panels: Sequence[Panel]) -> str:
    """Return what is drawn as CSV, one line per problem, part, method and number of queries."""
    header = ["problem", "part", "method", "queries", "mean", "std", "n"]
    return csv_table(
        header,
        (
            [panel.problem, panel.part, curve.results.method, *values]
            for panel in panels
            for curve in panel.curves
            for values in zip(*(c.tolist() for c in (curve.results.queries, *mean_std(curve.values))), strict=True)
        ),
    )
