"""The only door to f: counting, budget, noise, and what happens to values that are no numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from zo_gym.errors import BudgetError, DivergenceError, ObjectiveError
from zo_gym.oracle import RETRIES, Oracle
from zo_gym.problem import Problem, single_problem
from zo_gym.rng import make_generator

D = 2
CODES = {math.nan: 1e300, math.inf: 1e301, -math.inf: -1e301}
"""The x_0 at which `first` returns what is no finite number: a query at such a point itself is refused."""


def problem(fun: Callable[[Tensor], Any]) -> Problem:
    return single_problem("test", D, fun, lambda g: torch.zeros(D, dtype=torch.float64))


def first(points: Tensor) -> Tensor:
    """f(x) = x_0, or what is no number where x_0 stands for it: whatever value a test wants."""
    values = points[:, 0].clone()
    for value, code in CODES.items():
        values[values == code] = value
    return values


def points(*values: list[float]) -> Tensor:
    """Points (b, m, d) at which `first` takes these values."""
    coded = [[CODES[v] if v in CODES else 1e300 if math.isnan(v) else v for v in row] for row in values]
    x = torch.tensor(coded, dtype=torch.float64)
    return torch.stack([x, torch.zeros_like(x)], dim=-1)


def zeros(b: int, m: int) -> Tensor:
    return torch.zeros(b, m, D, dtype=torch.float64)


class Recorder:
    """f = 0 that remembers the batch sizes it was called with."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, x: Tensor) -> Tensor:
        self.calls.append(len(x))
        return torch.zeros(len(x), dtype=x.dtype)


class Flaky:
    """f = 1, but NaN for the first `failures` points it is shown."""

    def __init__(self, failures: int) -> None:
        self.left = failures

    def __call__(self, x: Tensor) -> Tensor:
        values = torch.ones(len(x), dtype=x.dtype)
        n = min(self.left, len(x))
        values[:n] = math.nan
        self.left -= n
        return values


# Values and counts


def test_values_come_back_in_the_shape_that_was_asked() -> None:
    assert Oracle(problem(first), 2)(points([1, 2, 3], [4, 5, 6])).tolist() == [[1, 2, 3], [4, 5, 6]]


def test_all_rows_are_evaluated_in_one_call_of_f() -> None:
    f = Recorder()
    Oracle(problem(f), 3)(zeros(3, 4))
    assert f.calls == [12]


def test_queries_are_counted_per_row_and_in_total() -> None:
    oracle = Oracle(problem(first), 3)
    oracle(zeros(3, 2))
    oracle(zeros(2, 5), np.array([0, 2]))
    assert oracle.queries.tolist() == [7, 2, 7]
    assert oracle.total == 16


def test_restart_gives_a_fresh_budget_but_the_total_goes_on() -> None:
    oracle = Oracle(problem(first), 2, budget=4)
    oracle(zeros(2, 4))
    oracle.restart(np.array([1]), [make_generator(0)])
    assert oracle.queries.tolist() == [4, 0]
    assert oracle.remaining.tolist() == [0, 4]
    oracle(zeros(1, 4), np.array([1]))
    assert oracle.total == 12


def test_state_dict_restores_the_counts() -> None:
    oracle = Oracle(problem(first), 2, on_failure="penalize")
    oracle(points([1, math.nan], [5, 6]))
    other = Oracle(problem(first), 2, on_failure="penalize")
    other.load_state_dict(oracle.state_dict())
    assert other.queries.tolist() == [2, 2]
    assert other.failures.tolist() == [1, 0]
    assert other.total == 4
    assert other(points([math.nan], [math.nan])).tolist() == [[1], [6]]


def test_state_dict_is_a_copy() -> None:
    oracle = Oracle(problem(first))
    state = oracle.state_dict()
    oracle(zeros(1, 3))
    assert state["queries"].tolist() == [0]


