"""Algorithm 1 over B rows at once: the same method from B starts, or on B instances, one batched evaluation a round.

`ask_run` is the driver of every method: it repeats `zo_gym.step.ask_step` and leaves the oracle out. `run` answers it
from an oracle, which `minimize` and the benchmarks use; `zo_gym.Optimizer` hands its questions to the user.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from zo_gym.base import Iterate, Method, RunState
from zo_gym.composite.box import box_term
from zo_gym.composite.term import RowTerm
from zo_gym.oracle import Oracle
from zo_gym.problem import Generators
from zo_gym.space import Box
from zo_gym.step import ask_step, cost, num_directions, observe, sample, start
from zo_gym.tree import concatenate, put, take


class Question(NamedTuple):
    """Points to evaluate."""

    points: Tensor
    """(b, m, d)."""
    rows: np.ndarray | None
    """Which of the B runs ask, int64 (b,); None where all of them do, in order."""


class Moment(NamedTuple):
    """B runs after the start or after a step."""

    iterate: Iterate
    """Where the runs are now."""
    before: Tensor
    """x before the step, (B, d), where its estimate was made; the start itself at the start."""
    gradient: Tensor | None
    """The step's estimate g, (B, d), 0 in a row whose budget did not hold the step. None at the start."""


class _Advanced(NamedTuple):
    """Rows after a step, or as they were where they made none."""

    state: RunState
    gradient: Tensor


_Asking = Generator["Question | Moment", Any, _Advanced]

Conversation = Generator["Question | Moment", Any, None]
"""Yields questions, each of which is sent its values, Tensor (b, m), and moments, which are sent nothing."""


def ask_run(
    method: Method,
    x: Tensor,
    generators: Generators,
    smoothing: float,
    *,
    reevaluate: bool = False,
    term: Callable[[np.ndarray | None], RowTerm] | None = None,
    fits: Callable[[int | np.ndarray], np.ndarray] | None = None,
) -> Conversation:
    """Run a method on every row, as a conversation: its questions, and a moment after the start and after every step.

    Args:
        method: What `zo_gym.methods.build` returns.
        x: Starts (B, d).
        generators: One per row, for its directions.
        smoothing: mu > 0.
        reevaluate: Query f(x) again in each step, for noisy f.
        term: Makes the composite term of the rows with these indices (None: all), to be taken exactly; see `ask_step`.
        fits: Tells which rows' budgets hold a step of this cost, an int or one a row, int64 (B,), as (B,) bool; the run
            ends when none does.
    """

    def advance(now: RunState, directions: Tensor, rows: np.ndarray | None, asking: np.ndarray | None) -> _Asking:
        """Step the rows that `now` holds; ask f for those named `asking` alone, if any are."""
        here = None if term is None else term(rows)
        questions = ask_step(method, now, directions, smoothing, reevaluate=reevaluate, term=here)
        points = next(questions)
        while True:
            try:
                if asking is None:
                    points = questions.send((yield Question(points, rows)))
                else:
                    index = torch.from_numpy(asking).to(points.device)
                    values = yield Question(points[index], asking)
                    points = questions.send(values.new_zeros(points.shape[:2]).index_copy(0, index, values))
            except StopIteration as finished:
                return _Advanced(observe(method, now, finished.value), finished.value.estimate.gradient)

    state = start(method, x, (yield Question(x[:, None, :], None))[:, 0])
    yield Moment(state.iterate, x, None)
    while True:
        counts = num_directions(method, state)
        q = int(counts[0])
        alike = bool((counts == q).all())
        able = np.ones(len(x), dtype=bool)
        if fits is not None:
            costs: int | np.ndarray = cost(method, q, x.shape[1], reevaluate=reevaluate)
            if not alike:
                costs = np.array([cost(method, k, x.shape[1], reevaluate=reevaluate) for k in counts.tolist()])
            able = fits(costs)
        if not able.any():
            return
        directions, state = sample(method, state, generators)
        before = state.iterate.x
        if alike and able.all():
            state, gradient = yield from advance(state, directions[:, :q], None, None)
        else:
            state, gradient = yield from _advance_in_groups(advance, state, directions, counts, able)
        yield Moment(state.iterate, before, gradient)


def _advance_in_groups(
    advance: Callable[[RunState, Tensor, np.ndarray | None, np.ndarray | None], _Asking],
    state: RunState,
    directions: Tensor,
    counts: np.ndarray,
    able: np.ndarray,
) -> _Asking:
    """Step the able rows, those that probe equally many directions as one batch; the others stay as they are."""
    now = _Advanced(state, torch.zeros_like(state.iterate.x))
    then, others, parts = now, list[np.ndarray](), list[_Advanced]()
    for q in np.unique(counts[able]):
        rows = np.flatnonzero(able & (counts == q))
        if 2 * len(rows) > len(counts):  # carrying the other rows along is quicker than copying what these remember
            then = yield from advance(state, directions[:, : int(q)], None, rows)
        else:
            others.append(rows)
            parts.append((yield from advance(take(state, rows), take(directions, rows)[:, : int(q)], rows, None)))
    if not able.all():
        others.append(np.flatnonzero(~able))
        parts.append(take(now, others[-1]))
    if others:
        then = put(then, np.concatenate(others), reduce(concatenate, parts))
    return then


def run(
    oracle: Oracle,
    method: Method,
    x: Tensor,
    generators: Generators,
    *,
    smoothing: float = 0.01,
    composite: bool = False,
    box: Box | None = None,
    reevaluate: bool = False,
) -> Iterator[Moment]:
    """Run a method on every row of an oracle until no row's budget holds a further step, or f raises ObjectiveError.

    Args:
        oracle: Answers and counts; B rows. `oracle.queries` holds what each row has spent when a moment is yielded.
        method: What `zo_gym.methods.build` returns.
        x: Starts (B, d).
        generators: One per row, for its directions.
        smoothing: mu > 0.
        composite: Take the problem's composite term exactly; see `zo_gym.step.ask_step`.
        box: Bounds that no query leaves, instead of a composite term.
        reevaluate: Query f(x) again in each step, for noisy f.

    Returns:
        An iterator over the moment after the start (1 query a row) and after every step (`zo_gym.step.cost` queries).
    """
    declared = oracle.problem.composite if composite else None
    term: Callable[[np.ndarray | None], RowTerm] | None = None
    if declared is not None:
        term = lambda rows: declared.for_rows(oracle.instances_of(rows))  # noqa: E731
    elif box is not None:
        walls = box_term(box)
        term = lambda rows: walls  # noqa: E731
    return answer(oracle, ask_run(method, x, generators, smoothing, reevaluate=reevaluate, term=term, fits=oracle.fits))


def answer(oracle: Oracle, conversation: Conversation) -> Iterator[Moment]:
    """Answer the questions of a conversation from an oracle, and yield its moments."""
    item = next(conversation)
    while True:
        try:
            if isinstance(item, Question):
                item = conversation.send(oracle(*item))
            else:
                yield item
                item = next(conversation)
        except StopIteration:
            return
