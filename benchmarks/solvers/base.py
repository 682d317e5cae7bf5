"""Define what a solver is: a run over all rows of a problem, with what is tuned, trained and reported about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.suites.task import Task
from zo_gym.problem import Problem
from zo_gym.rng import make_generator

Group = Literal["policy", "ablation", "paper", "control", "further", "peer", "reference"]
"""Part of the table that a solver is in; `benchmarks.results.GROUPS` holds the headings."""

COARSE_DELTAS = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
"""Coarse search range of delta, where eta = delta / d; the logarithmic range of the paper's section 4.1."""
FINER = (10 ** (-2 / 3), 10 ** (-1 / 3), 10 ** (1 / 3), 10 ** (2 / 3))
"""Factors that are tried around the best value of the coarse range."""


@dataclass(frozen=True)
class Setup:
    """Holds everything that a run is given.

    Attributes:
        task: The task that the rows belong to.
        problem: The rows, each an instance with its start.
        seeds: Seeds of the directions, one per row.
        options: The tuned values by option.
        folder: Folder of this task's results; learned weights are kept there.
    """

    task: Task
    problem: Problem
    seeds: tuple[int, ...]
    options: Mapping[str, float]
    folder: Path


class SolverOutcome(NamedTuple):
    """Holds B finished runs on one grid of T query counts."""

    queries: np.ndarray
    """The grid, (T,)."""
    best: np.ndarray
    """Least f at an iterate within so many queries, (B, T)."""
    cosine: np.ndarray | None
    """cos(g, grad f) of the last step, (B, T), NaN where there was none; None if it was not measured."""
    spent: np.ndarray
    """Queries of each run, (B,)."""
    best_x: Tensor
    """The iterates of least f, (B, d)."""
    extras: dict[str, np.ndarray]
    """Further arrays with leading dimension B."""


Run = Callable[[Setup], SolverOutcome]


@dataclass(frozen=True)
class Solver:
    """Describes a method in the comparison.

    Attributes:
        label: Its name in legends and tables.
        group: The part of the table that it is in.
        run: Runs all rows of a setup.
        search: Option -> values to try for it, at most one option; empty where nothing is tuned.
        finer: Factors to try around the best of those values.
        tuning_rows: How many of the task's tuning rows each value is tried on; None: all.
        tuning_share: Share of the budget that each value is tried with; less than 1 for methods whose steps cost few
            queries, and so take long.
        tuning_shares: Name of a task whose f takes long -> the share there instead.
        prepare: Makes what `run` needs besides, e.g. learned weights, from (task, folder); None: nothing.
        needs: Name of another solver whose `prepare` this one's run needs too.
        batched: Whether all rows advance as one batch; else each row is a run, and a file, of its own.
        borrows: Kind of task -> the solver whose tuned options are taken there instead of a search.
        training_queries: Counts the queries that were spent before the run, from (task, folder).
    """

    label: str
    group: Group
    run: Run
    search: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    finer: tuple[float, ...] = FINER
    tuning_rows: int | None = None
    tuning_share: float = 1.0
    tuning_shares: Mapping[str, float] = field(default_factory=dict)
    prepare: Callable[[Task, Path], None] | None = None
    needs: str | None = None
    batched: bool = True
    borrows: Mapping[str, str] = field(default_factory=dict)
    training_queries: Callable[[Task, Path], int] = lambda task, folder: 0


def starts_of(problem: Problem) -> Tensor:
    """Return the start of every instance, (size, d); the problem's starts must be fixed."""
    return problem.initial(
        torch.arange(problem.size, device=problem.device), [make_generator(0, problem.device)] * problem.size
    )


def options_of(setup: Setup, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tuned and the fixed options of a method; the tuned "delta" becomes eta = delta / d."""
    options: dict[str, Any] = {name: value for name, value in setup.options.items() if name != "delta"} | dict(fixed)
    if "delta" in setup.options:
        options["learning_rate"] = setup.options["delta"] / setup.problem.dim
    return options


def join(outcomes: Sequence[SolverOutcome]) -> SolverOutcome:
    """Join the runs of several outcomes on one grid, in order."""
    first = outcomes[0]
    cosines = [o.cosine for o in outcomes if o.cosine is not None]
    return SolverOutcome(
        queries=first.queries,
        best=np.concatenate([o.best for o in outcomes]),
        cosine=np.concatenate(cosines) if len(cosines) == len(outcomes) else None,
        spent=np.concatenate([o.spent for o in outcomes]),
        best_x=torch.cat([o.best_x for o in outcomes]),
        extras={name: np.concatenate([o.extras[name] for o in outcomes]) for name in first.extras},
    )
