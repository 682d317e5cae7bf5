"""Do one job in a worker process: prepare a solver, or run it on some rows and store the result files."""

from __future__ import annotations

import os
import resource
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.minimum import store_minimum
from benchmarks.plan import MINIMUM, Job, Table
from benchmarks.solvers.base import Setup, SolverOutcome
from benchmarks.stored_runs import Record, save_record
from benchmarks.suites.task import Task
from benchmarks.tuner import tuned_options
from zo_gym.files import provenance


@dataclass(frozen=True)
class Done:
    """Reports what a worker has done.

    Attributes:
        job: The job that has ended.
        process: Number of the worker's process.
        kibibytes: The most memory that the process has taken so far, in KiB.
        failure: What went wrong; empty if nothing did.
    """

    job: Job
    process: int
    kibibytes: int
    failure: str = ""


def work(table: Table, job: Job, folder: Path) -> Done:
    """Do one job in this process; an exception becomes its `failure`, so that it does not end the others."""
    torch.set_num_threads(1)
    failure = ""
    try:
        _do(table, job, folder)
    except Exception as error:
        failure = f"{job.method} on {job.task}: {type(error).__name__}: {error}"
        if os.environ.get("ZO_GYM_TRACEBACK"):
            traceback.print_exc()
    return Done(job, os.getpid(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, failure)


def _do(table: Table, job: Job, folder: Path) -> None:
    task, place = table.all_tasks()[job.task], folder / job.task
    if job.method == MINIMUM:
        store_minimum(task, place)
    elif not job.rows:
        solver = table.solvers()[job.method]
        if solver.prepare is not None:
            solver.prepare(task, place)
        if task.kind not in solver.borrows:
            tuned_options(job.method, table.solvers(), task, place)
    else:
        for record in _run(table, task, job, place):
            save_record(folder, record)


def _run(table: Table, task: Task, job: Job, place: Path) -> list[Record]:
    solver = table.solvers()[job.method]
    options = tuned_options(job.method, table.solvers(), task, place)
    seeds = tuple(task.first_seed + row for row in job.rows)
    started = time.perf_counter()
    problem = task.problem("test")
    setup = Setup(task, problem.subset([row % problem.size for row in job.rows]), seeds, options, place)
    outcome = solver.run(setup)
    meta = {
        "label": solver.label,
        "group": solver.group,
        "order": list(table.solvers()).index(job.method),
        "options": options,
        "seconds": time.perf_counter() - started,
        "rows_in_batch": len(job.rows),
        "dim": problem.dim,
        "training_queries": solver.training_queries(task, place),
        "budget": task.budget,
        "smoothing": task.smoothing,
        "date": time.strftime("%Y-%m-%d"),
        **provenance(),
    }
    return records_of(task, job.method, outcome, meta, job.rows)


def records_of(
    task: Task, method: str, outcome: SolverOutcome, meta: dict[str, Any], rows: Sequence[int]
) -> list[Record]:
    """Return the runs as records: one for all images of an attack, one per start of a classification problem."""
    if task.kind == "attack":
        victim, pictures = pictures_of(task, outcome)
        meta, outcome = {**meta, "victim": victim}, outcome._replace(extras=outcome.extras | pictures)
    seeds = [task.seed_of(row) for row in rows]
    whole = Record(
        problem=task.name,
        method=method,
        seed=seeds[0],
        queries=outcome.queries,
        best=outcome.best,
        cosine=outcome.cosine,
        spent=outcome.spent,
        extras=outcome.extras,
        meta=meta,
    )
    if task.kind == "attack":
        return [whole]
    return [_row_of(whole, place, seed) for place, seed in enumerate(seeds)]


def _row_of(record: Record, row: int, seed: int) -> Record:
    only = slice(row, row + 1)
    return replace(
        record,
        seed=seed,
        best=record.best[only],
        cosine=None if record.cosine is None else record.cosine[only],
        spent=record.spent[only],
        extras={name: values[only] for name, values in record.extras.items()},
    )


def pictures_of(task: Task, outcome: SolverOutcome) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return which victim it was, and what a gallery shows: both images, their labels and the victim's confidences."""
    attack = task.attack("test")
    predicted, confidence = attack.predict(outcome.best_x)
    _, before = attack.predict(attack.images)
    arrays = {
        "original": attack.images.float(),
        "final_x": outcome.best_x.float().clamp(0.0, 1.0),
        "label": attack.labels,
        "predicted": predicted,
        "confidence_before": before,
        "confidence_after": confidence,
    }
    victim = {"accuracy": attack.victim.accuracy, "sha256": attack.victim.sha256}
    return victim, {name: value.cpu().numpy() for name, value in arrays.items()}
