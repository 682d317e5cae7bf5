"""Algorithm 1 over B rows at once: the same method from B starts, or on B problems, one batched evaluation a round."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from zo_gym.base import Generators, Iterate, Sampler, State
from zo_gym.methods import Method
from zo_gym.oracle import Oracle
from zo_gym.rows import concatenate, put, take
from zo_gym.step import begin, cost, observed, refinement, step


class Moment(NamedTuple):
    """B runs after the start or after a step."""

    queries: np.ndarray
    """Spent so far, int64 (B,)."""
    iterate: Iterate
    before: Tensor
    """x before the step, (B, d): where its estimate was made; the start itself at the start."""
    gradient: Tensor | None
    """The step's estimate g, (B, d); 0 in a row whose budget did not hold the step. None at the start."""


class _Standing(NamedTuple):
    """Where rows are."""

    iterate: Iterate
    state: State
    gradient: Tensor


def rollout(
    oracle: Oracle,
    method: Method,
    x: Tensor,
    generators: Generators,
    *,
    smoothing: float = 0.01,
    composite: bool = False,
    reevaluate: bool = False,
) -> Iterator[Moment]:
    """Run the method on every row until no row's budget holds a further step.

    Args:
        oracle: Answers and counts; B rows, with a budget.
        method: What `zo_gym.methods.build` returns.
        x: Starts (B, d).
        generators: One a row, for the directions.
        smoothing: mu > 0.
        composite: Take the problem's known part exactly; see `zo_gym.step.step`.
        reevaluate: Query f(x) anew in each step, for noisy f.

    Yields:
        The start (1 query a row), then every step (`zo_gym.step.cost` queries a row).
    """
    sampler, (b, d) = method.sampler, x.shape

    def advance(now: _Standing, u: Tensor, rows: np.ndarray | None = None, only: np.ndarray | None = None) -> _Standing:
        done = step(
            oracle,
            now.iterate,
            u,
            method.estimator,
            method.update,
            smoothing,
            reevaluate=reevaluate,
            refine=refinement(sampler, now.state),
            composite=composite,
            rows=rows,
            only=only,
        )
        return _Standing(done.iterate, observed(sampler, now.state, done), done.estimate.gradient)

    iterate = begin(x, oracle(x[:, None, :])[:, 0], method.update)
    yield Moment(oracle.queries.copy(), iterate, x, None)
    state = sampler.init(x)
    while True:
        counts = counts_of(sampler, state, b, method.num_directions)
        fits = oracle.fits(np.array([cost(method.estimator, int(q), d, reevaluate=reevaluate) for q in counts]))
        if not fits.any():
            return
        directions, state = sampler.sample(state, iterate.x, method.num_directions, generators)
        now = _Standing(iterate, state, torch.zeros_like(x))
        then, others, parts = now, [], []
        for q in np.unique(counts[fits]):  # rows that probe equally many directions advance as one batch
            rows = np.flatnonzero(fits & (counts == q))
            if 2 * len(rows) > b:  # quicker to carry the others along than to copy what these remember
                then = advance(now, directions[:, : int(q)], only=None if len(rows) == b else rows)
            else:
                others.append(rows)
                parts.append(advance(take(now, rows), take(directions, rows)[:, : int(q)], rows))
        if not fits.all():
            others.append(np.flatnonzero(~fits))
            parts.append(take(now, others[-1]))
        if others:
            then = put(then, np.concatenate(others), reduce(concatenate, parts))
        iterate, state, gradient = then
        yield Moment(oracle.queries.copy(), iterate, now.iterate.x, gradient)


def counts_of(sampler: Sampler, state: State, rows: int, num_directions: int) -> np.ndarray:
    """How many directions each row's next step probes, int64 (B,)."""
    if sampler.wants is None:
        return np.full(rows, num_directions)
    return sampler.wants(state).cpu().numpy()
