"""`minimize`: Algorithm 1 of the paper for anyone with a function and a start."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Literal, NamedTuple

import numpy as np
from torch import Tensor

from zo_gym.base import ObjectiveError, Problem, Result
from zo_gym.methods import build
from zo_gym.optimizer import Optimizer
from zo_gym.oracle import OnFailure, Oracle
from zo_gym.problems.resolve import as_problem
from zo_gym.rng import make_generator, seed_sequence
from zo_gym.step import cost, require_budget


class Progress(NamedTuple):
    """What the callback of `minimize` sees after every step."""

    x: Any
    """The best iterate so far (d,), a copy."""
    fun: float
    """f there."""
    nfev: int
    """Queries spent."""
    nit: int
    """Steps taken."""


def minimize(
    fun: Callable[[Any], Any] | Problem | str,
    x0: Any = None,
    *,
    method: str = "rand-ada",
    budget: int = 5000,
    learning_rate: float | None = None,
    smoothing: float = 0.01,
    num_directions: int | None = None,
    sampler: Any = None,
    estimator: Any = None,
    update: Any = None,
    target: float | None = None,
    callback: Callable[[Progress], Any] | None = None,
    seed: int | None = None,
    batched: bool = False,
    reevaluate: bool = False,
    noise_std: float = 0.0,
    on_failure: OnFailure = "raise",
    executor: Executor | None = None,
) -> Result:
    """Minimise f from values alone.

    Args:
        fun: f(x), x (d,) -> a number; or with `batched` f(X), X (m, d) -> (m,); or a `Problem`; or a problem's name.
            f receives numpy arrays, or tensors where x0 is a tensor.
        x0: Start (d,); a problem has its own where this is None.
        method: A key of `zo_gym.METHODS`. The default needs no tuning: one random direction and an adaptive step.
        budget: Queries (evaluations of f at one point) at most. A step that might not fit is not begun.
        learning_rate: eta; None for the method's default.
        smoothing: mu > 0, the finite difference's length, in units of x.
        num_directions: q per step; None for the method's default. They are evaluated as one batch: memory O(q d).
        sampler: Replaces the method's: a key of `SAMPLERS` or a `Sampler`.
        estimator: Replaces the method's: a key of `ESTIMATORS` or an `Estimator`.
        update: Replaces the method's: a key of `RULES` or an `UpdateRule`.
        target: Stop as soon as an iterate has f <= target.
        callback: Called with a `Progress` after every step; it stops the run by returning True or raising
            StopIteration.
        seed: Of directions, random starts and noise; None for a fresh one. Same seed, same run.
        batched: `fun` takes all points of a step at once.
        reevaluate: f is noisy: query f(x) anew in each step and return the last iterate, not the luckiest.
        noise_std: Standard deviation of noise to add to f, for experiments.
        on_failure: See `zo_gym.Oracle`: what NaN, infinity or (unless "raise") an exception in a pointwise f means.
        executor: A `concurrent.futures.Executor` that evaluates a pointwise f in parallel.

    Returns:
        The result; `nfev` counts every query. On Ctrl-C the result so far is returned with `success` False.

    Raises:
        TypeError, ValueError: An argument is not as described, or the budget is too small for one step.
        ObjectiveError: f raised or returned something other than a finite real number; its `.result` holds the best
            point found until then.

    Reference: Algorithm 1 of the paper; Nesterov and Spokoiny (2017).
    """
    errors: Literal["raise", "nan"] = "raise" if on_failure == "raise" else "nan"
    problem = as_problem(fun, x0=x0, batched=batched, errors=errors, executor=executor)
    chosen = build(
        method,
        problem.dim,
        learning_rate=learning_rate,
        num_directions=num_directions,
        sampler=sampler,
        estimator=estimator,
        update=update,
    )
    step_cost = cost(chosen.estimator, chosen.num_directions, problem.dim, reevaluate=reevaluate)
    require_budget(budget, step_cost, on_failure)
    start_seed, noise_seed, direction_seed = (int(s) for s in seed_sequence(seed).generate_state(3))
    start = problem.initial(make_generator(start_seed, problem.device))
    optimizer = Optimizer(
        start,
        method=chosen,
        smoothing=smoothing,
        reevaluate=reevaluate,
        seed=direction_seed,
        as_numpy=not isinstance(x0, Tensor),
    )
    noise = [make_generator(noise_seed, problem.device)]
    oracle = Oracle(problem, budget=budget, noise_std=noise_std, generators=noise, on_failure=on_failure)
    return _drive(optimizer, oracle, target, callback)


def _drive(
    optimizer: Optimizer, oracle: Oracle, target: float | None, callback: Callable[[Progress], Any] | None
) -> Result:
    """Answer the optimizer's questions until the budget, the target, the callback or Ctrl-C ends the run."""
    try:
        while True:
            optimizer.advance(oracle)
            if callback is not None and optimizer.nit > 0 and _stopped(callback, optimizer):
                return optimizer.result(True, "Stopped by the callback.")
            if target is not None and optimizer.best_fun <= target:
                return optimizer.result(True, f"Target reached: f <= {target}.")
            if not oracle.fits(optimizer.step_cost)[0]:
                return optimizer.result(True, f"Budget spent: {optimizer.nfev} of {oracle.budget} queries.")
    except ObjectiveError as error:
        optimizer.nfev = int(oracle.queries[0])  # the queries that failed were made
        if optimizer.started:
            error.result = optimizer.result(False, str(error))
        raise
    except KeyboardInterrupt:
        optimizer.nfev = int(oracle.queries[0])
        if not optimizer.started:
            raise
        return optimizer.result(False, f"Interrupted after {optimizer.nfev} queries; this is the best so far.")


def _stopped(callback: Callable[[Progress], Any], optimizer: Optimizer) -> bool:
    try:
        answer = callback(Progress(optimizer.best_x, optimizer.best_fun, optimizer.nfev, optimizer.nit))
    except StopIteration:
        return True
    return isinstance(answer, (bool, np.bool_)) and bool(answer)
