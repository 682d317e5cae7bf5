"""The runner: every solver on every task, one small result file per method, problem and seed; resumable.

Finished files are skipped, so an interrupted run goes on where it stopped. The unit of work is what advances as one
batch: all seeds of a problem, or, for methods that run row by row, one seed.
"""

from __future__ import annotations

import importlib
import itertools
import multiprocessing
import os
import resource
import signal
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.minimum import minimum_file, store_minimum
from benchmarks.recorder import Outcome
from benchmarks.records import Record, path_of, save_record
from benchmarks.solvers.classical import Setup, Solver
from benchmarks.suites.paper import Task
from benchmarks.tuner import tuned_options
from zo_gym.files import provenance
from zo_gym.registry import lookup

MINIMUM = "minimum"
"""The job that is no solver: the least f that is known of a classification problem."""


class JobsFailedError(RuntimeError):
    """Some jobs ended with an exception. ZO_GYM_TRACEBACK=1 shows where."""


@dataclass(frozen=True)
class Table:
    """Where a worker process finds tasks and solvers: modules are imported by name, functions do not travel.

    Attributes:
        module: Dotted name of a module with a dict `SOLVERS`.
        tasks: Dotted name of a dict of `Task`, "module:attribute".
    """

    module: str = "benchmarks.solvers.classical"
    tasks: str = "benchmarks.suites.paper:TASKS"

    def solvers(self) -> Mapping[str, Solver]:
        """Its solvers."""
        found: Mapping[str, Solver] = importlib.import_module(self.module).SOLVERS
        return found

    def all_tasks(self) -> Mapping[str, Task]:
        """Its tasks."""
        module, _, attribute = self.tasks.partition(":")
        found: Mapping[str, Task] = getattr(importlib.import_module(module), attribute)
        return found


@dataclass(frozen=True)
class Job:
    """What one worker does without interruption: prepare a solver, or run it on these rows.

    Attributes:
        task: Its name.
        method: The solver's name.
        rows: Which of `Task.rows`; empty for preparing.
    """

    task: str
    method: str
    rows: tuple[int, ...] = ()


@dataclass(frozen=True)
class Done:
    """What a worker reports.

    Attributes:
        job: What it has done.
        process: Its process.
        kibibytes: The most memory that the process has taken so far.
        failure: What went wrong, if anything did.
    """

    job: Job
    process: int
    kibibytes: int
    failure: str = ""


def jobs_of(table: Table, tasks: Sequence[str], methods: Sequence[str], folder: Path) -> list[list[Job]]:
    """What is left to do, in waves: preparing and runs that need nothing, then what waits for the wave before.

    Raises:
        ValueError: Unknown task or method.
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
            missing = _missing(task, method, folder)
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


def _sources(solver: Solver, task: Task) -> list[str]:
    """The other solvers that must be prepared before this one."""
    return [name for name in (solver.borrows.get(task.kind), solver.needs) if name is not None]


def _must_prepare(solver: Solver, task: Task) -> bool:
    """Does it learn something first, or must one search come before its several jobs?"""
    several = len(_batches(task, solver, tuple(task.rows))) > 1
    searches = bool(solver.search) and task.kind not in solver.borrows
    return solver.prepare is not None or (searches and several)


def _missing(task: Task, method: str, folder: Path) -> tuple[int, ...]:
    """The rows without a result."""
    return tuple(row for row in task.rows if not path_of(folder, task.name, method, task.seed_of(row)).is_file())


def _batches(task: Task, solver: Solver, rows: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The rows by job: what one file holds, or all starts at once where they advance as one batch."""
    if solver.batched and task.kind == "classification":
        return [rows]
    return [tuple(group) for _, group in itertools.groupby(rows, key=task.seed_of)]


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
    family = task.family("test")
    setup = Setup(task, family.subset([row % family.size for row in job.rows]), seeds, options, place)
    outcome = solver.run(setup)
    meta = {
        "label": solver.label,
        "group": solver.group,
        "order": list(table.solvers()).index(job.method),
        "options": options,
        "seconds": time.perf_counter() - started,
        "rows_in_batch": len(job.rows),
        "dim": setup.family.dim,
        "training_queries": solver.training_queries(task, place),
        "budget": task.budget,
        "smoothing": task.smoothing,
        "date": time.strftime("%Y-%m-%d"),
        **provenance(),
    }
    return records_of(task, job.method, outcome, meta, job.rows)


def records_of(task: Task, method: str, outcome: Outcome, meta: dict[str, Any], rows: Sequence[int]) -> list[Record]:
    """The runs as files: one for all images of an attack, one a start of a classification problem."""
    if task.kind == "attack":
        victim, pictures = gallery_of(task, outcome)
        meta, outcome = {**meta, "victim": victim}, outcome._replace(extras=outcome.extras | pictures)
    seeds = [task.seed_of(row) for row in rows]
    whole = Record(
        task.name, method, seeds[0], outcome.queries, outcome.best, outcome.cosine, outcome.spent, outcome.extras, meta
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


def gallery_of(task: Task, outcome: Outcome) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Which victim it was, and what a gallery shows: both images, their labels and the victim's confidences."""
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


def run_all(
    table: Table,
    tasks: Sequence[str],
    methods: Sequence[str],
    folder: Path,
    executor: Executor,
    *,
    progress: bool = True,
) -> int:
    """Do what is left to do.

    Args:
        table: Tasks and solvers.
        tasks: Names.
        methods: Names.
        folder: Where results are and go.
        executor: Runs the jobs, e.g. what `worker_pool` returns.
        progress: Show a bar, one unit a job, with the time that is left.

    Returns:
        Bytes: the sum of the greatest memory that each worker process took.

    Raises:
        KeyboardInterrupt: On Ctrl-C, after the jobs in progress have ended (a second Ctrl-C does not wait for them).
        JobsFailedError: Jobs failed; all others were done.
    """
    waves = jobs_of(table, tasks, methods, folder)
    memory: dict[int, int] = {}
    failures: list[str] = []
    with tqdm(total=sum(map(len, waves)), unit="job", disable=not progress, smoothing=0.05) as bar:
        for wave in waves:
            pending = {executor.submit(work, table, job, folder) for job in wave}
            try:
                while pending:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for future in done:
                        finished: Done = future.result()
                        memory[finished.process] = finished.kibibytes
                        failures += [finished.failure] if finished.failure else []
                        bar.set_postfix_str(f"{finished.job.task} {finished.job.method}")
                        bar.update()
            except BaseException:
                left = [future for future in pending if not future.cancel()]
                bar.write(f"Finishing the {len(left)} job(s) in progress; press Ctrl-C again to stop at once.")
                wait(left)
                raise
    if failures:
        raise JobsFailedError(f"{len(failures)} job(s) failed; everything else is kept. The first: {failures[0]}")
    return 1024 * sum(memory.values())


@contextmanager
def worker_pool(workers: int) -> Iterator[Executor]:
    """Processes that leave Ctrl-C to their parent; an exception that leaves the block ends what they still do."""
    context = multiprocessing.get_context("spawn")  # forking after torch has started threads can hang
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_ignore_interrupts)
    before = set(multiprocessing.active_children())
    try:
        yield pool
    except BaseException:
        for worker in set(multiprocessing.active_children()) - before:
            worker.terminate()
        raise
    finally:
        pool.shutdown()


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
