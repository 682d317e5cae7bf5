"""The hybrid sampler: what a good guess gains, what a wrong one costs, and how the gate moves."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from zo_gym.base import Problem
from zo_gym.estimators import span
from zo_gym.methods import Method
from zo_gym.oracle import Oracle
from zo_gym.rng import make_generator
from zo_gym.rollout import rollout
from zo_gym.samplers import history
from zo_gym.samplers.hybrid import ALONE, OFF, SPAN, Field, HybridState, hybrid
from zo_gym.updates import adaptive

D, ROWS = 40, 10


def bowl() -> Problem:
    scales = torch.logspace(0, 1, D, dtype=torch.float64)
    return Problem(
        "bowl",
        D,
        lambda points: (scales * points.square()).sum(1) / 2,
        lambda g: torch.randn(D, generator=g, dtype=torch.float64) / math.sqrt(D),
        gradient=lambda x: scales * x,
    )


def true(x: Tensor, instances: Tensor) -> Tensor:
    gradient = bowl().gradient
    assert gradient is not None
    return gradient(x)


def constant(x: Tensor, instances: Tensor) -> Tensor:
    return torch.randn(1, D, generator=make_generator(9), dtype=torch.float64).expand_as(x)


WRONG: dict[str, Field] = {
    "constant": constant,
    "zero": lambda x, instances: torch.zeros_like(x),
    "orthogonal": lambda x, instances: (
        true(x, instances).roll(1, dims=1) * torch.where(torch.arange(D) % 2 == 0, 1.0, -1.0)
    ),
}


def run(field: Field, budget: int = 1500, **options: bool) -> tuple[np.ndarray, np.ndarray]:
    """Queries (steps, rows) and best f (steps, rows)."""
    problem = bowl()
    sampler = hybrid(field, torch.zeros(ROWS, dtype=torch.int64), **options)  # type: ignore[arg-type]
    x = torch.stack([problem.initial(make_generator(i)) for i in range(ROWS)])
    moments = list(
        rollout(
            Oracle(problem, ROWS, budget=budget),
            Method(sampler, span, adaptive(0.1), 4),
            x,
            [make_generator(100 + i) for i in range(ROWS)],
        )
    )
    return np.stack([m.queries for m in moments]), np.stack([m.iterate.best_f.numpy() for m in moments])


def queries_to(goal: float, queries: np.ndarray, best: np.ndarray) -> float:
    """Mean over rows of the queries until f <= goal; it must be reached."""
    reached = best <= goal
    assert reached[-1].all()
    first = reached.argmax(axis=0)
    return float(queries[first, np.arange(ROWS)].mean())


def without() -> tuple[np.ndarray, np.ndarray]:
    """The same method without a guess: {last, 2 random}, 4 queries a step."""
    problem = bowl()
    x = torch.stack([problem.initial(make_generator(i)) for i in range(ROWS)])
    moments = list(
        rollout(
            Oracle(problem, ROWS, budget=3000),
            Method(history(), span, adaptive(0.1), 3),
            x,
            [make_generator(100 + i) for i in range(ROWS)],
        )
    )
    return np.stack([m.queries for m in moments]), np.stack([m.iterate.best_f.numpy() for m in moments])


def test_the_true_gradient_stays_alone_at_two_queries_a_step() -> None:
    """Until f is down to a thousandth, where forward differences with mu = 0.01 begin to mislead."""
    queries, best = run(true, budget=201)
    early = (best > 1e-3 * best[0])[1:]
    assert (np.diff(queries, axis=0)[early] == 2).all()
    assert not early[-1].any()


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_guess_costs_at_most_a_tenth_more(name: str) -> None:
    """Against the same method without it, to a thousandth of f at the start: 10 rows each, whose mean has a standard
    error of about 3 %; hence 1.1 + 2 * 0.03 * sqrt(2) at most."""
    base_queries, base = without()
    goal = 1e-3 * float(base[0].mean())
    queries, best = run(WRONG[name], budget=3000)
    assert queries_to(goal, queries, best) <= 1.185 * queries_to(goal, base_queries, base)


def test_a_flipped_gradient_is_as_good_as_the_gradient() -> None:
    """But for the error of the forward difference: f falls by three decades in 20 steps both ways."""
    _, right = run(true, budget=41)
    _, flipped = run(lambda x, instances: -true(x, instances), budget=41)
    assert (right[-1] < 3e-4 * right[0]).all()
    assert (flipped[-1] < 3e-4 * right[0]).all()


def test_a_guess_that_becomes_good_is_taken_up_again() -> None:
    """A row that has shut it looks every PERIOD steps: with the true gradient it opens at the first look."""
    problem = bowl()
    sampler = hybrid(true, torch.zeros(1, dtype=torch.int64))
    x = problem.initial(make_generator(0))[None]
    state: HybridState = sampler.init(x)
    assert int(state.mode) == ALONE
    state = state._replace(mode=torch.tensor([OFF]), random=torch.ones(1, dtype=torch.float64))
    oracle, modes = Oracle(problem, 1, budget=400), []
    held = sampler._replace(init=lambda x: state)
    seen = sampler.observe

    def watch(at: HybridState, step: object) -> HybridState:
        after: HybridState = seen(at, step)  # type: ignore[arg-type]
        modes.append(int(after.mode))
        return after

    list(rollout(oracle, Method(held._replace(observe=watch), span, adaptive(0.05), 4), x, [make_generator(1)]))
    assert modes[0] == OFF
    assert SPAN in modes
    assert OFF not in modes[modes.index(SPAN) :]


def test_wrong_numbers_are_refused() -> None:
    rows = torch.zeros(1, dtype=torch.int64)
    with pytest.raises(ValueError, match="num_random must be >= 1"):
        hybrid(true, rows, num_random=0)
    with pytest.raises(ValueError, match="sharpness must be finite and >= 1"):
        hybrid(true, rows, sharpness=0.5)
    sampler, x = hybrid(true, rows), torch.zeros(1, D, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"num_directions must be num_random \+ 2 = 4, got 3"):
        sampler.sample(sampler.init(x), x, 3, [make_generator(0)])
