"""Algorithm 1 over B rows at once: the same method from B starts, or on B problems, one batched evaluation a round."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch import Tensor

from zo_gym.base import Generators, Iterate, Step
from zo_gym.methods import Method
from zo_gym.oracle import Oracle
from zo_gym.step import begin, cost, observed, refinement, step


class Moment(NamedTuple):
    """B runs after the start or after a step."""

    queries: np.ndarray
    """Spent so far, int64 (B,)."""
    iterate: Iterate
    before: Tensor
    """x before the step, (B, d): where its estimate was made; the start itself at the start."""
    step: Step | None
    """None at the start."""


def rollout(
    oracle: Oracle,
    method: Method,
    x: Tensor,
    generators: Generators,
    *,
    smoothing: float = 0.01,
    composite: bool = False,
) -> Iterator[Moment]:
    """Run the method on every row until the budget holds no further step of all of them.

    Args:
        oracle: Answers and counts; B rows, with a budget.
        method: What `zo_gym.methods.build` returns.
        x: Starts (B, d).
        generators: One a row, for the directions.
        smoothing: mu > 0.
        composite: Take the problem's known part exactly; see `zo_gym.step.step`.

    Yields:
        The start (1 query a row), then every step (`zo_gym.step.cost` queries a row).
    """
    iterate = begin(x, oracle(x[:, None, :])[:, 0], method.update)
    yield Moment(oracle.queries.copy(), iterate, x, None)
    state = method.sampler.init(x)
    price = cost(method.estimator, method.num_directions, x.shape[1])
    while bool(oracle.fits(price).all()):
        directions, state = method.sampler.sample(state, iterate.x, method.num_directions, generators)
        done = step(
            oracle,
            iterate,
            directions,
            method.estimator,
            method.update,
            smoothing,
            refine=refinement(method.sampler, state),
            composite=composite,
        )
        before = iterate.x
        state = observed(method.sampler, state, done)
        iterate = done.iterate
        yield Moment(oracle.queries.copy(), iterate, before, done)
