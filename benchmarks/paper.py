"""`make paper`: the experiments of the paper's section 4, resumable, then their figures and tables."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from zo_gym.agents.console import fail_clearly

from benchmarks.draw import draw_all
from benchmarks.orderings import broken
from benchmarks.runner import JobsFailedError, Table, jobs_of, run_all, worker_pool
from benchmarks.solvers.agents import SOLVERS
from benchmarks.suites.paper import QUICK, TASKS
from zo_gym.checks import check_integer
from zo_gym.files import provenance, write_json


@dataclass(frozen=True)
class PaperArgs:
    """Run every method on every problem of the paper's section 4 at equal queries; draw figures and tables.

    Results that exist are kept: run it again to go on after an interruption.
    """

    quick: bool = False
    """Two seeds of heart_scale and an attack on 8 x 8 digits, in minutes; then check orderings that must hold."""
    results: Path | None = None
    """Where result files live; None: results/paper, or results/quick."""
    tasks: tuple[str, ...] = ()
    """Only these problems."""
    methods: tuple[str, ...] = ()
    """Only these methods."""
    workers: int = 2
    """Processes, one CPU thread each."""
    progress: bool = True
    """Show a progress bar."""


def run_paper(args: PaperArgs) -> Path:
    """What `make paper` does; returns the folder of the figures.

    Raises:
        ValueError: An argument is not as described, jobs failed, or an ordering of the quick run does not hold.
    """
    check_integer("--workers", args.workers, 1)
    folder = args.results or Path("results") / ("quick" if args.quick else "paper")
    table = Table("benchmarks.solvers.agents", f"benchmarks.suites.paper:{'QUICK' if args.quick else 'TASKS'}")
    tasks = args.tasks or tuple(QUICK if args.quick else TASKS)
    methods = args.methods or tuple(SOLVERS)
    run_table(table, tasks, methods, folder, workers=args.workers, progress=args.progress)
    out = draw_all(folder)
    print((out / "tables.md").read_text(encoding="utf-8"))
    print(f"Figures and tables: {out}")
    if args.quick and not (args.tasks or args.methods):
        wrong = broken(folder)
        if wrong:
            raise ValueError("Orderings that must hold do not: " + " ".join(wrong))
        print("All orderings that must hold do.")
    return out


def run_table(
    table: Table, tasks: Sequence[str], methods: Sequence[str], folder: Path, *, workers: int, progress: bool
) -> None:
    """Run what is left of these tasks and methods, and keep a log of how long it took and how much memory.

    Raises:
        ValueError: Jobs failed.
    """
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
    entries: list[dict[str, Any]] = json.loads(log.read_text(encoding="utf-8")) if log.is_file() else []
    entry = {"jobs": jobs, "minutes": (time.perf_counter() - started) / 60, "gibibytes": memory / 2**30}
    write_json(log, [*entries, {**entry, "workers": workers, "date": time.strftime("%Y-%m-%d"), **provenance()}])
    print(f"{jobs} jobs in {entry['minutes']:.1f} minutes; the workers took at most {entry['gibibytes']:.1f} GiB.")


def main() -> None:
    """Entry point of `make paper`."""
    with fail_clearly():
        run_paper(tyro.cli(PaperArgs))


if __name__ == "__main__":
    main()
