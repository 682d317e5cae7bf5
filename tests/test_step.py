"""One batched step: what it queries, what it costs, where it goes, what it keeps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from zo_gym.base import Iterate, Method, Step
from zo_gym.checks import check_smoothing
from zo_gym.directions import unit
from zo_gym.errors import BudgetError
from zo_gym.estimators import ESTIMATORS
from zo_gym.oracle import Oracle
from zo_gym.problem import single_problem
from zo_gym.problems import make_problem
from zo_gym.samplers import gaussian
from zo_gym.step import ask_step, cost, start, step
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
        x0 = torch.zeros(D, dtype=torch.float64)
        return Oracle(single_problem("recorder", D, self, lambda g: x0), rows, budget=budget)


def method_of(estimator: str = "forward", rule: str = "sgd", eta: float = 0.1) -> Method:
    """A method for directions that the tests choose."""
    return Method(gaussian(), ESTIMATORS[estimator], RULES[rule](eta), Q)


def run(
    oracle: Oracle, x: Tensor, u: Tensor, name: str = "forward", rule: str = "sgd", eta: float = 0.1, **options: object
) -> tuple[Iterate, Step]:
    """f(x) and one step; the start and the step."""
    method = method_of(name, rule, eta)
    state = start(method, x, oracle(x[:, None, :])[:, 0])
    return state.iterate, step(oracle, method, state, u, MU, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "probe", "reevaluate"), CASES)
def test_step_costs_what_cost_says_and_evaluates_in_two_batches(name: str, probe: bool, reevaluate: bool) -> None:
    f = Recorder()
    oracle = f.oracle(B)
    direction = randn(B, D, seed=2) if probe else None
    run(oracle, randn(B, D), randn(B, Q, D, seed=1), name, probe=direction, reevaluate=reevaluate)
    expected = cost(method_of(name), Q, D, probe=probe, reevaluate=reevaluate)
    assert oracle.queries.tolist() == [1 + expected] * B
    assert [len(x) for x in f.calls] == [B, B * (expected - 1), B]


@pytest.mark.parametrize(("name", "least"), [("forward", 21), ("central", 41), ("coordinate", 785), ("span", 21)])
def test_cost_per_step_at_twenty_directions_and_mnist(name: str, least: int) -> None:
    """q + 1, 2q + 1 or d + 1 with f(x) cached; each extra adds one."""
    extras = [cost(method_of(name), 20, 784, probe=p, reevaluate=r) for p in (False, True) for r in (False, True)]
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
    oracle, method, x = f.oracle(), method_of(), randn(1, D)
    state = start(method, x, oracle(x[:, None, :])[:, 0])
    done = step(oracle, method, state, randn(1, Q, D, seed=1), MU)
    assert torch.equal(f.calls[-1], done.iterate.x)
    step(oracle, method, state._replace(iterate=done.iterate), randn(1, Q, D, seed=2), MU)
    asked = torch.cat(f.calls)
    assert int((asked == done.iterate.x).all(1).sum()) == 1


def test_reevaluation_replaces_the_cached_value() -> None:
    """f rises by 1 after f(x) was cached: stale, every slope is off by 1 / mu = 10; re-evaluated, none is."""
    exact = randn(1, Q, D, seed=1)[0, :, 0]
    for reevaluate, error in ((False, 1 / MU), (True, 0.0)):
        f = Recorder()
        oracle, method, x = f.oracle(), method_of(), randn(1, D)
        state = start(method, x, oracle(x[:, None, :])[:, 0])
        f.offset = 1.0
        done = step(oracle, method, state, randn(1, Q, D, seed=1), MU, reevaluate=reevaluate)
        change = done.reevaluation_difference
        assert (change is None) if not reevaluate else (change is not None and change.tolist() == [1.0])
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
    oracle, method, x = Oracle(problem, B), method_of(rule=rule, eta=0.05), randn(B, D)
    state = start(method, x, oracle(x[:, None, :])[:, 0])
    seen, least = [state.iterate.fx], state.iterate.fx
    for k in range(30):
        state = state._replace(iterate=step(oracle, method, state, randn(B, Q, D, seed=k), MU).iterate)
        at = state.iterate
        seen.append(at.fx)
        least = torch.minimum(least, at.fx)
        assert torch.equal(at.best_f, least)
    assert torch.equal(at.best_f, torch.stack(seen).amin(0))
    assert torch.equal(problem.values(at.best_x), at.best_f)
    assert torch.equal(problem.values(at.x), at.fx)


def test_rejected_move_leaves_the_iterate_where_it_was() -> None:
    """eta = 1000 on a parabola overshoots; eta = 0.1 with the same direction does not. Rejection is a row's own."""
    problem = single_problem("parabola", D, lambda x: x.square().sum(1), lambda g: torch.zeros(D, dtype=torch.float64))
    x, u = torch.ones(1, D, dtype=torch.float64), torch.eye(D, dtype=torch.float64)[None, :1]
    begun, far = run(Oracle(problem), x, u, "span", "adaptive", 1000.0)
    assert far.accepted is not None
    assert far.accepted.tolist() == [False]
    assert torch.equal(far.iterate.x, begun.x)
    assert torch.equal(far.iterate.fx, begun.fx)
    _, near = run(Oracle(problem), x, u, "span", "adaptive", 0.1)
    assert near.accepted is not None
    assert near.accepted.tolist() == [True]
    assert near.iterate.fx.item() < D
    assert run(Oracle(problem), x, u, "span", "sgd", 0.1)[1].accepted is None


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("rule", RULES)
def test_a_row_does_not_depend_on_its_companions(name: str, rule: str) -> None:
    """Bit for bit over several steps."""
    problem, x = make_problem("rosenbrock", dim=D), randn(B, D)

    def path(rows: slice) -> Tensor:
        method = method_of(name, rule, 1e-3)
        oracle = Oracle(problem, len(x[rows]))
        state = start(method, x[rows], oracle(x[rows][:, None, :])[:, 0])
        for k in range(5):
            state = state._replace(iterate=step(oracle, method, state, randn(B, Q, D, seed=k)[rows], MU).iterate)
        return state.iterate.x

    together = path(slice(None))
    for row in range(B):
        assert torch.equal(path(slice(row, row + 1)), together[row : row + 1])


