"""`minimize`: Algorithm 1 of the paper for anyone with a function and a start."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any

import numpy as np

from zo_gym.auto import AUTO, PORTFOLIO, choose
from zo_gym.baselines import BASELINES
from zo_gym.baselines.logged_run import run_logged
from zo_gym.baselines.start import Start
from zo_gym.checks import check_flag, check_smoothing
from zo_gym.errors import DivergenceError, ObjectiveError
from zo_gym.formulation import Formulation, formulate, with_arguments
from zo_gym.interruption import as_keyboard_interrupts
from zo_gym.methods import build, require_method
from zo_gym.oracle import OnFailure, Oracle
from zo_gym.portfolio.conversation import ask_portfolio_run
from zo_gym.problem import Problem
from zo_gym.registry import refuse, reject_unknown
from zo_gym.result import Progress, Result, Status
from zo_gym.rng import direction_generator, make_generator, seed_sequence
from zo_gym.run import Moment, answer, run
from zo_gym.run_log import RunLog, Stops
from zo_gym.step import cost


def minimize(
    fun: Callable[..., Any] | Problem | str,
    x0: Any = None,
    *,
    args: Sequence[Any] = (),
    method: str = AUTO,
    budget: int = 5000,
    bounds: Any = None,
    log_scaled: Any = False,
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
    ftol: float | None = None,
    xtol: float | None = None,
    max_seconds: float | None = None,
    callback: Callable[[Progress], Any] | None = None,
    seed: int | None = None,
    batched: bool = False,
    reevaluate: bool = False,
    sharpness: float | None = None,
    composite: bool = False,
    noise_std: float = 0.0,
    on_failure: OnFailure = "raise",
    executor: Executor | None = None,
    **unknown: Any,
) -> Result:
    """Minimise f from values alone.

    Baselines (see `zo_gym.baselines`) do not define iterates alike, so whatever is said of steps and iterates
    means, for a baseline, batches and points: `x` is the best point evaluated, `trace` has one entry per batch.

    Args:
        fun: f(x, *args) -> a number; or with `batched` f(X, *args), X (m, d) -> (m,); or a `Problem` of size 1; or the
            name of one, e.g. "rosenbrock", or "mnist_attack[3]" for one instance of several. On CUDA, torch rounds
            convolutions of float32 to TF32 by default, which drowns small differences: set
            torch.backends.cudnn.conv.fp32_precision = "ieee".
        x0: Start: a number, a list of numbers, an array or tensor of any shape, a dict or list of these, or a torch
            module (its parameters, by name); f, the callback and the result see the same form. A problem has its own
            where this is None, and takes (d,) instead. Steps are computed in float64 whatever the dtype of x0.
        args: Further arguments of f.
        bounds: What scipy takes: a pair (least, largest) for each coordinate, None where there is no bound, or
            `scipy.optimize.Bounds`; one pair serves all. f is never queried outside. Equal bounds fix a coordinate. A
            coordinate with two bounds moves in shares of its range: then `smoothing`, `learning_rate` and `xtol` are
            such shares, too.
        log_scaled: True for coordinates > 0 that matter by their order of magnitude, e.g. a learning rate: one bool, or
            one for each.
        method: "auto" chooses (`zo_gym.auto.choose`), and the message says what and why: "portfolio", which finds out
            what kind of function it faces (`zo_gym.portfolio`), unless gradients are too dear or one of the following
            arguments asks for a method that takes it. Or a key of `zo_gym.METHODS` or `zo_gym.BASELINES`.
            "true-gradient" needs a problem with a gradient, whose evaluations are not counted.
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
        ftol: Stop where the least f has fallen by at most this within the last 20 + 10 d queries, in units of f.
        xtol: Stop where no coordinate of the best x has moved by more than this within them, in units of x.
        max_seconds: Begin no step after so much wall time.
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
        **unknown: Refused, with the name that was meant.

    Returns:
        The result; `nfev` counts every query. `status` and `message` say why the run ended, and `success` whether it
        ended as it was asked to and found a better point than x0. On Ctrl-C, SIGTERM or SIGHUP, and where a fixed step
        size lets f explode, it is the result so far.

    Raises:
        TypeError, ValueError: An argument is not as described, does not go with the method, or the budget is too small
            for one step.
        ImportError: The method needs a library that is not installed.
        ObjectiveError: f raised, or returned no finite real number; `.result` holds the best point until then.

    References: Algorithm 1 of the paper and Nesterov and Spokoiny (2017) for the methods with random directions; the
    parts of `zo_gym.portfolio` name their own.
    """
    _check(method, callback, options, unknown)
    start_seed, noise_seed, direction_seed = seed_sequence(seed).generate_state(3).tolist()
    given = {"bounds": bounds, "log_scaled": log_scaled, "batched": batched, "executor": executor}
    given["catch"] = on_failure != "raise"
    stated = formulate(with_arguments(fun, args), x0, partial(make_generator, start_seed), **given)
    noise = [make_generator(noise_seed, stated.problem.device)]
    oracle = Oracle(stated.problem, budget=budget, noise_std=noise_std, generators=noise, on_failure=on_failure)
    stops = Stops(target, ftol, xtol, max_seconds, window=20 + 10 * stated.problem.dim)
    log = RunLog(oracle, stops, callback, stated.export)
    numbers = {"learning_rate": learning_rate, "num_directions": num_directions, "smoothing": smoothing}
    parts = {"sampler": sampler, "estimator": estimator, "gradient_model": gradient_model, "update": update}
    parts |= {"weights": weights, "sharpness": sharpness}
    refused = parts | {"reevaluate": reevaluate or None, "composite": composite or None}
    if method == AUTO:
        asked = refused | numbers | {"noise_std": oracle.noise_std or None}
        method, log.why = choose(stated.problem.dim, oracle.budget or 0, asked)
    try:
        with as_keyboard_interrupts():
            if method == PORTFOLIO:
                return _run_portfolio(log, stated, direction_seed, refused | numbers)
            if method in BASELINES:
                begin = Start(stated.start, stated.box, stated.coarsest)
                return run_logged(log, method, begin, direction_seed, numbers, options or {}, refused)
            return _run_method(log, method, stated, direction_seed, numbers | parts, composite, reevaluate)
    # Whatever ends the run from outside, the best point that it has found is not lost.
    except DivergenceError:
        return log.result(Status.DIVERGED)
    except ObjectiveError as error:
        error.result = None if log.best is None else log.result(Status.FAILED, str(error))
        raise
    except KeyboardInterrupt:
        if log.best is None:
            raise
        return log.result(Status.INTERRUPTED)


def _check(method: str, callback: Any, options: Any, unknown: Mapping[str, Any]) -> None:
    """Raise for arguments that are not what `minimize` describes."""
    if unknown:
        reject_unknown(unknown, inspect.signature(minimize).parameters.keys() - {"unknown"}, "minimize()")
    require_method(method, dict.fromkeys([AUTO, PORTFOLIO, *BASELINES]))
    if not isinstance(options, (Mapping, type(None))):
        raise TypeError(f"options must be a dict of keywords, got {options!r:.80}.")
    if options and method not in BASELINES:
        raise TypeError(
            f"options= are for zo_gym.BASELINES, and method '{method}' is not one, got {options!r}. Drop it."
        )
    if not (callback is None or callable(callback)):
        raise TypeError(f"callback must be a function of a Progress, got {callback!r:.80}. Pass a function, or None.")


def _run_method(
    log: RunLog,
    method: str,
    stated: Formulation,
    seed: int,
    parts: Mapping[str, Any],
    composite: bool,
    reevaluate: bool,
) -> Result:
    """Run a method of `METHODS` until the budget, the target or the callback ends it."""
    problem, oracle = stated.problem, log.oracle
    mu = check_smoothing(parts["smoothing"], stated.coarsest, problem.dim)
    log.uses_last = check_flag("reevaluate", reevaluate)
    if composite and stated.box is not None:
        raise ValueError("composite=True brings bounds of its own, got bounds= or log_scaled=, too. Drop one of them.")
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
    log.may_diverge = chosen.update.judge is None
    generators = [direction_generator(np.random.SeedSequence(seed), problem.device)]
    oracle.require_step(cost(chosen, chosen.num_directions, problem.dim, reevaluate=reevaluate))
    moments = run(
        oracle,
        chosen,
        stated.start[None],
        generators,
        smoothing=mu,
        composite=composite,
        box=stated.box,
        reevaluate=reevaluate,
    )
    return _follow(log, moments)


def _run_portfolio(log: RunLog, stated: Formulation, seed: int, refused: Mapping[str, Any]) -> Result:
    """Run the portfolio until the budget, the target or the callback ends it."""
    refuse(refused, f"method '{PORTFOLIO}' is complete")
    log.oracle.require_step(0)
    conversation = ask_portfolio_run(
        stated.start,
        np.random.SeedSequence(seed),
        box=stated.box,
        coarsest=stated.coarsest,
        fits=log.oracle.fits,
    )
    return _follow(log, answer(log.oracle, conversation))


def _follow(log: RunLog, moments: Iterator[Moment]) -> Result:
    for moment in moments:
        at = moment.iterate
        status = log.add(at.x[0], at.fx.item(), at.best_x[0], at.best_f.item())
        if status is not None:
            return log.result(status)
    return log.result(Status.BUDGET)
