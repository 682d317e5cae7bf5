"""One batched zeroth-order step: the only place where x moves.

`ask_step` is the step with the oracle left out: a generator that yields the points it wants evaluated and is sent
their values. `step` answers it from an oracle; `zo_gym.Optimizer` hands the same questions to the user.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from zo_gym.base import Estimate, Estimator, Iterate, Known, KnownHere, Sampler, State, Step, UpdateRule
from zo_gym.checks import check_positive
from zo_gym.oracle import OnFailure, Oracle, worst_case

Questions = Generator[Tensor, Tensor, "Step"]
"""Yields points (B, m, d), is sent values (B, m), returns the finished step."""


def begin(x: Tensor, fx: Tensor, rule: UpdateRule) -> Iterate:
    """The iterate at the start x (B, d) with values fx (B,)."""
    return Iterate(x, fx, x, fx, rule.init(x))


def require_smoothing(smoothing: float, dtype: torch.dtype) -> float:
    """mu, if it is positive and not lost in the rounding of x.

    Raises:
        ValueError: It is not.
    """
    smoothing = check_positive("smoothing", smoothing)
    least = 8 * torch.finfo(dtype).eps
    if smoothing < least:
        raise ValueError(
            f"smoothing must be at least {least:.1e} for {dtype}, got {smoothing}: smaller differences are rounding "
            "noise. Use a larger smoothing, or x0 in float64."
        )
    return smoothing


def require_budget(budget: int, step_cost: int, on_failure: OnFailure) -> None:
    """Raise unless the budget holds the start (1 query) and one step.

    Raises:
        TypeError: It is not an integer.
        ValueError: It is too small.
    """
    if isinstance(budget, bool) or not isinstance(budget, (int, np.integer)):
        raise TypeError(f"budget must be an integer number of queries, got {budget!r}.")
    least = worst_case(1 + step_cost, on_failure)
    if budget < least:
        retries = ", all of them retried" if on_failure == "retry" else ""
        raise ValueError(
            f"budget must be at least {least} queries (1 for the start, {step_cost} for one step{retries}), "
            f"got {budget}. Raise budget, or lower num_directions."
        )


def cost(estimator: Estimator, num_directions: int, dim: int, *, probe: bool = False, reevaluate: bool = False) -> int:
    """Queries a row spends on one step: the estimate's, 1 for f(x'), + 1 with a probe, + 1 to re-evaluate f(x)."""
    return estimator.num_queries(num_directions, dim) + 1 + probe + reevaluate


class Refined(NamedTuple):
    """What a sampler's memory makes of an estimate."""

    gradient: Tensor
    """A better g, (B, d)."""
    memory: State
    """What to remember."""
    known: KnownHere | None
    """What is taken for known by now."""
    field: Callable[[Tensor], Tensor] | None
    """As of `Estimate`."""


Refine = Callable[[Tensor, Tensor, Estimate], Refined]
"""x (B, d), directions (B, q, d), estimate -> `Sampler.refine`, `Sampler.infer` and `Sampler.field` at a state."""


def refinement(sampler: Sampler, state: State) -> Refine | None:
    """What the sampler's memory makes of estimates at this state, for `step`."""
    refine, infer, field = sampler.refine, sampler.infer, sampler.field
    if refine is None:
        return None

    def refined(x: Tensor, directions: Tensor, estimate: Estimate) -> Refined:
        g, memory = refine(state, x, directions, estimate)
        known = None if infer is None else infer(memory)
        if field is None or g is estimate.gradient:  # left as it is: memory had no say in it
            return Refined(g, memory, known, None)
        return Refined(g, memory, known, partial(field, memory))

    return refined


def observed(sampler: Sampler, state: State, done: Step) -> State:
    """The sampler's state after the step, which began at this state."""
    return sampler.observe(state if done.memory is None else done.memory, done)


def known_here(known: Known, instances: Tensor) -> KnownHere:
    """The known part for rows that face these instances, int64 (B,)."""
    vertex, least = known.vertex, known.least
    return KnownHere(
        lambda points: known.value(points, instances),
        lambda x, g: known.subgradient(x, g, instances),
        lambda x, target, g: known.land(x, target, g, instances),
        None
        if vertex is None or least is None
        else lambda x, part, g, more: vertex(x, part + more - least, g, instances),
    )


