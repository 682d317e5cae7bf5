"""Run the optimisers of other libraries with their own defaults; each library is imported when its solver runs."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers.oracle import Search
from benchmarks.peers.scipy_solvers import restarted


def pycma(diagonal: bool = False) -> Callable[[Search], None]:
    """Return CMA-ES with IPOP restarts: the population doubles, and starts anew uniformly in the box.

    The first standard deviation is a fifth of the box. Under noise it returns the distribution's mean.

    Reference: Auger and Hansen (2005), "A restart CMA evolution strategy with increasing population size", CEC.
    """

    def run(search: Search) -> None:
        import cma

        rng = np.random.default_rng(search.seed)
        width = search.upper - search.lower
        options: dict[str, Any] = {
            "randn": lambda *shape: rng.standard_normal(shape),
            "seed": math.nan,  # leaves numpy's global state alone
            "verbose": -10,
            "verb_log": 0,
            "verb_disp": 0,
            "maxiter": math.inf,
            "bounds": [search.lower.tolist(), search.upper.tolist()],
            "CMA_diagonal": diagonal,
            "CMA_stds": width / width.mean(),
        }
        start, popsize, least = search.start, 4 + int(3 * np.log(len(search.start))), math.inf
        while True:
            strategy = cma.CMAEvolutionStrategy(start, width.mean() / 5, {**options, "popsize": popsize})
            median = math.inf
            while not strategy.stop():
                points = strategy.ask()
                values = [search.f(point) for point in points]
                strategy.tell(points, values)
                median = float(np.median(values))
                if search.noisy and median <= least:  # a restart speaks once it is as good as the run before
                    search.f.recommend(strategy.result.xfavorite)
            least = min(least, median)
            start, popsize = rng.uniform(search.lower, search.upper), 2 * popsize

    return run


def nevergrad_ngopt(search: Search) -> np.ndarray:
    """Run NGOpt, Nevergrad's choice among its optimisers by dimension and budget; return its recommendation."""
    import nevergrad
    from nevergrad.optimization import metamodel

    # numpy 2.4 no longer takes float() of an array with one element, on which Nevergrad 1.0.12 relies here.
    vars(metamodel)["float"] = lambda value: np.asarray(value).item()
    array = nevergrad.p.Array(init=search.start).set_bounds(search.lower, search.upper)
    array.random_state.seed(search.seed)
    found = nevergrad.optimizers.registry["NGOpt"](array, budget=search.budget).minimize(search.f)
    return np.asarray(found.value)


def _descend_bobyqa(search: Search, start: np.ndarray) -> None:
    import pybobyqa

    logging.getLogger("pybobyqa").setLevel(logging.CRITICAL)
    pybobyqa.solve(
        search.f,
        start,
        bounds=(search.lower, search.upper),
        maxfun=search.budget + 1,
        scaling_within_bounds=True,
        objfun_has_noise=search.noisy,
        do_logging=False,
    )


PY_BOBYQA = restarted(_descend_bobyqa)


def optuna_solver(sampler: str) -> Callable[[Search], None]:
    """Return Optuna's "CmaEsSampler" or "TPESampler"; its first trial is the start."""

    def run(search: Search) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        names = [f"x{i}" for i in range(len(search.start))]
        first = dict(zip(names, search.start.tolist(), strict=True))

        def objective(trial: Any) -> float:
            return search.f(
                np.array([trial.suggest_float(name, *box) for name, box in zip(names, search.bounds, strict=True)])
            )

        study = optuna.create_study(sampler=getattr(optuna.samplers, sampler)(seed=search.seed))
        study.enqueue_trial(first)
        study.optimize(objective, n_trials=search.budget + 1)

    return run


def amm(search: Search) -> np.ndarray:
    """Run AMM, which spends a part of the budget on probes that choose among several optimisers; return its point."""
    import amm_optimizer

    found = amm_optimizer.minimize(
        search.f, x0=search.start, bounds=search.bounds, budget=search.budget, seed=search.seed
    )
    return np.asarray(found.x)


def _descend_torchzero(search: Search, start: np.ndarray) -> None:
    """Make BFGS steps on central differences until x no longer moves; torchzero takes no bounds."""
    import torch
    import torchzero

    x = torch.nn.Parameter(torch.from_numpy(start.copy()))
    modules = torchzero.m
    optimizer = torchzero.Optimizer([x], modules.FDM(), modules.BFGS(), modules.Backtracking())
    while True:
        before = x.detach().clone()
        optimizer.step(lambda backward=True: torch.tensor(search.f(x.detach().numpy()), dtype=x.dtype))
        if torch.equal(before, x.detach()) or not bool(torch.isfinite(x).all()):
            return


TORCHZERO = restarted(_descend_torchzero)
