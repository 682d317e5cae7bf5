"""One batched zeroth-order step: the only place where x moves.

`ask_step` leaves the oracle out: it is a generator that yields the points to evaluate and is sent their values. `step`
answers it from an oracle, `zo_gym.run` answers it for whole runs, `zo_gym.Optimizer` hands the questions to the user,
and `zo_gym.meta.differentiable_run` answers with values that carry derivatives.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from zo_gym.base import Estimate, Estimator, GradientModel, Iterate, Method, RunState, State, Step
from zo_gym.composite.term import RowTerm
from zo_gym.oracle import Oracle
from zo_gym.problem import Generators

Questions = Generator[Tensor, Tensor, Step]
"""Yields points (B, m, d), is sent values (B, m), returns the finished step."""


def start(method: Method, x: Tensor, fx: Tensor) -> RunState:
    """Return the state of runs at their start x (B, d) with values fx (B,)."""
    iterate = Iterate(x, fx, x, fx, method.update.init(x))
    return RunState(
        iterate,
        sampler=() if method.sampler is None else method.sampler.init(x),
        model=None if method.model is None else method.model.init(x),
    )


def num_directions(method: Method, state: RunState) -> np.ndarray:
    """Return how many directions each row probes in its next step, int64 (B,)."""
    if method.model is None or method.model.num_probes is None:
        return np.full(len(state.iterate.x), method.num_directions)
    counts: np.ndarray = method.model.num_probes(state.model).cpu().numpy()
    return counts


def cost(method: Method, q: int, dim: int, *, probe: bool = False, reevaluate: bool = False) -> int:
    """Count the queries that a row spends on one step with q directions; raise ValueError where q is too large.

    These are the estimate's, 1 for f(x'), 1 more with an extra probe, and 1 more to evaluate f(x) again.
    """
    return method.estimator.num_queries(q, dim) + 1 + probe + reevaluate


def sample(method: Method, state: RunState, generators: Generators) -> tuple[Tensor, RunState]:
    """Draw the directions of the next step, (B, q, d). Costs no queries."""
    x, q = state.iterate.x, method.num_directions
    if method.sampler is not None:
        directions, memory = method.sampler.sample(state.sampler, x, q, generators)
        return directions, state._replace(sampler=memory)
    assert method.model is not None  # Method sees to it
    directions, memory = method.model.probe(state.model, x, q, generators)
    return directions, state._replace(model=memory)


def observe(method: Method, state: RunState, done: Step) -> RunState:
    """Return the state after a step that began at this state."""
    memory, model = state.sampler, state.model
    if method.sampler is not None:
        memory = method.sampler.observe(memory, done)
    if method.model is not None:
        model = method.model.observe(done.model, done)
    return RunState(done.iterate, memory, model)


def ask_step(
    method: Method,
    state: RunState,
    directions: Tensor,
    smoothing: float,
    *,
    probe: Tensor | None = None,
    reevaluate: bool = False,
    term: RowTerm | None = None,
) -> Questions:
    """Probe, estimate, correct, move: one step as a conversation.

    Args:
        method: Its estimator, gradient model and update rule.
        state: Where the runs are.
        directions: u, (B, q, d). q = 0 asks for f(x') alone, where a gradient model predicts g.
        smoothing: mu > 0.
        probe: A further direction (B, d) whose slope is measured but does not enter g (Algorithm 2, line 9).
        reevaluate: Query f(x) again instead of using the cached value: for noisy f.
        term: The composite term, taken exactly: slopes are of the black-box part, g is the steepest feasible slope of
            both, and x' stays in the box, at no further query. None: all of f is a black box.
    """
    estimator, rule = method.estimator, method.update
    x, fx = state.iterate.x, state.iterate.fx
    points, directions = _probes(estimator, x, directions, smoothing, term)
    m = points.shape[1]
    extra = [*([] if probe is None else [x + smoothing * probe]), *([x] if reevaluate else [])]
    asked = torch.cat([points, torch.stack(extra, dim=1)], dim=1) if extra else points
    values = (yield asked) if asked.shape[1] else asked.new_empty(asked.shape[:2])
    difference, fx = (values[:, -1] - fx, values[:, -1]) if reevaluate else (None, fx)
    probe_slope = None if probe is None else (values[:, m] - fx) / smoothing

    values = values[:, :m] if extra else values
    estimate, black_box_gradient, term, model = _estimate(
        method, state, directions, smoothing, points, values, fx, term
    )
    x_new, rule_state = rule.propose(state.iterate.rule_state, x, fx, estimate)
    if term is not None:
        x_new = term.project_step(x, x_new, black_box_gradient)
    f_new = (yield x_new.unsqueeze(1)).squeeze(1)
    proposed, change = x_new - x, f_new - fx
    accepted = None
    if rule.judge is not None:
        accepted, rule_state = rule.judge(rule_state, fx, f_new, estimate)
        x_new = torch.where(accepted.unsqueeze(1), x_new, x)
        f_new = torch.where(accepted, f_new, fx)
    return Step(
        iterate=_arrive(state.iterate, x_new, f_new, rule_state),
        estimate=estimate,
        directions=directions,
        black_box_gradient=black_box_gradient,
        proposed_step=proposed,
        change=change,
        reevaluation_difference=difference,
        probe_slope=probe_slope,
        accepted=accepted,
        model=model,
    )


def _probes(
    estimator: Estimator, x: Tensor, directions: Tensor, smoothing: float, term: RowTerm | None
) -> tuple[Tensor, Tensor]:
    """Return the points to query, (B, m, d), inside the bounds, and the directions (B, q, d) that they probe."""
    if estimator.prepare is not None:
        directions = estimator.prepare(directions)
    if term is None or term.reflect is None or term.inside is None:
        return estimator.points(x, directions, smoothing), directions
    points = term.inside(estimator.points(x, term.reflect(x, directions, smoothing), smoothing))
    return points, estimator.probed(x, points, smoothing)


def _estimate(
    method: Method,
    state: RunState,
    directions: Tensor,
    smoothing: float,
    points: Tensor,
    values: Tensor,
    fx: Tensor,
    term: RowTerm | None,
) -> tuple[Estimate, Tensor, RowTerm | None, State]:
    """Turn the values (B, m) at the points (B, m, d) and f(x) (B,) into the estimate that the rule follows.

    Return it, its black-box part's gradient (B, d), the composite term in use, and the gradient model's state.
    """
    x, model = state.iterate.x, None
    if term is not None and term.value is not None:
        part = term.value(torch.cat([points, x.unsqueeze(1)], dim=1))  # (B, m + 1)
        values, fx = values - part[:, :-1], fx - part[:, -1]
    estimate = method.estimator.combine(values, fx, directions, smoothing)
    if method.model is not None:
        estimate, model, estimated_term = _corrected(method.model, state, directions, estimate)
        if term is None and estimated_term is not None:
            assert estimated_term.value is not None
            term, fx = estimated_term, fx - estimated_term.value(x.unsqueeze(1)).squeeze(1)
    whole = estimate if term is None else _with_term(estimate, term, x, fx)
    of_f = whole if term is not None and term.value is None else estimate
    return whole, of_f.gradient, term, model


def _arrive(before: Iterate, x: Tensor, fx: Tensor, rule_state: State) -> Iterate:
    """Return the iterates at x (B, d) with values fx (B,), and the best ones since the start."""
    better = fx < before.best_f
    best_x = torch.where(better.unsqueeze(1), x, before.best_x)
    return Iterate(x, fx, best_x, torch.where(better, fx, before.best_f), rule_state)


def _corrected(
    model: GradientModel, state: RunState, directions: Tensor, estimate: Estimate
) -> tuple[Estimate, State, RowTerm | None]:
    """Let the gradient model correct the estimate; return it, the model's state and the term that it estimates."""
    g, memory = model.correct(state.model, state.iterate.x, directions, estimate)
    predicts = model.gradient_at is not None and g is not estimate.gradient  # else the model left g as it was
    gradient_at = partial(model.gradient_at, memory) if model.gradient_at is not None and predicts else None
    term = None if model.composite_term is None else model.composite_term(memory)
    return estimate._replace(gradient=g, gain=g.square().sum(1), gradient_at=gradient_at), memory, term


def _with_term(estimate: Estimate, term: RowTerm, x: Tensor, black_box_fx: Tensor) -> Estimate:
    """Add the term to an estimate of the black-box part, whose value at x (B, d) is `black_box_fx` (B,)."""
    black_box, predict = estimate.gradient, estimate.gradient_at
    g = term.subgradient(x, black_box)
    return estimate._replace(
        gradient=g,
        gain=g.square().sum(1),
        minimise_model=None
        if term.minimise_model is None
        else partial(term.minimise_model, x, black_box_fx, black_box),
        gradient_at=None if predict is None else lambda y: term.subgradient(y, predict(y)),
        inside=term.inside,
    )


def step(
    oracle: Oracle,
    method: Method,
    state: RunState,
    directions: Tensor,
    smoothing: float,
    *,
    probe: Tensor | None = None,
    reevaluate: bool = False,
    rows: np.ndarray | None = None,
) -> Step:
    """Run `ask_step` with the values of an oracle; `rows` are the oracle's runs that these are, None for all.

    Costs `cost(...)` queries per row; f(x') is cached as the next step's f(x).

    Raises:
        BudgetError: The step needs more queries than are left; x has not moved.
        ObjectiveError: f failed.
    """
    questions = ask_step(method, state, directions, smoothing, probe=probe, reevaluate=reevaluate)
    points = next(questions)
    while True:
        try:
            points = questions.send(oracle(points, rows))
        except StopIteration as finished:
            done: Step = finished.value
            return done
