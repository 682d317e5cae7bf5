"""One batched step: what it queries, what it costs, where it goes, what it keeps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from zo_gym.base import BudgetError, Problem
from zo_gym.directions import unit
from zo_gym.estimators import ESTIMATORS
from zo_gym.oracle import Oracle
from zo_gym.problems import make_problem
from zo_gym.step import Iterate, Step, ask_step, begin, cost, require_smoothing, step
from zo_gym.updates import RULES

B, D, Q, MU = 3, 4, 2, 0.1
CASES = [(e, p, r) for e in ESTIMATORS for p in (False, True) for r in (False, True)]


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Recorder:
    """f(x) = x_0 + offset, remembering the points of every call; the offset stands for noise."""

    def __init__(self) -> None:
        self.calls: list[Tensor] = []
        self.offset = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        self.calls.append(x.clone())
        return x[:, 0] + self.offset

    def oracle(self, rows: int = 1, budget: int | None = None) -> Oracle:
        start = torch.zeros(D, dtype=torch.float64)
        return Oracle(Problem("recorder", D, self, lambda g: start), rows, budget=budget)


def run(
    oracle: Oracle, x: Tensor, u: Tensor, name: str = "forward", rule: str = "sgd", eta: float = 0.1, **options: object
) -> tuple[Iterate, Step]:
    """f(x) and one step; the start and the step."""
    update = RULES[rule](eta)
    start = begin(x, oracle(x[:, None, :])[:, 0], update)
    return start, step(oracle, start, u, ESTIMATORS[name], update, MU, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "probe", "reevaluate"), CASES)
def test_step_costs_what_cost_says_and_evaluates_in_two_batches(name: str, probe: bool, reevaluate: bool) -> None:
    f = Recorder()
    oracle = f.oracle(B)
    direction = randn(B, D, seed=2) if probe else None
    run(oracle, randn(B, D), randn(B, Q, D, seed=1), name, probe=direction, reevaluate=reevaluate)
    expected = cost(ESTIMATORS[name], Q, D, probe=probe, reevaluate=reevaluate)
    assert oracle.queries.tolist() == [1 + expected] * B
    assert [len(x) for x in f.calls] == [B, B * (expected - 1), B]


@pytest.mark.parametrize(("name", "least"), [("forward", 21), ("central", 41), ("coordinate", 785), ("span", 21)])
def test_cost_per_step_at_twenty_directions_and_mnist(name: str, least: int) -> None:
    """q + 1, 2q + 1 or d + 1 with f(x) cached; each extra adds one."""
    extras = [cost(ESTIMATORS[name], 20, 784, probe=p, reevaluate=r) for p in (False, True) for r in (False, True)]
    assert extras == [least, least + 1, least + 1, least + 2]


def test_one_direction_is_the_transition_of_the_papers_mdp() -> None:
    """g = delta u (eq. 2), x' = x - eta g, by hand: f(x) = x_0, u = (0.6, 0.8, 0, 0), so delta = 0.6."""
    u = torch.tensor([[[0.6, 0.8, 0.0, 0.0]]], dtype=torch.float64)
    x = torch.zeros(1, D, dtype=torch.float64)
    for name in ("forward", "span"):
        _, done = run(Recorder().oracle(), x, u, name, eta=0.5)
        expected = torch.tensor([[-0.18, -0.24, 0.0, 0.0]], dtype=torch.float64)
        torch.testing.assert_close(done.iterate.x, expected, rtol=0, atol=1e-14)  # rounding of values ~ 0.1 over mu
        assert done.iterate.fx.item() == pytest.approx(-0.18, abs=1e-14)


def test_value_at_the_new_point_is_the_next_steps_cached_value() -> None:
    f = Recorder()
    oracle, rule = f.oracle(), RULES["sgd"](0.1)
    _, done = run(oracle, randn(1, D), randn(1, Q, D, seed=1))
    assert torch.equal(f.calls[-1], done.iterate.x)
    step(oracle, done.iterate, randn(1, Q, D, seed=2), ESTIMATORS["forward"], rule, MU)
    asked = torch.cat(f.calls)
    assert int((asked == done.iterate.x).all(1).sum()) == 1


def test_reevaluation_replaces_the_cached_value() -> None:
    """f rises by 1 after f(x) was cached: stale, every slope is off by 1 / mu = 10; re-evaluated, none is."""
    exact = randn(1, Q, D, seed=1)[0, :, 0]
    for reevaluate, error in ((False, 1 / MU), (True, 0.0)):
        f = Recorder()
        oracle, rule, x = f.oracle(), RULES["sgd"](0.1), randn(1, D)
        start = begin(x, oracle(x[:, None, :])[:, 0], rule)
        f.offset = 1.0
        done = step(oracle, start, randn(1, Q, D, seed=1), ESTIMATORS["forward"], rule, MU, reevaluate=reevaluate)
        torch.testing.assert_close(done.estimate.slopes[0], exact + error, rtol=0, atol=1e-12)


@pytest.mark.parametrize("reevaluate", [False, True])
def test_probe_is_measured_but_does_not_enter_the_estimate(reevaluate: bool) -> None:
    x, u, probe = randn(B, D), randn(B, Q, D, seed=1), unit(randn(B, D, seed=2))
    _, without = run(Recorder().oracle(B), x, u, reevaluate=reevaluate)
    _, done = run(Recorder().oracle(B), x, u, probe=probe, reevaluate=reevaluate)
    assert without.probe_slope is None
    assert done.probe_slope is not None
    torch.testing.assert_close(done.probe_slope, probe[:, 0], rtol=0, atol=1e-12)
    assert torch.equal(done.estimate.gradient, without.estimate.gradient)
    assert torch.equal(done.iterate.x, without.iterate.x)


