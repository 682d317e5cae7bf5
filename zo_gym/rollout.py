"""Algorithm 1 over B rows at once: the same method from B starts, or on B problems, one batched evaluation a round."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from zo_gym.base import Generators, Iterate, Sampler, State
from zo_gym.methods import Method
from zo_gym.oracle import Oracle
from zo_gym.rows import put, take
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
    sampler, d = method.sampler, x.shape[1]
    iterate = begin(x, oracle(x[:, None, :])[:, 0], method.update)
    yield Moment(oracle.queries.copy(), iterate, x, None)
    state = sampler.init(x)
    while True:
        counts = counts_of(sampler, state, len(x), method.num_directions)
        fits = oracle.fits(np.array([cost(method.estimator, int(q), d, reevaluate=reevaluate) for q in counts]))
        if not fits.any():
            return
        directions, state = sampler.sample(state, iterate.x, method.num_directions, generators)
        before, gradient = iterate.x, torch.zeros_like(x)
        for q in np.unique(counts[fits]):  # rows that probe equally many directions advance as one batch
            rows = np.flatnonzero(fits & (counts == q))
            whole = len(rows) == len(x)
            part, memory = (iterate, state) if whole else (take(iterate, rows), take(state, rows))
            done = step(
                oracle,
                part,
                (directions if whole else take(directions, rows))[:, : int(q)],
                method.estimator,
                method.update,
                smoothing,
                reevaluate=reevaluate,
                refine=refinement(sampler, memory),
                composite=composite,
                rows=None if whole else rows,
            )
            memory = observed(sampler, memory, done)
            iterate, state = (
                (done.iterate, memory) if whole else (put(iterate, rows, done.iterate), put(state, rows, memory))
            )
            gradient = done.estimate.gradient if whole else put(gradient, rows, done.estimate.gradient)
        yield Moment(oracle.queries.copy(), iterate, before, gradient)


def counts_of(sampler: Sampler, state: State, rows: int, num_directions: int) -> np.ndarray:
    """How many directions each row's next step probes, int64 (B,)."""
    if sampler.wants is None:
        return np.full(rows, num_directions)
    return sampler.wants(state).cpu().numpy()
