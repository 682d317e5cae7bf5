"""`minimize`: Algorithm 1 of the paper for anyone with a function and a start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
from torch import Tensor

from zo_gym.base import BudgetError, ObjectiveError, Problem, Result, Trace
from zo_gym.checks import check_integer
from zo_gym.methods import build, require_method
from zo_gym.optimizer import Optimizer
from zo_gym.oracle import OnFailure, Oracle, worst_case
from zo_gym.peers import PEERS, run_peer
from zo_gym.problems.resolve import as_problem
from zo_gym.rng import make_generator, seed_sequence
from zo_gym.step import cost, require_budget


class Progress(NamedTuple):
    """What the callback of `minimize` sees after every step (of a peer: after every batch)."""

    x: Any
    """The best iterate so far (d,), a copy; of a peer: the best point."""
    fun: float
    """f there."""
    nfev: int
    """Queries spent."""
    nit: int
    """Steps taken; of a peer: batches evaluated after the start."""


def minimize(
    fun: Callable[[Any], Any] | Problem | str,
    x0: Any = None,
    *,
    method: str = "rand-ada",
    budget: int = 5000,
    learning_rate: float | None = None,
    smoothing: float | None = None,
    num_directions: int | None = None,
    sampler: Any = None,
    estimator: Any = None,
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

    A peer (see `zo_gym.peers`) has no iterates that all peers define alike, so whatever is said of steps and iterates
    means, for a peer, batches and points: `x` is the best point evaluated, `trace` has one entry per batch.

    Args:
        fun: f(x), x (d,) -> a number; or with `batched` f(X), X (m, d) -> (m,); or a `Problem`; or a problem's name.
            f receives numpy arrays, or tensors where x0 is a tensor. On CUDA, torch rounds convolutions of float32 to
            TF32 by default, which drowns small differences: set torch.backends.cudnn.conv.fp32_precision = "ieee".
        x0: Start (d,); a problem has its own where this is None.
        method: A key of `zo_gym.METHODS` or `zo_gym.PEERS`. The default needs no tuning: one random direction and an
            adaptive step. "true-gradient" needs a problem with a gradient, and does not count its evaluations.
        budget: Queries (evaluations of f at one point) at most. A step that might not fit is not begun.
        learning_rate: eta; None for the method's default.
        smoothing: mu > 0, the finite difference's length, in units of x; None for 0.01 or the peer's own.
        num_directions: q per step; None for the method's default. They are evaluated as one batch: memory O(q d).
        sampler: Replaces the method's: a key of `SAMPLERS` or a `Sampler`.
        estimator: Replaces the method's: a key of `ESTIMATORS` or an `Estimator`.
        update: Replaces the method's: a key of `RULES` or an `UpdateRule`.
        weights: Of method "zo-lstm": a file that `zo_gym.meta_train` wrote, or what it returned. Of "zo-rl" and
            "pretrained": the folder of a policy that `python train.py` wrote.
        options: Of a peer: further keywords, e.g. {"sigma0": 1.0} for "cma-es".
        target: Stop as soon as an iterate has f <= target.
        callback: Called with a `Progress` after every step; it stops the run by returning True or raising
            StopIteration.
        seed: Of directions, random starts and noise; None for a fresh one. Same seed, same run.
        batched: `fun` takes all points of a step at once.
        reevaluate: f is noisy: query f(x) anew in each step and return the last iterate, not the luckiest. No
            peer does this.
        sharpness: p >= 1: how much of a move goes to the larger coordinates of g; None for 1, all alike.
        composite: Take the known part of the problem exactly, at no query: slopes are of the unknown part alone, moves
            stay in the box. For a `Problem` that declares one, e.g. "mnist_attack".
        noise_std: Standard deviation of noise to add to f, for experiments.
        on_failure: See `zo_gym.Oracle`: what NaN, infinity or (unless "raise") an exception in a pointwise f means.
        executor: A `concurrent.futures.Executor` that evaluates a pointwise f in parallel.

    Returns:
        The result; `nfev` counts every query. On Ctrl-C the result so far is returned with `success` False.

    Raises:
        TypeError, ValueError: An argument is not as described, does not go with the method, or the budget is too small
            for one step.
        ImportError: The method needs a library that is not installed.
        ObjectiveError: f raised or returned something other than a finite real number; its `.result` holds the best
            point found until then.

    Reference: Algorithm 1 of the paper; Nesterov and Spokoiny (2017).
    """
    errors: Literal["raise", "nan"] = "raise" if on_failure == "raise" else "nan"
    problem = as_problem(fun, x0=x0, batched=batched, errors=errors, executor=executor)
    require_method(method, PEERS)
    start_seed, noise_seed, direction_seed = (int(s) for s in seed_sequence(seed).generate_state(3))
    noise = [make_generator(noise_seed, problem.device)]
    oracle = Oracle(problem, budget=budget, noise_std=noise_std, generators=noise, on_failure=on_failure)
    as_numpy = not isinstance(x0, Tensor)
    parts: dict[str, Any] = {"sampler": sampler, "estimator": estimator, "update": update, "weights": weights}
    numbers: dict[str, Any] = {"learning_rate": learning_rate, "num_directions": num_directions}
    length: dict[str, Any] = {} if smoothing is None else {"smoothing": smoothing}
    if method in PEERS:
        _refuse(
            method, {**parts, "reevaluate": reevaluate or None, "sharpness": sharpness, "composite": composite or None}
        )
        check_integer("budget", budget, int(worst_case(1, on_failure)))
        numbers = {name: value for name, value in numbers.items() if value is not None}
        keywords = dict(**numbers, **length, **(options or {}))
        start = problem.initial(make_generator(start_seed, problem.device))
        generator, found = make_generator(direction_seed, problem.device), _Found(as_numpy)
        peer = partial(run_peer, method, x0=start, generator=generator, **keywords)
        return _guard(found, oracle, lambda: _follow(peer, found, oracle, target, callback))
    if options:
        raise TypeError(f"options= are for zo_gym.PEERS, and method '{method}' is none, got {options!r}. Drop it.")
    if composite and problem.known is None:
        raise ValueError(f"composite=True needs a problem with a known part, and '{problem.name}' has none. Drop it.")
    power: dict[str, Any] = {} if sharpness is None else {"sharpness": sharpness}
    facts: dict[str, Any] = {"gradient": problem.gradient, "known": problem.known if composite else None}
    context = None if problem.context is None else problem.context[None]
    chosen = build(method, problem.dim, **parts, **numbers, **power, **facts, context=context)
    step_cost = cost(chosen.estimator, chosen.num_directions, problem.dim, reevaluate=reevaluate)
    require_budget(budget, step_cost, on_failure)
    optimizer = Optimizer(
        problem.initial(make_generator(start_seed, problem.device)),
        method=chosen,
        reevaluate=reevaluate,
        seed=direction_seed,
        as_numpy=as_numpy,
        known=problem.known if composite else None,
        **length,
    )
    return _guard(optimizer, oracle, lambda: _drive(optimizer, oracle, target, callback))


