"""`minimize`: Algorithm 1 of the paper for anyone with a function and a start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any

import numpy as np
from torch import Tensor

from zo_gym.baselines import BASELINES, run_baseline
from zo_gym.checks import check_flag, check_number, check_smoothing
from zo_gym.errors import BudgetError, ObjectiveError
from zo_gym.methods import DEFAULT_METHOD, build, require_method
from zo_gym.oracle import OnFailure, Oracle
from zo_gym.problem import Problem
from zo_gym.problems import as_single_problem
from zo_gym.result import Progress, Result
from zo_gym.rng import direction_generator, make_generator, seed_sequence
from zo_gym.run import run
from zo_gym.run_log import RunLog
from zo_gym.step import cost


def minimize(
    fun: Callable[[Any], Any] | Problem | str,
    x0: Any = None,
    *,
    method: str = DEFAULT_METHOD,
    budget: int = 5000,
    learning_rate: float | None = None,
    smoothing: float | None = None,
    num_directions: int | None = None,
    sampler: Any = None,
    estimator: Any = None,
    gradient_model: Any = None,
    update: Any = None,
    weights: Any = None,
    options: Mapping[str, Any] | None = None,
    target: float | None = None,
    callback: Callable[[Progress], Any] | None = None,
    seed: int | None = None,
    batched: bool = False,
    reevaluate: bool = False,
    sharpness: float | None = None,
    composite: bool = False,
    noise_std: float = 0.0,
    on_failure: OnFailure = "raise",
    executor: Executor | None = None,
) -> Result:
    """Minimise f from values alone.

    Baselines (see `zo_gym.baselines`) do not define iterates alike, so whatever is said of steps and iterates
    means, for a baseline, batches and points: `x` is the best point evaluated, `trace` has one entry per batch.

    Args:
        fun: f(x), x (d,) -> a number; or with `batched` f(X), X (m, d) -> (m,); or a `Problem` of size 1; or the name
            of one, e.g. "rosenbrock", or "mnist_attack[3]" for one instance of several. f receives numpy arrays, or
            tensors where x0 is a tensor. On CUDA, torch rounds convolutions of float32 to TF32 by default, which
            drowns small differences: set torch.backends.cudnn.conv.fp32_precision = "ieee".
        x0: Start (d,); a problem has its own where this is None.
        method: A key of `zo_gym.METHODS` or `zo_gym.BASELINES`. The default models the gradient from remembered slopes
            and steps within a trust region; it needs no tuning. "true-gradient" needs a problem with a gradient, whose
            evaluations are not counted.
        budget: Queries (evaluations of f at one point) at most. A step that might not fit is not begun.
        learning_rate: eta; None for the method's default.
        smoothing: mu > 0, the finite difference's length, in units of x; None for 0.01 or the baseline's own.
        num_directions: q per step; None for the method's default. They are evaluated as one batch: memory O(q d).
        sampler: Replaces the method's: a key of `SAMPLERS` or a `Sampler`.
        estimator: Replaces the method's: a key of `ESTIMATORS` or an `Estimator`.
        gradient_model: Replaces the method's: a key of `GRADIENT_MODELS` or a `GradientModel`.
        update: Replaces the method's: a key of `RULES` or an `UpdateRule`.
        weights: Of method "zo-lstm": a file that `zo_gym.meta.train` wrote, or what it returned. Of "zo-rl" and
            "pretrained": the folder of a run of train.py, or of a policy.
        options: Of a baseline: further keywords, e.g. {"sigma0": 1.0} for "cma-es".
        target: Stop as soon as an iterate has f <= target.
        callback: Called with a `Progress` after every step; True or StopIteration from it ends the run.
        seed: Of directions, random starts and noise; None for a fresh one. Equal seeds give equal runs.
        batched: `fun` takes all points of a step at once.
        reevaluate: f is noisy: query f(x) again in each step and return the last iterate, not the luckiest. No baseline
            does this.
        sharpness: p >= 1: how much of a move goes to the larger coordinates of g; None for 1, all alike.
        composite: Take the composite term of the problem exactly, at no query: slopes are of the black-box part alone,
            moves stay in the box. For a `Problem` that declares one, e.g. "mnist_attack[0]".
        noise_std: Standard deviation of noise to add to f, for experiments.
        on_failure: See `zo_gym.Oracle`: what NaN, infinity or (unless "raise") an exception in a pointwise f means.
        executor: A `concurrent.futures.Executor` that evaluates a pointwise f in parallel.

    Returns:
        The result; `nfev` counts every query. On Ctrl-C the result so far is returned with `success` False.

    Raises:
        TypeError, ValueError: An argument is not as described, does not go with the method, or the budget is too small
            for one step.
        ImportError: The method needs a library that is not installed.
        ObjectiveError: f raised, or returned no finite real number; `.result` holds the best point until then.

    Reference: Algorithm 1 of the paper; Nesterov and Spokoiny (2017).
    """
    problem = as_single_problem(fun, x0=x0, batched=batched, catch=on_failure != "raise", executor=executor)
    require_method(method, BASELINES)
    _check(method, target, callback, options)
    start_seed, noise_seed, direction_seed = seed_sequence(seed).generate_state(3).tolist()
    noise = [make_generator(noise_seed, problem.device)]
    start = problem.start(make_generator(start_seed, problem.device))
    oracle = Oracle(problem, budget=budget, noise_std=noise_std, generators=noise, on_failure=on_failure)
    log = RunLog(oracle, target, callback, as_numpy=not isinstance(x0, Tensor))
    numbers = {"learning_rate": learning_rate, "num_directions": num_directions, "smoothing": smoothing}
    parts = {"sampler": sampler, "estimator": estimator, "gradient_model": gradient_model, "update": update}
    parts |= {"weights": weights, "sharpness": sharpness}
    try:
        if method in BASELINES:
            refused = parts | {"reevaluate": reevaluate or None, "composite": composite or None}
            return _run_baseline(log, method, start, direction_seed, numbers, options or {}, refused)
        return _run_method(log, method, start, direction_seed, numbers | parts, composite, reevaluate)
    # Whatever ends the run from outside, the best point that it has found is not lost.
    except ObjectiveError as error:
        error.result = None if log.best is None else log.result(False, str(error))
        raise
    except KeyboardInterrupt:
        if log.best is None:
            raise
        return log.result(False, f"Interrupted after {log.nfev} queries; this is the best so far.")


def _check(method: str, target: Any, callback: Any, options: Any) -> None:
    """Raise for arguments that are not what `minimize` describes."""
    if target is not None:
        check_number("target", target)
    if not isinstance(options, (Mapping, type(None))):
        raise TypeError(f"options must be a dict of keywords, got {options!r:.80}.")
    if options and method not in BASELINES:
        raise TypeError(
            f"options= are for zo_gym.BASELINES, and method '{method}' is not one, got {options!r}. Drop it."
        )
    if not (callback is None or callable(callback)):
        raise TypeError(f"callback must be a function of a Progress, got {callback!r:.80}. Pass a function, or None.")


class _Stop(Exception):  # noqa: N818, no error
    """Ends a baseline's run from inside its call of f; its text says why."""


