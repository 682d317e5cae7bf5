"""Plan what is left to do: which jobs make the missing result files, and which jobs must come before others.

The unit of work is what advances as one batch: all seeds of a problem, or, for methods that run row by row, one seed.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.minimum import minimum_file
from benchmarks.solvers.base import Solver
from benchmarks.stored_runs import path_of
from benchmarks.suites.task import Task
from zo_gym.registry import lookup

MINIMUM = "minimum"
"""Name of the job that is no solver: it finds the least known f of a classification problem."""


@dataclass(frozen=True)
class Table:
    """Names the solvers and tasks of an experiment, so that worker processes can import them.

    Attributes:
        module: Dotted name of a module with a dict `SOLVERS`.
        tasks: Dotted name of a dict of `Task`, "module:attribute".
    """

    module: str = "benchmarks.solvers.agents"
    tasks: str = "benchmarks.suites.paper:SUITE"

    def solvers(self) -> Mapping[str, Solver]:
        """Return its solvers by name."""
        found: Mapping[str, Solver] = importlib.import_module(self.module).SOLVERS
        return found

    def all_tasks(self) -> Mapping[str, Task]:
        """Return its tasks by name."""
        module, _, attribute = self.tasks.partition(":")
        found: Mapping[str, Task] = getattr(importlib.import_module(module), attribute)
        return found


@dataclass(frozen=True)
class Job:
    """Describes one piece of work: prepare a solver, or run it on these rows.

    Attributes:
        task: Name of the task.
        method: Name of the solver, or `MINIMUM`.
        rows: Numbers from `Task.rows`; empty for preparing.
    """

    task: str
    method: str
    rows: tuple[int, ...] = ()


def jobs_of(table: Table, tasks: Sequence[str], methods: Sequence[str], folder: Path) -> list[list[Job]]:
    """Return what is left to do, in waves: first what needs nothing else, then what needs the wave before.

    Raises:
        ValueError: A task or method is unknown.
    """
    solvers = table.solvers()
    chosen = [lookup(table.all_tasks(), name, "task") for name in tasks]
    for method in methods:
        lookup(solvers, method, "method")
    preparing: list[dict[Job, None]] = [{}, {}]  # ordered sets
    running: list[list[Job]] = [[], [], []]
    for task in chosen:
        if task.kind == "classification" and not minimum_file(folder / task.name).is_file():
            preparing[0][Job(task.name, MINIMUM)] = None
        for method in methods:
            missing = missing_rows(task, method, folder)
            if not missing:
                continue
            solver, wave = solvers[method], 0
            for source in (*_sources(solver, task), method):
                if _must_prepare(solvers[source], task):
                    after = any(_must_prepare(solvers[other], task) for other in _sources(solvers[source], task))
                    preparing[after][Job(task.name, source)] = None
                    wave = max(wave, 1 + after)
            running[wave] += [Job(task.name, method, rows) for rows in _batches(task, solver, missing)]
    return [wave for wave in ([*preparing[0], *running[0]], [*preparing[1], *running[1]], running[2]) if wave]


def missing_rows(task: Task, method: str, folder: Path) -> tuple[int, ...]:
    """Return the rows of a task that have no result of the method."""
    return tuple(row for row in task.rows if not path_of(folder, task.name, method, task.seed_of(row)).is_file())


def _sources(solver: Solver, task: Task) -> list[str]:
    """Return the other solvers that must be prepared before this one."""
    return [name for name in (solver.borrows.get(task.kind), solver.needs) if name is not None]


def _must_prepare(solver: Solver, task: Task) -> bool:
    """Return whether the solver learns something first, or has several jobs that one search must come before."""
    several = len(_batches(task, solver, tuple(task.rows))) > 1
    searches = bool(solver.search) and task.kind not in solver.borrows
    return solver.prepare is not None or (searches and several)


def _batches(task: Task, solver: Solver, rows: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Group the rows by job: those of one file, or all starts at once where they advance as one batch."""
    if solver.batched and task.kind == "classification":
        return [rows]
    return [tuple(group) for _, group in itertools.groupby(rows, key=task.seed_of)]