def _refuse(method: str, parts: dict[str, Any]) -> None:
    """Raise for the first part that a peer was given."""
    for name, value in parts.items():
        if value is not None:
            raise ValueError(
                f"method '{method}' is a whole of its own: {name}= is for the methods in zo_gym.METHODS, got "
                f"{value!r:.80}. Drop it."
            )


@dataclass
class _Found:
    """What a peer has found so far, told as `Optimizer` tells it.

    Attributes:
        as_numpy: Points go out as numpy arrays.
        nfev: Queries spent.
        history: Per batch: queries so far, least f in the batch, least f so far.
        best: The best point (d,).
    """

    as_numpy: bool
    nfev: int = 0
    history: list[tuple[int, float, float]] = field(default_factory=list)
    best: Tensor | None = None

    @property
    def started(self) -> bool:
        """Is f(x0) known?"""
        return self.best is not None

    @property
    def nit(self) -> int:
        """Batches after the start."""
        return len(self.history) - 1

    @property
    def best_x(self) -> Any:
        """The best point, a copy."""
        assert self.best is not None
        return self.best.cpu().numpy().copy() if self.as_numpy else self.best.clone()

    @property
    def best_fun(self) -> float:
        """f at the best point."""
        return self.history[-1][2]

    def record(self, points: Tensor, values: Tensor, nfev: int) -> None:
        """Take note of a batch: points (m, d), values (m,)."""
        least = int(values.argmin())
        value = values[least].item()
        better = self.best is None or value < self.best_fun
        self.history.append((nfev, value, value if better else self.best_fun))
        if better:
            self.best = points[least].clone()
        self.nfev = nfev

    def result(self, success: bool, message: str) -> Result:
        """Where the run stands."""
        trace = Trace(*(np.array(column) for column in zip(*self.history, strict=True)))
        return Result(self.best_x, self.best_fun, self.nfev, self.nit, success, message, trace)


