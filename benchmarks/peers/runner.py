"""Do one run in this process, and all of them in worker processes; one small file each, so that a rerun goes on."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.peers.cases import SUITES
from benchmarks.peers.oracle import CountedFunction, Instance, Search, Spent
from benchmarks.peers.plan import PeerJob, run_name
from benchmarks.peers.solvers import PeerSolver, solver_of
from benchmarks.runner import results_of, worker_pool
from benchmarks.stored_runs import Record, save_record
from zo_gym.files import provenance


def run_jobs(jobs: Sequence[PeerJob], folder: Path, *, workers: int, progress: bool = True) -> None:
    """Do all jobs in worker processes. Ctrl-C loses only the runs in progress.

    Raises:
        ValueError: A problem could not be opened, or a worker process died; all other runs are kept.
    """
    if not jobs:
        print(f"All runs are in {folder} already.")
        return
    print(f"{len(jobs)} runs to do; results go to {folder}. Ctrl-C is safe: run this again to go on.")
    facts = provenance()
    with worker_pool(workers) as pool:
        failures = _do_all(pool, jobs, folder, facts, progress)
    if failures:
        raise ValueError(f"{len(failures)} run(s) could not begin; everything else is kept. The first: {failures[0]}")


def _do_all(
    pool: Executor, jobs: Sequence[PeerJob], folder: Path, facts: Mapping[str, Any], progress: bool
) -> list[str]:
    with tqdm(total=len(jobs), unit="run", disable=not progress, smoothing=0.05) as bar:
        pending = {pool.submit(do_job, job, folder, facts) for job in jobs}
        try:
            return [failure for failure in results_of(pending, bar) if failure]
        except BrokenProcessPool as error:
            raise ValueError(
                "A worker process died, of a crash in a library or for want of memory. Run this again to go on; leave "
                "the solver out with --solvers if it happens again."
            ) from error


def do_job(job: PeerJob, folder: Path, facts: Mapping[str, Any]) -> str:
    """Do one job and store its record; return what kept its problem from opening, or nothing."""
    torch.set_num_threads(1)
    try:
        instance = job.case.open()
    except Exception as error:
        return f"{job.case.problem}: {type(error).__name__}: {error}"
    solver = solver_of(job.solver)
    for module in ("scipy.optimize", *solver.modules):
        with suppress(Exception):  # the solver's own import tells
            import_module(module)  # here, so that it takes none of the run's time
    save_record(folder, run_case(job, solver, instance, facts))
    return ""


def run_case(job: PeerJob, solver: PeerSolver, instance: Instance, facts: Mapping[str, Any]) -> Record:
    """Run a solver until its budget or time is spent, it fails, or it ends; what it has until then counts."""
    budget, noisy = job.budget * job.case.dim, SUITES[job.case.suite].noisy
    f = CountedFunction(instance.fun, budget, job.seconds)
    search = Search(f, instance.start, instance.lower, instance.upper, budget, noisy, job.case.seed)
    returned, failure, started = None, "", time.perf_counter()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            returned = solver.run(search)
        except Spent:
            failure = f"out of time: {job.seconds:g} s" if f.out_of_time else ""
        except Exception as error:
            failure = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    seconds = time.perf_counter() - started
    final_x = next((x for x in (returned, f.recommended, f.best_x) if x is not None), instance.start)
    queries, best = f.curve()
    meta = {
        "label": solver.label,
        "ours": solver.ours,
        "uses_budget": solver.uses_budget,
        "budget": budget,
        "dim": job.case.dim,
        "f_opt": instance.f_opt,
        "failure": failure,
        "seconds": seconds,
        "seconds_beside_f": seconds - f.seconds_inside,
        "date": time.strftime("%Y-%m-%d"),
        **facts,
    }
    extras = {"final_x": np.asarray(final_x, dtype=np.float64)[None]}
    if instance.true is not None:
        extras["final_f"] = np.array([instance.true(extras["final_x"][0])])
    return Record(
        problem=job.case.problem,
        method=run_name(job.solver, job.budget),
        seed=job.case.instance,
        queries=queries,
        best=best[None],
        cosine=None,
        spent=np.array([f.queries], dtype=np.int64),
        extras=extras,
        meta=meta,
    )
