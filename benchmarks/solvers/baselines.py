"""Make solvers of the external optimisers of `zo_gym.BASELINES`, which own their loops and so run row by row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from benchmarks.recorder import Recorder
from benchmarks.solvers.base import COARSE_DELTAS, Run, Setup, Solver, SolverOutcome, join, options_of, starts_of
from zo_gym.agents.curves import direction_generators
from zo_gym.baselines import run_baseline
from zo_gym.oracle import Oracle


def baseline_run(name: str, **fixed: Any) -> Run:
    """Return what runs a baseline on every row.

    Args:
        name: A key of `zo_gym.BASELINES`.
        **fixed: Its options besides the tuned ones, see `options_of`.
    """

    def run(setup: Setup) -> SolverOutcome:
        options = options_of(setup, fixed)
        return join([_run_row(setup, name, row, options) for row in range(setup.problem.size)])

    return run


def _run_row(setup: Setup, name: str, row: int, options: Mapping[str, Any]) -> SolverOutcome:
    problem, budget = setup.problem.subset([row]), setup.task.budget
    oracle = Oracle(problem, 1, budget=budget)
    (generator,) = direction_generators(setup.seeds[row : row + 1], problem.device)
    x0 = starts_of(problem)[0]
    recorder = Recorder(problem, budget, setup.task.early)
    best_x, best_f = x0, float("inf")

    def evaluate(points: Tensor) -> Tensor:
        nonlocal best_x, best_f
        values = oracle(points[None])[0]
        least = int(values.argmin())
        if values[least].item() < best_f:
            best_x, best_f = points[least].clone(), values[least].item()
            recorder.add(int(oracle.queries[0]), [best_f], best_x[None])
        return values

    run_baseline(name, evaluate, x0, generator, **options)
    recorder.add(int(oracle.queries[0]), [best_f])
    return recorder.finish(best_x[None])


def _run_cma(setup: Setup) -> SolverOutcome:
    """Run CMA-ES with the full matrix where d^2 <= budget, which is enough to learn it; else with its diagonal."""
    return baseline_run("cma-es", diagonal=setup.problem.dim**2 > setup.task.budget)(setup)


def _run_lbfgs(setup: Setup) -> SolverOutcome:
    """Run L-BFGS-B; further descents begin at x0 plus noise as long as the starts of the classification problems."""
    fixed = {"maxcor": int(setup.options["maxcor"]), "restart_std": setup.problem.dim**-0.5}
    return baseline_run("l-bfgs-b", **fixed)(replace(setup, options={}))


SOLVERS: dict[str, Solver] = {
    "zo-svrg": Solver("ZO-SVRG", "further", baseline_run("zo-svrg"), {"delta": COARSE_DELTAS}),
    "cma-es": Solver(
        "CMA-ES (diagonal for d > 70)", "peer", _run_cma, {"sigma0": (0.01, 0.1, 1.0)}, (), tuning_share=0.4
    ),
    "l-bfgs-b": Solver(
        "L-BFGS-B, finite differences, restarted",
        "peer",
        _run_lbfgs,
        {"maxcor": (5.0, 10.0, 20.0, 40.0)},
        (),
        tuning_rows=10,  # the local minimum that a run ends in is partly chance
    ),
}
"""The optimisers that the methods of this package are compared with."""