def ask_step(
    iterate: Iterate,
    directions: Tensor,
    estimator: Estimator,
    rule: UpdateRule,
    smoothing: float,
    probe: Tensor | None = None,
    reevaluate: bool = False,
    refine: Refine | None = None,
    known: KnownHere | None = None,
) -> Questions:
    """One step as a conversation; see `step` for the arguments."""
    x, fx, best_x, best_f, rule_state = iterate
    if estimator.prepare is not None:
        directions = estimator.prepare(directions)
    points = estimator.points(x, directions, smoothing)  # (B, m, d)
    m = points.shape[1]
    extra = []
    if probe is not None:
        extra.append(x + smoothing * probe)
    if reevaluate:
        extra.append(x)
    if extra:
        points = torch.cat([points, torch.stack(extra, dim=1)], dim=1)
    values = (yield points) if points.shape[1] else points.new_empty(points.shape[:2])
    echo = None
    if reevaluate:
        echo, fx = values[:, -1] - fx, values[:, -1]
    probe_slope = None if probe is None else (values[:, m] - fx) / smoothing
    probed = values[:, :m] if extra else values
    if known is None:
        estimate = estimator.combine(probed, fx, directions, smoothing)
    else:
        part = known.value(torch.cat([points[:, :m], x.unsqueeze(1)], dim=1))  # (B, m + 1)
        here = part[:, -1]
        estimate = estimator.combine(probed - part[:, :-1], fx - here, directions, smoothing)
    memory = None
    if refine is not None:
        g, memory, inferred, field = refine(x, directions, estimate)
        estimate = estimate._replace(gradient=g, gain=g.square().sum(1), field=field)
        if known is None and inferred is not None:
            known, here = inferred, inferred.value(x.unsqueeze(1)).squeeze(1)
    unknown = estimate.gradient
    if known is not None:
        estimate = _with_known(estimate, known, x, fx - here)

    x_new, rule_state = rule.propose(rule_state, x, fx, estimate)
    if known is not None:
        x_new = known.land(x, x_new, unknown)
    f_new = (yield x_new.unsqueeze(1)).squeeze(1)
    trial, change = x_new - x, f_new - fx
    kept = None
    if rule.judge is not None:
        kept, rule_state = rule.judge(rule_state, fx, f_new, estimate)
        x_new = torch.where(kept.unsqueeze(1), x_new, x)
        f_new = torch.where(kept, f_new, fx)
    better = f_new < best_f
    best_x = torch.where(better.unsqueeze(1), x_new, best_x)
    best_f = torch.where(better, f_new, best_f)
    arrived = Iterate(x_new, f_new, best_x, best_f, rule_state)
    return Step(arrived, estimate, directions, unknown, trial, change, echo, probe_slope, kept, memory)


def _with_known(estimate: Estimate, known: KnownHere, x: Tensor, part: Tensor) -> Estimate:
    """The estimate of the unknown part, which is `part` (B,) at x (B, d), and of the known one together."""
    unknown, of_unknown = estimate.gradient, estimate.field
    g = known.subgradient(x, unknown)
    vertex = None if known.vertex is None else partial(known.vertex, x, part, unknown)
    field = None if of_unknown is None else lambda y: known.subgradient(y, of_unknown(y))
    return estimate._replace(gradient=g, gain=g.square().sum(1), vertex=vertex, field=field)


def step(
    oracle: Oracle,
    iterate: Iterate,
    directions: Tensor,
    estimator: Estimator,
    rule: UpdateRule,
    smoothing: float,
    *,
    probe: Tensor | None = None,
    reevaluate: bool = False,
    refine: Refine | None = None,
    composite: bool = False,
    rows: np.ndarray | None = None,
    only: np.ndarray | None = None,
) -> Step:
    """Estimate the gradient along the directions, move, and evaluate f where the move led.

    Args:
        oracle: Answers and counts the queries.
        iterate: Where the runs stand.
        directions: u, (B, q, d); q = 0 asks for f(x') alone, where `refine` knows g.
        estimator: How the values become g.
        rule: How g becomes a move.
        smoothing: mu > 0.
        probe: A further direction (B, d) whose slope is measured but does not enter g (Algorithm 2, line 9).
        reevaluate: Query f(x) anew instead of using the cached value: for noisy f.
        refine: What the sampler's memory makes of the estimate.
        composite: Take the problem's known part exactly: slopes are of the unknown part, g is the steepest feasible
            slope of both, and x' stays in the box. The queries are the same. No effect where nothing is known.
        rows: Which of the oracle's runs these are; None for all.
        only: Where all runs are here: ask f for these alone. What comes out for the others means nothing.

    Returns:
        The step. Costs `cost(...)` queries per row; f(x') is cached as the next step's f(x).

    Raises:
        BudgetError: The step needs more queries than are left; x has not moved.
        ObjectiveError: f failed.
    """
    known = oracle.problem.known if composite else None
    here = None if known is None else known_here(known, oracle.instances_of(rows))
    questions = ask_step(iterate, directions, estimator, rule, smoothing, probe, reevaluate, refine, here)
    points = next(questions)
    while True:
        try:
            points = questions.send(oracle(points, rows) if only is None else _asked(oracle, points, only))
        except StopIteration as finished:
            return finished.value


def _asked(oracle: Oracle, points: Tensor, only: np.ndarray) -> Tensor:
    """Values (B, m) at points (B, m, d): f's in these rows, 0 in the others."""
    index = torch.from_numpy(only).to(points.device)
    values = oracle(points[index], only)
    return values.new_zeros(points.shape[:2]).index_copy(0, index, values)
