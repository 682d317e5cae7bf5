"""`python evaluate.py --peers`: run what is missing, then write tables and figures of everything that is stored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.figures.pictures import save_figure
from benchmarks.peers.cases import SUITES, Case, cases_of
from benchmarks.peers.coco import require_coco
from benchmarks.peers.figure import draw_profiles
from benchmarks.peers.plan import jobs_left
from benchmarks.peers.runner import run_jobs
from benchmarks.peers.solvers import DEFAULT_METHODS, PEERS, check_solvers, missing_libraries, solver_of
from benchmarks.peers.summary import outcomes_of
from benchmarks.peers.tables import Comparison, write_tables
from zo_gym.agents.peer_options import PeerOptions
from zo_gym.checks import check_integer, check_positive

BUDGETS = (20, 50, 200)
INSTANCES = (1, 2, 3)
QUICK = PeerOptions(
    suites=("bbob",), dims=(5,), functions=("f001", "f008", "f015", "f021"), instances=(1,), budgets=(5, 20)
)
"""What `--quick` runs, where an option does not say otherwise."""
FULL = PeerOptions(suites=("bbob",), instances=INSTANCES, budgets=BUDGETS)


@dataclass(frozen=True)
class Plan:
    """Holds what is compared.

    Attributes:
        options: What was asked for, with the defaults filled in.
        cases: Suite -> its cases.
        solvers: Names of all solvers that can run.
    """

    options: PeerOptions
    cases: dict[str, list[Case]]
    solvers: list[str]


def compare_peers(options: PeerOptions, out: Path | None, workers: int) -> list[Path]:
    """Do what `python evaluate.py --peers` does, and return the tables and figures.

    Args:
        options: Chooses problems, solvers and budgets.
        out: Folder of results, tables and figures; None: results/peers, or results/peers-quick.
        workers: Number of processes.

    Raises:
        ImportError: Problems of COCO are asked for, and the package coco-experiment is missing.
        ValueError: An option is not as described, or runs could not begin.
    """
    check_integer("--workers", workers, 1)
    folder = out or Path("results") / ("peers-quick" if options.quick else "peers")
    plan = plan_of(options)
    every = [case for cases in plan.cases.values() for case in cases]
    jobs = jobs_left(every, plan.solvers, plan.options.budgets, options.seconds, folder / "runs")
    run_jobs(jobs, folder / "runs", workers=workers)
    written = [file for suite, cases in plan.cases.items() for file in write_suite(suite, cases, plan, folder)]
    print("Wrote " + ", ".join(str(file) for file in written))
    return written


def plan_of(options: PeerOptions) -> Plan:
    """Fill in the defaults, and leave out, with a word to the user, the peers whose libraries are missing."""
    defaults = QUICK if options.quick else FULL
    filled = replace(
        options,
        suites=options.suites or defaults.suites,
        dims=options.dims or defaults.dims,
        functions=options.functions or defaults.functions,
        instances=options.instances or defaults.instances,
        budgets=options.budgets or defaults.budgets,
        methods=options.methods or DEFAULT_METHODS,
        solvers=options.solvers or tuple(PEERS),
    )
    for name, least in (("dims", 1), ("instances", 1), ("budgets", 1)):
        for value in getattr(filled, name):
            check_integer(f"--{name}", value, least)
    check_positive("--seconds", filled.seconds)
    check_solvers(filled.methods, filled.solvers)
    cases = {suite: cases_of(suite, filled.dims, filled.functions, filled.instances) for suite in filled.suites}
    if any(SUITES[suite].needs_coco for suite in cases):
        require_coco()
    for name in filled.solvers:
        if missing_libraries(name):
            print(f"Left out: {PEERS[name].label}. To have it: {PEERS[name].install}")
    peers = [name for name in filled.solvers if not missing_libraries(name)]
    return Plan(filled, cases, [*filled.methods, *peers])


def write_suite(suite: str, cases: Sequence[Case], plan: Plan, folder: Path) -> list[Path]:
    """Write the tables and figures of a suite, print its tables, and return the files."""
    comparisons: list[Comparison] = []
    written = []
    for dim in dict.fromkeys(case.dim for case in cases):
        own = [case for case in cases if case.dim == dim]
        by_budget = {}
        for budget in sorted(plan.options.budgets):
            solvers = [name for name in plan.solvers if solver_of(name).budgets(dim, [budget])]
            found = outcomes_of(folder / "runs", own, solvers, budget)
            if found:
                by_budget[budget] = found
        if not by_budget:
            continue
        comparisons += by_budget.values()
        if not math.isnan(next(iter(next(iter(by_budget.values())).values()))[0].share):  # the optimal value is known
            written.append(folder / f"{suite}-d{dim}.png")
            save_figure(draw_profiles(by_budget), written[-1])
    if not comparisons:
        return []
    tables = write_tables(suite, comparisons, folder)
    print(tables[0].read_text(encoding="utf-8"))
    return [*tables, *written]