@pytest.mark.parametrize("rule", RULES)
def test_best_is_the_least_value_at_any_iterate(rule: str) -> None:
    problem = make_problem("quadratic", dim=D)
    oracle, update, x = Oracle(problem, B), RULES[rule](0.05), randn(B, D)
    at = begin(x, oracle(x[:, None, :])[:, 0], update)
    seen, least = [at.fx], at.fx
    for k in range(30):
        at = step(oracle, at, randn(B, Q, D, seed=k), ESTIMATORS["forward"], update, MU).iterate
        seen.append(at.fx)
        least = torch.minimum(least, at.fx)
        assert torch.equal(at.best_f, least)
    assert torch.equal(at.best_f, torch.stack(seen).amin(0))
    assert torch.equal(problem.fun(at.best_x), at.best_f)
    assert torch.equal(problem.fun(at.x), at.fx)


def test_rejected_move_leaves_the_iterate_where_it_was() -> None:
    """eta = 1000 on a parabola overshoots; eta = 0.1 with the same direction does not. Rejection is a row's own."""
    problem = Problem("parabola", D, lambda x: x.square().sum(1), lambda g: torch.zeros(D, dtype=torch.float64))
    x, u = torch.ones(1, D, dtype=torch.float64), torch.eye(D, dtype=torch.float64)[None, :1]
    start, far = run(Oracle(problem), x, u, "span", "adaptive", 1000.0)
    assert far.kept is not None
    assert far.kept.tolist() == [False]
    assert torch.equal(far.iterate.x, start.x)
    assert torch.equal(far.iterate.fx, start.fx)
    _, near = run(Oracle(problem), x, u, "span", "adaptive", 0.1)
    assert near.kept is not None
    assert near.kept.tolist() == [True]
    assert near.iterate.fx.item() < D
    assert run(Oracle(problem), x, u, "span", "sgd", 0.1)[1].kept is None


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("rule", RULES)
def test_a_row_does_not_depend_on_its_companions(name: str, rule: str) -> None:
    """Bit for bit over several steps."""
    problem, x = make_problem("rosenbrock", dim=D), randn(B, D)

    def path(rows: slice) -> Tensor:
        update = RULES[rule](1e-3)
        start = x[rows]
        oracle = Oracle(problem, len(start))
        at = begin(start, oracle(start[:, None, :])[:, 0], update)
        for k in range(5):
            at = step(oracle, at, randn(B, Q, D, seed=k)[rows], ESTIMATORS[name], update, MU).iterate
        return at.x

    together = path(slice(None))
    for row in range(B):
        assert torch.equal(path(slice(row, row + 1)), together[row : row + 1])


def test_step_of_some_rows_charges_those_rows() -> None:
    f = Recorder()
    oracle, rule, x = f.oracle(B), RULES["sgd"](0.1), randn(2, D)
    rows = np.array([0, 2])
    start = begin(x, oracle(x[:, None, :], rows)[:, 0], rule)
    step(oracle, start, randn(2, Q, D, seed=1), ESTIMATORS["forward"], rule, MU, rows=rows)
    assert oracle.queries.tolist() == [Q + 2, 0, Q + 2]


def test_step_without_enough_budget_does_not_move() -> None:
    f = Recorder()
    oracle = f.oracle(budget=1 + Q - 1)
    with pytest.raises(BudgetError, match=f"needs {Q}"):
        run(oracle, randn(1, D), randn(1, Q, D, seed=1))
    assert oracle.queries.tolist() == [1]


def test_conversation_and_step_agree() -> None:
    f = Recorder()
    oracle, rule, x, u = f.oracle(), RULES["adam"](0.1), randn(1, D), randn(1, Q, D, seed=1)
    start = begin(x, x[:, 0], rule)
    questions = ask_step(start, u, ESTIMATORS["forward"], rule, MU)
    probed = next(questions)
    torch.testing.assert_close(probed, x[:, None, :] + MU * u)
    moved = questions.send(probed[..., 0])
    assert moved.shape == (1, 1, D)
    with pytest.raises(StopIteration) as finished:
        questions.send(moved[..., 0])
    expected = step(oracle, start, u, ESTIMATORS["forward"], rule, MU)
    assert torch.equal(finished.value.value.iterate.x, expected.iterate.x)


def test_arguments_are_not_mutated() -> None:
    x, u, probe = randn(B, D), randn(B, Q, D, seed=1), randn(B, D, seed=2)
    run(Recorder().oracle(B), x, u, "span", "adaptive", probe=probe, reevaluate=True)
    assert torch.equal(x, randn(B, D))
    assert torch.equal(u, randn(B, Q, D, seed=1))
    assert torch.equal(probe, randn(B, D, seed=2))


@pytest.mark.parametrize("smoothing", [0.0, -0.1, math.nan, math.inf])
def test_smoothing_must_be_positive_and_finite(smoothing: float) -> None:
    with pytest.raises(ValueError, match=f"smoothing must be a finite number > 0, got {smoothing}"):
        require_smoothing(smoothing, torch.float64)


def test_smoothing_below_the_rounding_of_the_dtype_is_refused() -> None:
    """8 eps: 1.8e-15 in float64, 9.5e-7 in float32."""
    assert require_smoothing(1e-6, torch.float64) == 1e-6
    with pytest.raises(ValueError, match=r"at least 9\.5e-07 for torch\.float32, got 5e-07.*float64"):
        require_smoothing(5e-7, torch.float32)