def test_points_are_not_mutated() -> None:
    x = points([1, math.nan])
    Oracle(problem(first), on_failure="penalize")(x)
    assert torch.equal(x.nan_to_num(7), points([1, math.nan]).nan_to_num(7))


# Budget


def test_budget_is_checked_before_f_is_called() -> None:
    f = Recorder()
    oracle = Oracle(problem(f), 2, budget=5)
    oracle(zeros(2, 3))
    with pytest.raises(BudgetError, match=r"Budget of 5 queries has 2 left; this call needs 3\. Raise budget="):
        oracle(zeros(2, 3))
    assert f.calls == [6]
    assert oracle.queries.tolist() == [3, 3]
    assert oracle.total == 6
    oracle(zeros(2, 2))
    assert oracle.remaining.tolist() == [0, 0]


@pytest.mark.parametrize(("on_failure", "most"), [("raise", 8), ("penalize", 8), ("retry", 2)])
def test_fits_allows_for_every_retry(on_failure: Any, most: int) -> None:
    """8 queries left hold 8 queries, or 2 where each may be asked 4 times; a row's own budget counts."""
    oracle = Oracle(problem(first), 2, budget=8, on_failure=on_failure)
    assert oracle.fits(most).tolist() == [True, True]
    assert oracle.fits(most + 1).tolist() == [False, False]
    oracle(zeros(1, 1), np.array([1]))
    assert oracle.fits(most).tolist() == [True, False]
    assert oracle.fits(np.array([most, 1])).tolist() == [True, True]


def test_budget_is_each_rows_own() -> None:
    oracle = Oracle(problem(first), 2, budget=5)
    oracle(zeros(1, 4), np.array([0]))
    oracle(zeros(1, 5), np.array([1]))
    with pytest.raises(BudgetError, match="has 0 left"):
        oracle(zeros(2, 1))


def test_without_a_budget_queries_never_run_out() -> None:
    oracle = Oracle(problem(first))
    oracle(zeros(1, 1000))
    assert oracle.remaining[0] > 10**18


# Noise


def test_noise_has_the_stated_mean_and_deviation() -> None:
    """n = 20,000: the mean within 5 s / sqrt(n), the variance within 5 s^2 sqrt(2 / n) (p < 1e-6 each)."""
    n, s = 20_000, 0.3
    values = Oracle(problem(first), noise_std=s, generators=[make_generator(0)])(points([2.0] * n))[0]
    assert abs(values.mean().item() - 2) < 5 * s / math.sqrt(n)
    assert abs(values.var().item() - s**2) < 5 * s**2 * math.sqrt(2 / n)


def test_noise_is_drawn_anew_for_every_query_and_reproducibly() -> None:
    def run(seed: int) -> list[float]:
        oracle = Oracle(problem(first), noise_std=1.0, generators=[make_generator(seed)])
        return [*oracle(zeros(1, 2))[0].tolist(), *oracle(zeros(1, 1))[0].tolist()]

    assert len(set(run(0))) == 3
    assert run(0) == run(0)
    assert run(0) != run(1)


def test_noise_of_a_row_does_not_depend_on_its_companions() -> None:
    together = Oracle(problem(first), 3, noise_std=1.0, generators=[make_generator(i) for i in range(3)])(zeros(3, 4))
    for row in range(3):
        alone = Oracle(problem(first), noise_std=1.0, generators=[make_generator(row)])(zeros(1, 4))
        assert torch.equal(alone[0], together[row])
        some = Oracle(problem(first), 3, noise_std=1.0, generators=[make_generator(i) for i in range(3)])
        assert torch.equal(some(zeros(1, 4), np.array([row])), alone)


@pytest.mark.parametrize("given", [0, 1, 2])
def test_noise_needs_one_generator_a_row(given: int) -> None:
    with pytest.raises(ValueError, match=rf"noise_std > 0 needs .*generators.* 3, got {given}\."):
        Oracle(problem(first), 3, noise_std=1.0, generators=[make_generator(i) for i in range(given)])