def test_step_of_some_rows_charges_those_rows() -> None:
    f = Recorder()
    oracle, method, x = f.oracle(B), method_of(), randn(2, D)
    rows = np.array([0, 2])
    state = start(method, x, oracle(x[:, None, :], rows)[:, 0])
    step(oracle, method, state, randn(2, Q, D, seed=1), MU, rows=rows)
    assert oracle.queries.tolist() == [Q + 2, 0, Q + 2]


def test_step_without_enough_budget_does_not_move() -> None:
    f = Recorder()
    oracle = f.oracle(budget=1 + Q - 1)
    with pytest.raises(BudgetError, match=f"needs {Q}"):
        run(oracle, randn(1, D), randn(1, Q, D, seed=1))
    assert oracle.queries.tolist() == [1]


def test_conversation_and_step_agree() -> None:
    f = Recorder()
    oracle, method, x, u = f.oracle(), method_of(rule="adam"), randn(1, D), randn(1, Q, D, seed=1)
    state = start(method, x, x[:, 0])
    questions = ask_step(method, state, u, MU)
    probed = next(questions)
    torch.testing.assert_close(probed, x[:, None, :] + MU * u)
    moved = questions.send(probed[..., 0])
    assert moved.shape == (1, 1, D)
    with pytest.raises(StopIteration) as finished:
        questions.send(moved[..., 0])
    expected = step(oracle, method, state, u, MU)
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
        check_smoothing(smoothing, torch.float64)


def test_smoothing_below_the_rounding_of_the_dtype_is_refused() -> None:
    """8 eps: 1.8e-15 in float64, 9.5e-7 in float32."""
    assert check_smoothing(1e-6, torch.float64) == 1e-6
    with pytest.raises(ValueError, match=r"at least 9\.5e-07 for torch\.float32, got 5e-07.*float64"):
        check_smoothing(5e-7, torch.float32)
