"""A batch of runs is the same as the runs one by one, and never spends more than the budget."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from zo_gym.methods import METHODS, Method, build
from zo_gym.oracle import Oracle
from zo_gym.problems import make_problem
from zo_gym.rng import make_generator
from zo_gym.rollout import Moment, rollout
from zo_gym.step import cost

PLAIN = [name for name in METHODS if name not in ("zo-lstm", "true-gradient")]


def run(method: Method, starts: torch.Tensor, seeds: list[int], budget: int) -> list[Moment]:
    oracle = Oracle(make_problem("quadratic"), len(seeds), budget=budget)
    return list(rollout(oracle, method, starts, [make_generator(seed) for seed in seeds]))


@pytest.mark.parametrize("name", PLAIN)
def test_rows_do_not_depend_on_their_batch(name: str) -> None:
    problem = make_problem("quadratic")
    starts = torch.stack([problem.initial(make_generator(seed)) for seed in range(3)])
    method = build(name, problem.dim)
    together = run(method, starts, [7, 8, 9], 200)
    for row in range(3):
        alone = run(method, starts[row : row + 1], [7 + row], 200)
        assert len(alone) == len(together)
        for one, all_rows in zip(alone, together, strict=True):
            assert torch.equal(one.iterate.x[0], all_rows.iterate.x[row])
            assert one.iterate.best_f[0] == all_rows.iterate.best_f[row]


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("budget", [60, 61, 100])
def test_queries_are_exact_and_within_the_budget(name: str, budget: int) -> None:
    problem = make_problem("quadratic")
    method = build(name, problem.dim)
    moments = run(method, torch.zeros(2, problem.dim, dtype=torch.float64), [0, 1], budget)
    price = cost(method.estimator, method.num_directions, problem.dim)
    spent = [moment.queries.tolist() for moment in moments]
    assert spent == [[1 + k * price] * 2 for k in range(len(moments))]
    assert budget - price < spent[-1][0] <= budget


def test_a_moment_says_where_the_estimate_was_made() -> None:
    problem = make_problem("quadratic")
    method = build("zo-sgd", problem.dim, learning_rate=0.01)
    moments = run(method, torch.zeros(1, problem.dim, dtype=torch.float64), [0], 100)
    assert moments[0].gradient is None
    for before, after in pairwise(moments):
        assert after.gradient is not None
        assert torch.equal(after.before, before.iterate.x)
        np.testing.assert_allclose(after.iterate.x, after.before - 0.01 * after.gradient, rtol=1e-12)


def test_f_is_queried_anew_where_it_is_noisy() -> None:
    problem = make_problem("quadratic")
    noise = [make_generator(3)]
    oracle = Oracle(problem, 1, budget=61, noise_std=0.5, generators=noise)
    start = problem.initial(make_generator(0))[None]
    moments = list(rollout(oracle, build("rand-ada", problem.dim), start, [make_generator(1)], reevaluate=True))
    assert [int(moment.queries[0]) for moment in moments] == list(range(1, 62, 3))