@pytest.mark.parametrize("noise_std", [-1.0, math.nan, math.inf])
def test_noise_must_be_finite_and_not_negative(noise_std: float) -> None:
    with pytest.raises(ValueError, match=f"noise_std must be a finite number >= 0, got {noise_std}"):
        Oracle(problem(first), noise_std=noise_std)


def test_noise_so_large_that_values_overflow_is_an_error() -> None:
    oracle = Oracle(problem(first), noise_std=1e308, generators=[make_generator(0)], on_failure="penalize")
    # a draw above 1.8 deviations overflows: 1,000 of them stay below with chance .93^1000 = 1e-32
    with pytest.raises(ObjectiveError, match=r"noise_std must keep f \+ noise finite, got 1e\+308\. Lower it"):
        oracle(points([1.0] * 1000))


# What f may return


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_value_that_is_not_finite_raises_where_it_was_found(bad: float) -> None:
    fun = problem(lambda x: torch.where(x[:, 0] == 3, bad, x[:, 0]))
    oracle = Oracle(fun, 2)
    with pytest.raises(ObjectiveError, match=rf"'test' returned {bad} at query 2, at x = \[3\. 0\.\]") as caught:
        oracle(points([1, 2], [3, 4]))
    assert caught.value.point is not None
    assert caught.value.point.tolist() == [3, 0]
    assert "on_failure='penalize'" in str(caught.value)
    assert oracle.queries.tolist() == [2, 2]
    assert oracle.failures.tolist() == [0, 1]


def test_iterate_that_diverged_is_blamed_on_the_learning_rate() -> None:
    oracle = Oracle(problem(first))
    with pytest.raises(DivergenceError, match=r"x is no longer finite after 0 queries.*Lower learning_rate"):
        oracle(torch.full((1, 1, D), math.inf, dtype=torch.float64))
    assert oracle.queries.tolist() == [0]


def test_a_finite_point_whose_sum_overflows_is_queried() -> None:
    assert Oracle(problem(first))(torch.full((1, 1, D), 1.7e308, dtype=torch.float64)).tolist() == [[1.7e308]]


def test_finite_values_whose_sum_overflows_are_fine() -> None:
    assert Oracle(problem(first))(points([1.7e308, 1.7e308])).tolist() == [[1.7e308, 1.7e308]]


@pytest.mark.parametrize(
    ("fun", "complaint"),
    [
        (lambda x: x, r"one value per point, shape \(6,\) for points \(6, 2\), got shape \(6, 2\)"),
        (lambda x: x.sum(), r"one value per point, shape \(6,\) .* got shape \(\)"),
        (lambda x: x[:, 0].long(), "must return a real torch tensor, got a torch.int64 tensor"),
        (lambda x: x[:, 0] + 1j, "must return a real torch tensor, got a torch.complex128 tensor"),
        (lambda x: x[:, 0].numpy(), "must return a real torch tensor, got ndarray"),
        (lambda x: None, "must return a real torch tensor, got NoneType"),
    ],
)
def test_objective_of_the_wrong_type_or_shape_is_explained(fun: Callable[[Tensor], Any], complaint: str) -> None:
    with pytest.raises(ObjectiveError, match=complaint):
        Oracle(problem(fun), 2)(zeros(2, 3))


@pytest.mark.parametrize("kind", [ZeroDivisionError, BudgetError])  # f may spend a budget of its own
def test_exception_in_f_is_chained(kind: type[Exception]) -> None:
    def fun(x: Tensor) -> Tensor:
        raise kind("oops")

    with pytest.raises(ObjectiveError, match=f"f of problem 'test' raised {kind.__name__}: oops") as caught:
        Oracle(problem(fun))(points([4.0]))
    assert isinstance(caught.value.__cause__, kind)
    assert caught.value.point is not None
    assert caught.value.point.tolist() == [4, 0]


