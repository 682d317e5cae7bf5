"""Summarise in numbers what each method reached on a problem, and at what price."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.minimum import minimum_file
from benchmarks.results import MethodResults, load_results
from benchmarks.stored_runs import Record

TIMED_AGAINST = "zo-sgd"
"""The method whose final f sets the goal of `to_baseline`."""
FRACTIONS = {"tenth": 10, "fifth": 5, "half": 2, "all": 1}
"""Name -> divisor of the budget, at which f is reported: 500, 1000, 2500 and 5000 of the paper's 5000 queries."""


@dataclass(frozen=True)
class MethodSummary:
    """Holds one line of a table. NaN means not measured, infinity means never.

    Attributes:
        problem: Name of the task.
        dim: d, or None.
        method: Name of the method.
        label: Its name in tables.
        group: A key of `GROUPS`.
        runs: Number of repeats.
        images: Rows of each repeat: the images of an attack, else 1.
        budget: Queries of each run.
        mean: Best f after each of `FRACTIONS` of the budget, mean over repeats (and images).
        std: Sample standard deviation over the repeats of that; NaN for a single one.
        to_baseline: Queries until the mean curve is at or below ZO-SGD's final mean.
        ratio: ZO-SGD's own queries until there, divided by `to_baseline`.
        gap: Final mean minus f*.
        success: Share of attacks that ever fooled the classifier, 0 to 1.
        median_queries: Median of the queries to success, over all images and repeats; a failure counts as infinity.
        distortion: Mean L1 norm of the final perturbation, in units of pixels from 0 to 1.
        cosine: Mean cosine of estimate and gradient over the run.
        late_cosine: The same over the last fifth of the budget.
        training_queries: Queries before the run, on other starts or images; mean over repeats.
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


def summaries(folder: Path, problem: str) -> list[MethodSummary]:
    """Return one summary per method, in the order of `load_results`.

    Raises:
        FileNotFoundError, ValueError: As `load_results`.
    """
    found = load_results(folder, problem)
    curves = {results.method: results.by_seed().mean(axis=0) for results in found}
    goal = curves[TIMED_AGAINST][-1] if TIMED_AGAINST in curves else math.nan
    path = minimum_file(folder / problem)
    f_star = float(json.loads(path.read_text(encoding="utf-8"))["f_star"]) if path.is_file() else math.nan
    own = first_at(found[0].queries, curves[TIMED_AGAINST], goal) if TIMED_AGAINST in curves else math.nan
    return [_summary(results, curves[results.method], goal, own, f_star) for results in found]


def _summary(results: MethodResults, curve: np.ndarray, goal: float, own: float, f_star: float) -> MethodSummary:
    queries, budget = results.queries, int(results.queries[-1])
    places = [np.searchsorted(queries, max(1, budget // part), side="right") - 1 for part in FRACTIONS.values()]
    mean, std, _ = mean_std(results.by_seed()[:, places])
    reached = first_at(queries, curve, goal)
    success = results.pooled("success_at")
    cosine = results.cosines()
    metas = [record.meta for record in results.records]
    return MethodSummary(
        problem=results.records[0].problem,
        dim=results.dim,
        method=results.method,
        label=results.label,
        group=results.group,
        runs=len(results.records),
        images=len(results.records[0].best),
        budget=budget,
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        to_baseline=reached,
        ratio=own / reached,
        gap=float(mean[-1]) - f_star,
        success=_mean(success >= 0),
        median_queries=median_queries(success),
        distortion=_mean(results.pooled("distortion")),
        cosine=_mean(cosine),
        late_cosine=_mean(cosine[:, queries > 0.8 * budget]),
        training_queries=_mean(np.array([meta.get("training_queries", 0) for meta in metas])),
        seconds=_mean(np.array([_seconds(record) for record in results.records])),
    )


def first_at(queries: np.ndarray, curve: np.ndarray, goal: float) -> float:
    """Return the first grid point where the curve is at or below the goal; infinity if none, NaN without a goal."""
    if math.isnan(goal):
        return math.nan
    below = np.flatnonzero(curve <= goal)
    return float(queries[below[0]]) if len(below) else math.inf


def median_queries(success_at: np.ndarray) -> float:
    """Return the median of the queries to success (-1: never, which counts as infinity); NaN for no attack."""
    return float(np.median(np.where(success_at >= 0, success_at, np.inf))) if len(success_at) else math.nan


def _seconds(record: Record) -> float:
    rows_in_batch = record.meta.get("rows_in_batch", len(record.best))
    return record.meta.get("seconds", math.nan) / rows_in_batch


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan


def mean_std(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute mean, sample standard deviation and number of the known (not NaN) values of each column.

    Args:
        values: (n, T).

    Returns:
        Three arrays (T,). The mean is NaN where nothing is known, the deviation where fewer than two values are known.
    """
    known = ~np.isnan(values)
    count = known.sum(0)
    with np.errstate(invalid="ignore", over="ignore"):  # a run that overflowed has no deviation
        mean = np.where(count > 0, np.where(known, values, 0.0).sum(0) / np.maximum(count, 1), np.nan)
        squares = (np.where(known, values - mean, 0.0) ** 2).sum(0)
        std = np.where(count > 1, np.sqrt(squares / np.maximum(count - 1, 1)), np.nan)
    return mean, std, count
