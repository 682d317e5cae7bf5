"""Run every solver on every task, one small result file per method, problem and seed; resumable.

Finished files are skipped, so an interrupted run goes on where it stopped. `benchmarks.plan` says what is left to do,
`benchmarks.worker` does one job of it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from benchmarks.plan import Table, jobs_of
from benchmarks.worker import work
from zo_gym.checks import check_integer
from zo_gym.files import provenance, write_json

T = TypeVar("T")


class JobsFailedError(RuntimeError):
    """Raised where jobs ended with an exception. ZO_GYM_TRACEBACK=1 shows their tracebacks."""


@dataclass(frozen=True)
class RunArgs:
    """Options that the commands share. Results that exist are kept: run a command again to go on with it."""

    results: Path | None = None
    """Folder of the result files; None: a folder in results/ named after the suite."""
    tasks: tuple[str, ...] = ()
    """Only these problems."""
    methods: tuple[str, ...] = ()
    """Only these methods."""
    workers: int = 2
    """Number of processes, each with one CPU thread."""
    progress: bool = True
    """Show a progress bar."""


def run_table(
    table: Table, tasks: Sequence[str], methods: Sequence[str], folder: Path, *, workers: int, progress: bool
) -> None:
    """Run what is left of these tasks and methods, and log the time and the memory that it took in runs.json.

    Raises:
        ValueError: Jobs failed, or a task or method is unknown.
    """
    check_integer("--workers", workers, 1)
    jobs = sum(map(len, jobs_of(table, tasks, methods, folder)))
    if jobs == 0:
        print(f"All results for {', '.join(tasks)} are in {folder} already.")
        return
    print(f"{jobs} jobs to do; results go to {folder}. Ctrl-C is safe: run this again to go on.")
    started = time.perf_counter()
    try:
        with worker_pool(workers) as pool:
            memory = run_all(table, tasks, methods, folder, pool, progress=progress)
    except JobsFailedError as error:
        raise ValueError(f"{error} Run this again to try them once more.") from error
    log = folder / "runs.json"
    runs: list[dict[str, Any]] = json.loads(log.read_text(encoding="utf-8")) if log.is_file() else []
    run = {"jobs": jobs, "minutes": (time.perf_counter() - started) / 60, "gibibytes": memory / 2**30}
    write_json(log, [*runs, {**run, "workers": workers, "date": time.strftime("%Y-%m-%d"), **provenance()}])
    print(f"{jobs} jobs in {run['minutes']:.1f} minutes; the workers took at most {run['gibibytes']:.1f} GiB.")


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
        tasks: Names of tasks.
        methods: Names of solvers.
        folder: Folder of the results.
        executor: Runs the jobs, e.g. what `worker_pool` returns.
        progress: Show a bar, one unit a job, with the time that is left.

    Returns:
        The sum over worker processes of the most memory that each took, in bytes.

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
            for finished in results_of(pending, bar):
                memory[finished.process] = finished.kibibytes
                failures += [finished.failure] if finished.failure else []
                bar.set_postfix_str(f"{finished.job.task} {finished.job.method}")
    if failures:
        raise JobsFailedError(f"{len(failures)} job(s) failed; everything else is kept. The first: {failures[0]}")
    return 1024 * sum(memory.values())


def results_of(pending: Iterable[Future[T]], bar: Any) -> Iterator[T]:
    """Yield the results of jobs as they come; an exception, e.g. Ctrl-C, waits for the jobs in progress alone.

    Args:
        pending: What an executor's `submit` returned for each job.
        bar: A bar of tqdm, which counts the jobs.
    """
    left = set(pending)
    try:
        while left:
            done, left = wait(left, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
                bar.update()
    except BaseException:
        running = [future for future in left if not future.cancel()]
        bar.write(f"Finishing the {len(running)} job(s) in progress; press Ctrl-C again to stop at once.")
        wait(running)
        raise


@contextmanager
def worker_pool(workers: int) -> Iterator[Executor]:
    """Make processes that do jobs; an exception that leaves the block ends them.

    They leave Ctrl-C to their parent, and end when it ends, even if it was killed.
    """
    context = multiprocessing.get_context("spawn")  # forking after torch has started threads can hang
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    before = set(multiprocessing.active_children())
    try:
        yield pool
    except BaseException:
        for worker in set(multiprocessing.active_children()) - before:
            worker.terminate()
        raise
    finally:
        pool.shutdown()


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait for the parent process to end, then end this one in the midst of its job: files are written atomically."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