def test_values_carry_no_autograd_graph() -> None:
    weight = torch.ones(1, dtype=torch.float64, requires_grad=True)
    assert not Oracle(problem(lambda x: x[:, 0] * weight))(zeros(1, 2)).requires_grad


def test_values_stay_what_they_were_when_f_reuses_its_memory() -> None:
    memory = torch.empty(1, dtype=torch.float64)
    oracle = Oracle(problem(lambda x: memory.copy_(x[:, 0])))
    earlier = oracle(points([1]))
    oracle(points([2]))
    assert earlier.item() == 1


# on_failure


def test_penalize_counts_a_failure_as_the_worst_value_of_its_own_row() -> None:
    oracle = Oracle(problem(first), 2, on_failure="penalize")
    oracle(points([7, 1], [20, 30]))
    values = oracle(points([2, math.nan], [math.inf, 3]))
    assert values.tolist() == [[2, 7], [30, 3]]
    assert oracle.failures.tolist() == [1, 1]
    assert oracle.queries.tolist() == [4, 4]


def test_penalize_takes_the_worst_of_the_same_batch_into_account() -> None:
    assert Oracle(problem(first), on_failure="penalize")(points([math.nan, 3, 2])).tolist() == [[3, 3, 2]]


def test_penalize_knows_the_rows_that_it_is_asked_for() -> None:
    oracle = Oracle(problem(first), 3, on_failure="penalize")
    oracle(points([1], [2], [3]))
    assert oracle(points([math.nan], [math.nan]), np.array([2, 0])).tolist() == [[3], [1]]


def test_penalize_forgets_at_restart() -> None:
    oracle = Oracle(problem(first), on_failure="penalize")
    oracle(points([7]))
    oracle.restart(np.array([0]), [make_generator(0)])
    with pytest.raises(ObjectiveError, match="returned nan at query 1"):
        oracle(points([math.nan]))


def test_penalty_is_not_itself_blurred_into_a_new_worst_by_noise() -> None:
    oracle = Oracle(problem(first), on_failure="penalize", noise_std=1.0, generators=[make_generator(0)])
    oracle(points([7]))
    oracle(points([math.nan] * 50))
    assert oracle.state_dict()["worst"].tolist() == [7]


@pytest.mark.parametrize("failures", range(1, RETRIES + 1))
def test_retry_queries_the_same_point_again_and_counts_it(failures: int) -> None:
    oracle = Oracle(problem(Flaky(failures)), on_failure="retry")
    assert oracle(zeros(1, 1)).tolist() == [[1]]
    assert oracle.queries.tolist() == [1 + failures]
    assert oracle.total == 1 + failures


def test_retry_gives_up_after_its_last_attempt() -> None:
    oracle = Oracle(problem(Flaky(RETRIES + 1)), on_failure="retry")
    with pytest.raises(ObjectiveError, match=f"returned nan at query {RETRIES + 1} after {RETRIES} retries"):
        oracle(zeros(1, 1))
    assert oracle.queries.tolist() == [RETRIES + 1]


def test_retry_repeats_only_the_points_that_failed() -> None:
    oracle = Oracle(problem(Flaky(2)), 2, on_failure="retry")
    assert oracle(zeros(2, 3)).tolist() == [[1, 1, 1], [1, 1, 1]]
    assert oracle.queries.tolist() == [5, 3]


def test_retry_never_exceeds_the_budget() -> None:
    oracle = Oracle(problem(Flaky(2)), budget=2, on_failure="retry")
    with pytest.raises(BudgetError, match="Budget of 2 queries has 0 left"):
        oracle(zeros(1, 1))
    assert oracle.queries.tolist() == [2]


def test_unknown_on_failure_is_corrected() -> None:
    with pytest.raises(ValueError, match=r"Unknown on_failure 'penalise'\. Did you mean 'penalize'\?"):
        Oracle(problem(first), on_failure="penalise")  # type: ignore[arg-type]