class _Stop(Exception):  # noqa: N818, no error
    """Ends a peer's run from inside its call of f; says why."""


def _follow(
    peer: Callable[..., bool],
    found: _Found,
    oracle: Oracle,
    target: float | None,
    callback: Callable[[Progress], Any] | None,
) -> Result:
    """Let a peer run until it converges, or the budget, the target or the callback ends the run."""

    def evaluate(points: Tensor) -> Tensor:
        if not oracle.fits(len(points))[0]:
            raise BudgetError(f"{len(points)} more queries do not fit.")
        values = oracle(points[None])[0]
        found.record(points, values, int(oracle.queries[0]))
        message = _ended(found, target, callback)
        if message:
            raise _Stop(message)
        return values

    try:
        converged = peer(evaluate=evaluate)
    except _Stop as stop:
        return found.result(True, str(stop))
    spent = f"{found.nfev} of {oracle.budget} queries."
    return found.result(True, f"Converged after {spent}" if converged else f"Budget spent: {spent}")


def _drive(
    optimizer: Optimizer, oracle: Oracle, target: float | None, callback: Callable[[Progress], Any] | None
) -> Result:
    """Answer the optimizer's questions until the budget, the target or the callback ends the run."""
    while True:
        optimizer.advance(oracle)
        message = _ended(optimizer, target, callback)
        if not message and not oracle.fits(optimizer.step_cost)[0]:
            message = f"Budget spent: {optimizer.nfev} of {oracle.budget} queries."
        if message:
            return optimizer.result(True, message)


def _ended(run: Optimizer | _Found, target: float | None, callback: Callable[[Progress], Any] | None) -> str:
    """Why the run should stop here, or nothing."""
    if callback is not None and run.nit > 0 and _stopped(callback, run):
        return "Stopped by the callback."
    return "" if target is None or run.best_fun > target else f"Target reached: f <= {target}."


def _guard(run: Optimizer | _Found, oracle: Oracle, go: Callable[[], Result]) -> Result:
    """`go()`, such that a failure of f or Ctrl-C keeps what was found."""
    try:
        return go()
    except ObjectiveError as error:
        run.nfev = int(oracle.queries[0])  # the queries that failed were made
        if run.started:
            error.result = run.result(False, str(error))
        raise
    except KeyboardInterrupt:
        run.nfev = int(oracle.queries[0])
        if not run.started:
            raise
        return run.result(False, f"Interrupted after {run.nfev} queries; this is the best so far.")


def _stopped(callback: Callable[[Progress], Any], run: Optimizer | _Found) -> bool:
    try:
        answer = callback(Progress(run.best_x, run.best_fun, run.nfev, run.nit))
    except StopIteration:
        return True
    return isinstance(answer, (bool, np.bool_)) and bool(answer)