def _run_method(
    log: RunLog,
    method: str,
    start: Tensor,
    seed: int,
    parts: Mapping[str, Any],
    composite: bool,
    reevaluate: bool,
) -> Result:
    """Run a method of `METHODS` until the budget, the target or the callback ends it."""
    problem, oracle = log.oracle.problem, log.oracle
    mu = check_smoothing(parts["smoothing"], problem.dtype)
    log.uses_last = check_flag("reevaluate", reevaluate)
    if composite and problem.composite is None:
        raise ValueError(f"composite=True needs a composite term, and '{problem.name}' has none. Drop it.")
    chosen = build(
        method,
        problem.dim,
        **{**parts, "smoothing": mu},
        gradient=None if problem.gradient is None else problem.gradients,
        composite=problem.composite if composite else None,
        context=problem.context,
    )
    generators = [direction_generator(np.random.SeedSequence(seed), problem.device)]
    oracle.require_step(cost(chosen, chosen.num_directions, problem.dim, reevaluate=reevaluate))
    for moment in run(
        oracle, chosen, start[None], generators, smoothing=mu, composite=composite, reevaluate=reevaluate
    ):
        at = moment.iterate
        message = log.add(at.x[0], at.fx.item(), at.best_x[0], at.best_f.item())
        if message:
            return log.result(True, message)
    return log.result(True, f"Budget spent: {log.nfev} of {log.oracle.budget} queries.")


def _run_baseline(
    log: RunLog,
    method: str,
    start: Tensor,
    seed: int,
    arguments: Mapping[str, Any],
    options: Mapping[str, Any],
    refused: Mapping[str, Any],
) -> Result:
    """Let a baseline run until it converges, or the budget, the target or the callback ends it."""
    for name, value in refused.items():
        if value is not None:
            raise ValueError(
                f"method '{method}' is a baseline and complete: {name}= is for the methods in zo_gym.METHODS, got "
                f"{value!r:.80}. Drop it."
            )
    log.oracle.require_step(0)
    given = {name: value for name, value in arguments.items() if value is not None}
    for name in given.keys() & options.keys():
        raise TypeError(f"options= must not repeat an argument, got '{name}' in both. Drop one of the two.")
    given |= {name: value for name, value in options.items() if value is not None}

    def evaluate(points: Tensor) -> Tensor:
        if not log.oracle.fits(len(points))[0]:
            raise BudgetError(f"{len(points)} more queries do not fit.")
        values = log.oracle(points[None])[0]
        least = int(values.argmin())
        x, fun = points[least].clone(), values[least].item()
        message = log.add(x, fun, *(log.best if log.best is not None and fun >= log.best[1] else (x, fun)))
        if message:
            raise _Stop(message)
        return values

    try:
        converged = run_baseline(method, evaluate, start, make_generator(seed, start.device), **given)
    except _Stop as stop:
        return log.result(True, str(stop))
    spent = f"{log.nfev} of {log.oracle.budget} queries."
    return log.result(True, f"Converged after {spent}" if converged else f"Budget spent: {spent}")
