"""Figures of merit: what each method reached on a problem, and at what price."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.records import Record
from benchmarks.results import Entry, entries
from benchmarks.style import mean_std

BASELINE = "zo-sgd"
"""The method whose final loss the others are timed to."""
FRACTIONS = {"tenth": 10, "fifth": 5, "half": 2, "all": 1}
"""The parts of the budget at which f is told: 500, 1000, 2500 and 5000 of the paper's 5000 queries."""


@dataclass(frozen=True)
class Row:
    """One line of a table. NaN: not measured; infinity: never.

    Attributes:
        problem: Its name.
        dim: d, or None.
        method: Its name.
        label: What it is called.
        group: A key of `GROUPS`.
        runs: Repeats.
        images: Rows of each repeat: the images of an attack, else 1.
        budget: Queries of each run.
        mean: Best f after each of `FRACTIONS` of the budget: mean over repeats (and images).
        std: Sample standard deviation over the repeats of that; NaN for a single one.
        to_baseline: Queries until the mean curve is at or below ZO-SGD's final mean.
        ratio: ZO-SGD's own queries until there, divided by them.
        gap: Final mean minus f*.
        success: Share of attacks that ever fooled the classifier.
        median_queries: To success, over all images and repeats; a failure counts as infinity.
        distortion: Mean L1 norm of the final perturbation.
        cosine: Mean cosine of estimate and gradient over the run.
        late_cosine: The same over the last fifth of the budget.
        training_queries: Spent before the run, on other starts or images; mean over repeats.
        seconds: Wall time of one run (image), an equal share of its batch's; mean.
    """

    problem: str
    dim: int | None
    method: str
    label: str
    group: str
    runs: int
    images: int
    budget: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    to_baseline: float
    ratio: float
    gap: float
    success: float
    median_queries: float
    distortion: float
    cosine: float
    late_cosine: float
    training_queries: float
    seconds: float


def rows(folder: Path, problem: str) -> list[Row]:
    """One row per method, in the order of `entries`.

    Raises:
        FileNotFoundError, ValueError: As `entries`.
    """
    found = entries(folder, problem)
    curves = {entry.method: entry.by_seed().mean(axis=0) for entry in found}
    goal = curves[BASELINE][-1] if BASELINE in curves else math.nan
    path = folder / problem / "minimum.json"
    f_star = float(json.loads(path.read_text(encoding="utf-8"))["f_star"]) if path.is_file() else math.nan
    own = _first_at(found[0].queries, curves[BASELINE], goal) if BASELINE in curves else math.nan
    return [_row(entry, curves[entry.method], goal, own, f_star) for entry in found]


def _row(entry: Entry, curve: np.ndarray, goal: float, own: float, f_star: float) -> Row:
    queries, budget = entry.queries, int(entry.queries[-1])
    places = [np.searchsorted(queries, max(1, budget // part), side="right") - 1 for part in FRACTIONS.values()]
    mean, std, _ = mean_std(entry.by_seed()[:, places])
    reached = _first_at(queries, curve, goal)
    success = _pooled(entry, "success_at")
    cosine = entry.cosines()
    metas = [record.meta for record in entry.records]
    return Row(
        problem=entry.records[0].problem,
        dim=entry.dim,
        method=entry.method,
        label=entry.label,
        group=entry.group,
        runs=len(entry.records),
        images=len(entry.records[0].best),
        budget=budget,
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        to_baseline=reached,
        ratio=own / reached,
        gap=float(mean[-1]) - f_star,
        success=_mean(success >= 0),
        median_queries=float(np.median(np.where(success >= 0, success, np.inf))) if len(success) else math.nan,
        distortion=_mean(_pooled(entry, "distortion")),
        cosine=_mean(cosine),
        late_cosine=_mean(cosine[:, queries > 0.8 * budget]),
        training_queries=_mean(np.array([meta.get("training_queries", 0) for meta in metas])),
        seconds=_mean(np.array([_seconds(record) for record in entry.records])),
    )


def _first_at(queries: np.ndarray, curve: np.ndarray, goal: float) -> float:
    """The first grid point where the curve is at or below the goal; infinity if none, NaN without a goal."""
    if math.isnan(goal):
        return math.nan
    below = np.flatnonzero(curve <= goal)
    return float(queries[below[0]]) if len(below) else math.inf


def _pooled(entry: Entry, name: str) -> np.ndarray:
    """One number per image and repeat, from the records that have it."""
    return np.concatenate([np.empty(0), *(r.extras[name] for r in entry.records if name in r.extras)])


def _seconds(record: Record) -> float:
    rows_in_batch = record.meta.get("rows_in_batch", len(record.best))
    return record.meta.get("seconds", math.nan) / rows_in_batch


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan
