"""Plan what is left to do: one job is one run of a solver on a case, and makes one small file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.cases import SUITES, Case
from benchmarks.peers.solvers import solver_of
from benchmarks.stored_runs import path_of


@dataclass(frozen=True)
class PeerJob:
    """Describes one run.

    Attributes:
        case: The problem.
        solver: Name of the solver.
        budget: Queries, in units of d.
        seconds: Wall time after which the run ends with what it has.
    """

    case: Case
    solver: str
    budget: int
    seconds: float

    def path(self, folder: Path) -> Path:
        """Return where its result is kept."""
        return path_of(folder, self.case.problem, run_name(self.solver, self.budget), self.case.instance)


def run_name(solver: str, budget: int) -> str:
    """Return the name of a solver's runs with this budget, e.g. "pycma@200d"."""
    return f"{solver}@{budget}d"


def runs_each_budget(solver: str, case: Case) -> bool:
    """Return whether each budget is a run of its own: the solver uses it, or its point matters and not its best f."""
    return solver_of(solver).uses_budget or SUITES[case.suite].noisy


def jobs_left(
    cases: Iterable[Case], solvers: Sequence[str], budgets: Sequence[int], seconds: float, folder: Path
) -> list[PeerJob]:
    """Return the runs that have no file yet, case by case."""
    jobs = []
    for case in cases:
        for solver in solvers:
            fitting = solver_of(solver).budgets(case.dim, sorted(budgets))
            needed = fitting if runs_each_budget(solver, case) else fitting[-1:]
            jobs += [PeerJob(case, solver, budget, seconds) for budget in needed]
    return [job for job in jobs if stored_run(folder, job.case, job.solver, job.budget) is None]


def stored_run(folder: Path, case: Case, solver: str, budget: int) -> Path | None:
    """Return the file of the run that tells what a solver has with this budget: its own, or a longer one; or None."""
    own = PeerJob(case, solver, budget, 0.0).path(folder)
    if own.is_file() or runs_each_budget(solver, case):
        return own if own.is_file() else None
    longer = {}
    for file in (folder / case.problem).glob(f"{solver}@*d/{case.instance}.npz"):
        stored = int(file.parent.name.rpartition("@")[2].removesuffix("d"))
        if stored >= budget:
            longer[stored] = file
    return longer[min(longer)] if longer else None
