"""A batch of runs is the same as the runs one by one, and never spends more than the budget."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from zo_gym.base import Estimate, GradientModel, Method, State
from zo_gym.methods import METHODS, build
from zo_gym.oracle import Oracle
from zo_gym.problem import Generators
from zo_gym.problems import make_problem
from zo_gym.rng import make_generator
from zo_gym.run import Moment, Question, ask_run, run
from zo_gym.step import cost

PLAIN = [name for name in METHODS if name not in ("zo-lstm", "true-gradient")]


def spent_and_moments(
    method: Method, starts: torch.Tensor, seeds: list[int], budget: int
) -> tuple[list[list[int]], list[Moment]]:
    """Run on the quadratic; the queries of each row at every moment, and the moments."""
    oracle = Oracle(make_problem("quadratic"), len(seeds), budget=budget)
    spent, moments = [], []
    for moment in run(oracle, method, starts, [make_generator(seed) for seed in seeds]):
        spent.append(oracle.queries.tolist())
        moments.append(moment)
    return spent, moments


@pytest.mark.parametrize("name", PLAIN)
def test_rows_do_not_depend_on_their_batch(name: str) -> None:
    problem = make_problem("quadratic")
    starts = torch.stack([problem.start(make_generator(seed)) for seed in range(3)])
    method = build(name, problem.dim)
    _, together = spent_and_moments(method, starts, [7, 8, 9], 200)
    for row in range(3):
        _, alone = spent_and_moments(method, starts[row : row + 1], [7 + row], 200)
        assert len(alone) == len(together)
        for one, all_rows in zip(alone, together, strict=True):
            assert torch.equal(one.iterate.x[0], all_rows.iterate.x[row])
            assert one.iterate.best_f[0] == all_rows.iterate.best_f[row]


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("budget", [60, 61, 100])
def test_queries_are_exact_and_within_the_budget(name: str, budget: int) -> None:
    problem = make_problem("quadratic")
    method = build(name, problem.dim)
    spent, _ = spent_and_moments(method, torch.zeros(2, problem.dim, dtype=torch.float64), [0, 1], budget)
    price = cost(method, method.num_directions, problem.dim)
    assert spent == [[1 + k * price] * 2 for k in range(len(spent))]
    assert budget - price < spent[-1][0] <= budget


def test_a_moment_says_where_the_estimate_was_made() -> None:
    problem = make_problem("quadratic")
    method = build("zo-sgd", problem.dim, learning_rate=0.01)
    _, moments = spent_and_moments(method, torch.zeros(1, problem.dim, dtype=torch.float64), [0], 100)
    assert moments[0].gradient is None
    for before, after in pairwise(moments):
        assert after.gradient is not None
        assert torch.equal(after.before, before.iterate.x)
        np.testing.assert_allclose(after.iterate.x, after.before - 0.01 * after.gradient, rtol=1e-12)


def test_f_is_queried_anew_where_it_is_noisy() -> None:
    problem = make_problem("quadratic")
    noise = [make_generator(3)]
    oracle = Oracle(problem, 1, budget=61, noise_std=0.5, generators=noise)
    start = problem.start(make_generator(0))[None]
    moments = run(oracle, build("rand-ada", problem.dim), start, [make_generator(1)], reevaluate=True)
    assert [int(oracle.queries[0]) for _ in moments] == list(range(1, 62, 3))


def uneven(pattern: list[list[int]]) -> Method:
    """Directions on the sphere, of which row i's k-th step probes pattern[i][k mod length]."""
    counts = torch.tensor(pattern)
    plain = build("zo-sgd-sphere", make_problem("quadratic").dim, learning_rate=0.05, num_directions=4)

    def init(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return counts[: len(x)], torch.zeros(len(x), dtype=torch.int64)

    def probe(state: State, x: torch.Tensor, q: int, generators: Generators) -> tuple[torch.Tensor, State]:
        assert plain.sampler is not None
        return plain.sampler.sample(None, x, q, generators)[0], state

    def correct(
        state: State, x: torch.Tensor, directions: torch.Tensor, estimate: Estimate
    ) -> tuple[torch.Tensor, State]:
        return estimate.gradient, state

    def num_probes(state: State) -> torch.Tensor:
        return state[0].gather(1, (state[1] % counts.shape[1]).unsqueeze(1)).squeeze(1)

    model = GradientModel(init, probe, correct, lambda state, done: (state[0], state[1] + 1), num_probes=num_probes)
    return replace(plain, sampler=None, model=model)


@pytest.mark.parametrize("budget", [40, 41, 42, 43])
def test_rows_that_probe_unequally_many_directions_do_not_depend_on_their_batch(budget: int) -> None:
    problem = make_problem("quadratic")
    pattern = [[4, 4, 4], [4, 4, 4], [4, 1, 4], [4, 2, 2], [4, 4, 1]]  # all as one; most and a few; no majority
    starts = torch.stack([problem.start(make_generator(seed)) for seed in range(len(pattern))])

    def last(rows: slice) -> tuple[Moment, Oracle]:
        seeds = range(len(pattern))[rows]
        noise = [make_generator(100 + seed) for seed in seeds]
        oracle = Oracle(problem, len(seeds), budget=budget, noise_std=0.1, generators=noise)
        generators = [make_generator(seed) for seed in seeds]
        *_, moment = run(oracle, uneven(pattern[rows]), starts[rows], generators)
        return moment, oracle

    together, shared = last(slice(None))
    for row in range(len(pattern)):
        alone, oracle = last(slice(row, row + 1))
        assert torch.equal(alone.iterate.x[0], together.iterate.x[row])
        assert alone.iterate.best_f[0] == together.iterate.best_f[row]
        assert oracle.queries[0] == shared.queries[row] <= budget
    assert len(set(shared.queries.tolist())) > 1  # some budgets end before others


def test_a_conversation_answered_by_hand_is_the_run() -> None:
    problem, method = make_problem("quadratic"), build("gp", make_problem("quadratic").dim)
    start = problem.start(make_generator(0))[None]
    expected = [m.iterate.x for m in run(Oracle(problem, 1, budget=41), method, start, [make_generator(1)])]
    conversation = ask_run(method, start, [make_generator(1)], 0.01)
    found, asked = [], 0
    item = next(conversation)
    while len(found) < len(expected):
        if isinstance(item, Question):
            assert item.rows is None
            asked += item.points.shape[1]
            item = conversation.send(problem.fun(item.points, torch.zeros(1, dtype=torch.int64)))
        else:
            found.append(item.iterate.x)
            item = next(conversation)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert asked == 41
