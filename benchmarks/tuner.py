"""Tune every method by the same search, on starts or images that are not reported; search and winner are stored."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from benchmarks.solvers.base import Setup, Solver
from benchmarks.suites.task import FIRST_SEED, Task
from zo_gym.errors import ObjectiveError
from zo_gym.files import write_json


def tuned_options(name: str, solvers: Mapping[str, Solver], task: Task, folder: Path) -> dict[str, float]:
    """Return the best value of the option that the named solver searches; {} where it searches none.

    It is read from `<folder>/<name>/tuning.json`, or else found and stored there. Every value is run on the same tuning
    rows and judged by the mean of their final best f; one that makes f overflow counts as infinitely bad. The coarse
    range is tried first, then the finer factors around its best.

    Raises:
        ValueError: Every value failed.
    """
    solver = solvers[name]
    if task.kind in solver.borrows:
        return tuned_options(solver.borrows[task.kind], solvers, task, folder)
    if not solver.search:
        return {}
    ((option, coarse),) = solver.search.items()
    file = folder / name / "tuning.json"
    if file.is_file():
        return {option: float(json.loads(file.read_text(encoding="utf-8"))["winner"])}
    share = solver.tuning_shares.get(task.name, solver.tuning_share)
    shorter = replace(task, budget=round(share * task.budget))
    problem = task.problem("tuning", solver.tuning_rows)
    seeds = tuple(range(FIRST_SEED["tuning"], FIRST_SEED["tuning"] + problem.size))

    def score(value: float) -> float:
        try:
            outcome = solver.run(Setup(shorter, problem, seeds, {option: value}, folder))
        except ObjectiveError:
            return math.inf
        return float(outcome.best[:, -1].mean())

    scores = {value: score(value) for value in coarse}
    best = min(scores, key=scores.__getitem__)
    scores |= {best * factor: score(best * factor) for factor in solver.finer}
    best = min(scores, key=scores.__getitem__)
    if not math.isfinite(scores[best]):
        raise ValueError(f"{name} diverged on {task.name} for every {option} in {sorted(scores)}.")
    report = {
        "option": option,
        "search": {f"{value:.6g}": scores[value] for value in sorted(scores)},
        "winner": best,
        "rows": problem.size,
        "first_seed": seeds[0],
        "budget": shorter.budget,
    }
    write_json(file, report)
    return {option: best}
