"""Summarise the stored runs: what each solver has within each budget, by group of functions and over all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.peers.cases import SUITES, Case
from benchmarks.peers.plan import stored_run
from benchmarks.peers.targets import share_hit
from benchmarks.stored_runs import Record, load_record


@dataclass(frozen=True)
class Outcome:
    """Holds what one solver has on one case within one budget.

    Attributes:
        case: The problem.
        solver: Name of the solver.
        budget: Queries, in units of d.
        record: The run, which may be longer than the budget.
    """

    case: Case
    solver: str
    budget: int
    record: Record

    @property
    def f(self) -> float:
        """Return the least f within the budget, infinity without any; of a noisy problem the true f where it ended."""
        if "final_f" in self.record.extras:
            return float(self.record.extras["final_f"][0])
        known = self.record.queries <= self.budget * self.case.dim
        return float(self.record.best[0, known].min(initial=math.inf))

    @property
    def share(self) -> float:
        """Return the share of the targets that are hit; NaN where the optimal value is not known."""
        return share_hit(self.f - self.record.meta["f_opt"])

    @property
    def failure(self) -> str:
        """Return what ended the run before this budget was spent; empty if nothing did."""
        early = self.record.spent[0] < self.budget * self.case.dim
        return str(self.record.meta["failure"]) if early else ""


@dataclass(frozen=True)
class Line:
    """Holds one line of a table: one solver on all cases of a suite in one dimension within one budget.

    Attributes:
        suite: Name of the suite.
        dim: d.
        budget: Queries, in units of d.
        solver: Name of the solver.
        label: Its name in tables.
        ours: Whether it is a method of `minimize`.
        share: Share of the targets that are hit, mean over the functions; NaN where no optimal value is known.
        shares: The same by group of functions.
        f: Mean of f.
        wins: On how many functions no other solver has a greater share (or, where none is known, a smaller mean f).
        runs: Number of runs.
        failures: How many of them a failure ended.
        microseconds: Time beside f, per query, mean over the runs.
    """

    suite: str
    dim: int
    budget: int
    solver: str
    label: str
    ours: bool
    share: float
    shares: dict[str, float]
    f: float
    wins: int
    runs: int
    failures: int
    microseconds: float


def outcomes_of(folder: Path, cases: Sequence[Case], solvers: Sequence[str], budget: int) -> dict[str, list[Outcome]]:
    """Return solver -> its outcomes on all these cases; a solver that lacks any of them is left out."""
    found = {}
    for solver in solvers:
        files = [stored_run(folder, case, solver, budget) for case in cases]
        records = [load_record(file) for file in files if file is not None]
        if cases and len(records) == len(cases):
            found[solver] = [Outcome(case, solver, budget, record) for case, record in zip(cases, records, strict=True)]
    return found


def winners_of(outcomes: dict[str, list[Outcome]]) -> dict[str, tuple[list[str], float]]:
    """Return function -> the solvers that are best there, and their mean share (where none is known, mean f).

    Nobody wins where nobody hits a target.
    """
    functions = dict.fromkeys(outcome.case.function for found in outcomes.values() for outcome in found)
    winners = {}
    for function in functions:
        score = {solver: _scores(found, function) for solver, found in outcomes.items()}
        by_share = not math.isnan(next(iter(score.values()))[0])
        values = {solver: pair[0] if by_share else -pair[1] for solver, pair in score.items()}
        top = max(values.values())
        best = [solver for solver, value in values.items() if value == top and not (by_share and top == 0)]
        winners[function] = best, top if by_share else -top
    return winners


def _scores(outcomes: Sequence[Outcome], function: str) -> tuple[float, float]:
    of = [outcome for outcome in outcomes if outcome.case.function == function]
    return float(np.mean([outcome.share for outcome in of])), float(np.mean([outcome.f for outcome in of]))


def lines_of(outcomes: dict[str, list[Outcome]]) -> list[Line]:
    """Return one line per solver, those of `minimize` first, each kind by falling share (where none is known, by f)."""
    winners = winners_of(outcomes)
    lines = []
    for solver, found in outcomes.items():
        first = found[0]
        by_function = {function: _scores(found, function) for function in winners}
        metas = [outcome.record.meta for outcome in found]
        spent = [max(1, int(outcome.record.spent[0])) for outcome in found]
        groups = SUITES[first.case.suite].groups
        lines.append(
            Line(
                suite=first.case.suite,
                dim=first.case.dim,
                budget=first.budget,
                solver=solver,
                label=metas[0]["label"],
                ours=metas[0]["ours"],
                share=float(np.mean([share for share, _ in by_function.values()])),
                shares={name: _mean_share(by_function, members) for name, members in groups.items()},
                f=float(np.mean([f for _, f in by_function.values()])),
                wins=sum(solver in best for best, _ in winners.values()),
                runs=len(found),
                failures=sum(outcome.failure != "" for outcome in found),
                microseconds=1e6
                * float(np.mean([meta["seconds_beside_f"] / n for meta, n in zip(metas, spent, strict=True)])),
            )
        )
    return sorted(lines, key=lambda line: (not line.ours, line.f if math.isnan(line.share) else -line.share))


def _mean_share(by_function: dict[str, tuple[float, float]], members: Sequence[str]) -> float:
    known = [by_function[function][0] for function in members if function in by_function]
    return float(np.mean(known)) if known else math.nan
