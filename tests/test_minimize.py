"""`minimize` as a user meets it: results, types, stopping, and every way in which f can misbehave."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from zo_gym import METHODS, ObjectiveError, Progress, Result, make_problem, minimize, single_problem
from zo_gym.methods import build
from zo_gym.updates import sgd

X0 = np.array([1.0, -2.0, 0.5])
BLIND = [name for name, recipe in METHODS.items() if not recipe.needs_gradient and "rnn" not in recipe.update]
"""The methods that need neither a gradient nor weights."""


def parabola(x: Any) -> Any:
    return (x**2).sum()


class Counter:
    """A parabola that counts its calls and misbehaves from a given call on."""

    def __init__(self, bad: Any = None, at: int = 0) -> None:
        self.calls, self.bad, self.at = 0, bad, at

    def __call__(self, x: Any) -> Any:
        self.calls += 1
        if self.calls != self.at:
            return parabola(x)
        if isinstance(self.bad, BaseException):
            raise self.bad
        return self.bad


def assert_holds_the_best(result: Result | None, message: str) -> None:
    """An aborted run is a result like any other: its x has its fun, no worse than f(x0), and it says that it failed."""
    assert result is not None
    assert not result.success
    assert message in result.message
    assert result.fun == parabola(result.x) <= parabola(X0)
    assert result.nit >= 1


# The result


@pytest.mark.parametrize("method", BLIND)
def test_every_method_lowers_a_quadratic_tenfold(method: str) -> None:
    """At its default learning rate, f = |x|^2 / 2 in 10 dimensions from f = 5, within 5,000 queries.

    The slowest default step is 0.01 per coordinate with 21 queries a step: 238 steps go 2.4 where 1 is needed.
    """
    result = minimize(lambda X: 0.5 * (X**2).sum(1), np.ones(10), method=method, seed=0, batched=True, target=0.499)
    assert result.success
    assert result.nfev <= 5000
    assert result.fun < 0.5
    assert result.fun == 0.5 * (result.x**2).sum()


def test_true_gradient_takes_it_from_the_problem_at_no_queries() -> None:
    """f = |x|^2 with eta = 1/4: |x'| = ||x| / 2 - mu / 4|, so 20 steps of 2 queries end below mu / 2.

    20 gradients, one for each step: none is asked for a step that does not fit the budget.
    """
    evaluations = 0

    def gradient(x: torch.Tensor) -> torch.Tensor:
        nonlocal evaluations
        evaluations += len(x)
        return 2 * x

    start = torch.from_numpy(X0)
    problem = single_problem("sphere", 3, lambda x: x.square().sum(1), lambda g: start, gradient=gradient)
    result = minimize(problem, method="true-gradient", learning_rate=0.25, smoothing=1e-3, budget=41)
    assert (result.nfev, result.nit, evaluations) == (41, 20, 20)
    assert np.linalg.norm(result.x) < 5e-4


def test_true_gradient_of_a_black_box_is_refused() -> None:
    fun = Counter()
    with pytest.raises(ValueError, match=r"'true-gradient' follows grad f, and the gradient is unknown .* choose"):
        minimize(fun, X0, method="true-gradient")
    assert fun.calls == 0
    assert minimize(fun, X0, method="true-gradient", sampler="sphere", budget=3).nfev == 3


def test_history_needs_no_second_direction_in_one_dimension() -> None:
    result = minimize(parabola, [1.0], method="history-rgf", learning_rate=0.25, budget=101, seed=0)
    assert result.nit == 50  # 1 query at the start, 1 for the slope and 1 for the move
    assert build("history-rgf", 2).num_directions == 2
    assert build("zo-sgd", 2).num_directions == 20


def test_result_reads_like_scipys() -> None:
    result = minimize(parabola, X0, method="gp-tr", budget=101, seed=0)
    assert isinstance(result.x, np.ndarray)
    assert result.x.shape == (3,)
    assert isinstance(result.fun, float)
    assert result.fun == parabola(result.x)
    assert (result.nfev, result.nit) == (101, 50)  # 1 at the start, 2 a step
    assert result.success
    assert result.message == "Budget spent: 101 of 101 queries."


def test_trace_has_one_entry_per_step_and_one_for_the_start() -> None:
    result = minimize(parabola, X0, method="zo-sgd", num_directions=3, budget=81, seed=0)
    trace = result.trace
    assert trace.queries.tolist() == list(range(1, 82, 4))
    assert trace.queries.dtype == np.int64
    assert trace.fun[0] == parabola(X0)
    assert np.array_equal(trace.best, np.minimum.accumulate(trace.fun))
    assert trace.best[-1] == result.fun
    assert len(trace.fun) == result.nit + 1


def test_same_seed_same_run_and_another_seed_another() -> None:
    first, again, other = (minimize(parabola, X0, budget=100, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.trace.fun, again.trace.fun)
    assert np.array_equal(first.x, again.x)
    assert not np.array_equal(first.trace.fun, other.trace.fun)


def test_without_a_seed_runs_differ() -> None:
    first, second = (minimize(parabola, X0, budget=20).trace.fun for _ in range(2))
    assert not np.array_equal(first, second)


def test_global_randomness_is_left_alone() -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[union-attr]
    minimize(parabola, X0, budget=50, seed=0, noise_std=0.1)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)


def test_problem_by_name_brings_its_own_start() -> None:
    result = minimize("quadratic", budget=100, seed=0)
    assert isinstance(result.x, np.ndarray)
    assert result.x.shape == (10,)
    assert result.fun < result.trace.fun[0]
    again = minimize(make_problem("quadratic"), budget=100, seed=0)
    assert np.array_equal(result.x, again.x)


def test_parts_of_a_method_can_be_replaced() -> None:
    by_name = minimize(parabola, X0, method="zo-sgd", update="sgd", learning_rate=0.05, budget=200, seed=0)
    by_rule = minimize(parabola, X0, method="zo-sgd", update=sgd(0.05), budget=200, seed=0)
    assert np.array_equal(by_name.x, by_rule.x)
    other = minimize(parabola, X0, method="zo-sgd", sampler="rademacher", learning_rate=0.05, budget=200, seed=0)
    assert not np.array_equal(by_name.x, other.x)


# Types


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numpy_in_numpy_out(dtype: Any) -> None:
    seen = set()

    def fun(x: Any) -> Any:
        seen.add((type(x), x.dtype.type, x.shape))
        return parabola(x)

    x0 = X0.astype(dtype)
    result = minimize(fun, x0, budget=50, seed=0)
    assert seen == {(np.ndarray, dtype, (3,))}
    assert result.x.dtype == dtype
    assert np.array_equal(x0, X0.astype(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensor_in_tensor_out(dtype: torch.dtype) -> None:
    seen = set()

    def fun(x: Any) -> Any:
        seen.add((type(x), x.dtype, tuple(x.shape)))
        return parabola(x)

    x0 = torch.tensor(X0, dtype=dtype, requires_grad=True)
    result = minimize(fun, x0, budget=50, seed=0)
    assert seen == {(torch.Tensor, dtype, (3,))}
    assert result.x.dtype == dtype
    assert not result.x.requires_grad
    assert torch.equal(x0, torch.tensor(X0, dtype=dtype))


@pytest.mark.parametrize("x0", [[1, -2, 3], (1.0, -2.0, 3.0), np.array([1, -2, 3], dtype=np.int32)])
def test_start_without_a_floating_type_becomes_float64(x0: Any) -> None:
    assert minimize(parabola, x0, budget=50, seed=0).x.dtype == np.float64


def test_f_may_do_what_it_likes_to_its_argument() -> None:
    def vandal(x: Any) -> Any:
        value = parabola(x)
        x[:] = 1e9
        return value

    assert np.array_equal(minimize(vandal, X0, budget=50, seed=0).x, minimize(parabola, X0, budget=50, seed=0).x)
    assert X0.tolist() == [1.0, -2.0, 0.5]


@pytest.mark.parametrize(
    "wrap", [float, np.float32, lambda v: np.array([v]), lambda v: torch.tensor([[float(v)]]), int]
)
def test_one_number_may_come_in_any_real_wrapping(wrap: Any) -> None:
    result = minimize(lambda x: wrap(7), X0, budget=5, seed=0)
    assert result.fun == 7.0


@pytest.mark.parametrize(
    ("x0", "error", "complaint"),
    [
        ([], ValueError, r"x0 must hold at least one number, got \[\]"),
        ({}, ValueError, r"x0 must hold at least one number, got \{\}"),
        ([1.0, np.nan], ValueError, r"x0 must be finite, got \[ ?1\. nan\]"),
        (["a"], TypeError, "x0 must be a list, array or tensor of numbers"),
        ([1j], TypeError, "x0 must hold real numbers, got dtype torch.complex128"),
        ([True], TypeError, "x0 must hold real numbers, got dtype torch.bool"),
    ],
)
def test_start_that_is_none_is_explained(x0: Any, error: type[Exception], complaint: str) -> None:
    with pytest.raises(error, match=complaint):
        minimize(parabola, x0)


def test_function_without_a_start_asks_for_one() -> None:
    with pytest.raises(ValueError, match=r"its start is needed: pass x0=, a list or array of d numbers"):
        minimize(parabola)


# Batches


def test_the_directions_of_a_step_arrive_as_one_batch() -> None:
    shapes = []

    def fun(X: Any) -> Any:
        shapes.append(X.shape)
        return (X**2).sum(1)

    minimize(fun, X0, method="zo-sgd", num_directions=5, budget=13, batched=True, seed=0)
    assert shapes == [(1, 3), (5, 3), (1, 3), (5, 3), (1, 3)]


def test_reevaluation_joins_the_batch() -> None:
    shapes = []

    def fun(X: Any) -> Any:
        shapes.append(X.shape)
        return (X**2).sum(1)

    minimize(fun, X0, method="zo-sgd", num_directions=5, budget=8, batched=True, reevaluate=True, seed=0)
    assert shapes == [(1, 3), (6, 3), (1, 3)]


@pytest.mark.parametrize("x0", [X0, torch.tensor(X0)], ids=["numpy", "torch"])
@pytest.mark.parametrize("method", ["rand-ada", "guided-es"])
def test_batched_and_pointwise_are_the_same_run(x0: Any, method: str) -> None:
    """Products, spelt out, round alike in both forms."""
    fun = lambda x: x[0] * x[0] + x[1] * x[1] + x[2] * x[2]  # noqa: E731
    pointwise = minimize(fun, x0, method=method, budget=200, seed=0)
    batched = minimize(lambda X: fun(X.T), x0, method=method, budget=200, seed=0, batched=True)
    assert pointwise.trace.fun.tolist() == batched.trace.fun.tolist()


@pytest.mark.parametrize("wrap", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_batched_f_may_reuse_its_output_memory(wrap: Any) -> None:
    memory = np.empty(10)

    def fun(X: Any) -> Any:
        memory[: len(X)] = (X**2).sum(1)
        return wrap(memory[: len(X)])

    reused = minimize(fun, X0, budget=51, seed=0, batched=True)
    fresh = minimize(lambda X: (X**2).sum(1), X0, budget=51, seed=0, batched=True)
    assert np.array_equal(reused.trace.fun, fresh.trace.fun)


def test_executor_evaluates_the_points_of_a_batch_at_the_same_time() -> None:
    """The two probes of the step (calls 2 and 3) wait for each other: one after the other they would time out."""
    meet, lock, calls = threading.Barrier(2, timeout=20), threading.Lock(), iter(range(1, 5))

    def fun(x: Any) -> Any:
        with lock:
            call = next(calls)
        if call in (2, 3):
            meet.wait()
        return parabola(x)

    options: dict[str, Any] = {"method": "zo-sgd", "num_directions": 2, "budget": 4, "seed": 0}
    with ThreadPoolExecutor(2) as pool:
        parallel = minimize(fun, X0, executor=pool, **options)
    assert np.array_equal(parallel.trace.fun, minimize(parabola, X0, **options).trace.fun)


def test_executor_must_be_one() -> None:
    with pytest.raises(TypeError, match=r"executor must be a concurrent\.futures\.Executor, got 4"):
        minimize(parabola, X0, executor=4)  # type: ignore[arg-type]


def test_executor_and_batched_exclude_each_other() -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match=r"executor= .* Drop one"):
        minimize(parabola, X0, batched=True, executor=pool)


def test_batched_needs_a_function() -> None:
    with pytest.raises(TypeError, match=r"batched= and executor= are for functions; problem 'quadratic'"):
        minimize("quadratic", batched=True)


# Stopping


@pytest.mark.parametrize("how", ["True", "StopIteration"])
def test_callback_stops_the_run(how: str) -> None:
    seen: list[Progress] = []

    def callback(progress: Progress) -> bool:
        seen.append(progress)
        if len(seen) == 3 and how == "StopIteration":
            raise StopIteration
        return len(seen) == 3

    result = minimize(parabola, X0, method="gp-tr", seed=0, callback=callback)
    assert result.success
    assert result.message.startswith("Stopped by the callback.")
    assert [(p.nit, p.nfev) for p in seen] == [(1, 3), (2, 5), (3, 7)]
    assert (result.nit, result.nfev) == (3, 7)
    assert [p.fun for p in seen] == result.trace.best[1:].tolist()
    assert all(p.fun == parabola(p.x) for p in seen)


GRAPH = torch.ones(3, requires_grad=True).sum()


@pytest.mark.parametrize("answer", [None, False, 0, 1, "yes", [True], [[1, 2], [3]], GRAPH, np.ones(2, dtype=bool)])
def test_only_true_stops_the_run(answer: Any) -> None:
    assert minimize(parabola, X0, budget=21, seed=0, callback=lambda p: answer).nfev == 21


def test_callback_may_answer_with_a_numpy_bool() -> None:
    assert minimize(parabola, X0, budget=21, seed=0, callback=lambda p: np.all(np.isfinite(p.x))).nit == 1


def test_callback_cannot_disturb_the_run() -> None:
    def vandal(progress: Progress) -> None:
        progress.x[:] = 1e9

    disturbed, quiet = (minimize(parabola, X0, budget=50, seed=0, callback=c) for c in (vandal, None))
    assert np.array_equal(disturbed.x, quiet.x)


def test_exception_in_the_callback_reaches_the_user() -> None:
    def callback(progress: Progress) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        minimize(parabola, X0, callback=callback)


def test_target_stops_the_run() -> None:
    result = minimize(parabola, X0, target=1.0, seed=0)
    assert result.success
    assert result.message.startswith("Target reached: f <= 1.0.")
    assert result.fun <= 1.0 < result.trace.fun[:-1].min()


def test_target_met_by_the_start_costs_one_query() -> None:
    result = minimize(parabola, X0, target=100.0, seed=0)
    assert (result.nfev, result.nit) == (1, 0)
    assert np.array_equal(result.x, X0)


def test_ctrl_c_inside_f_returns_the_best_so_far() -> None:
    fun = Counter(KeyboardInterrupt(), at=10)
    assert_holds_the_best(minimize(fun, X0, seed=0), "Interrupted")


def test_ctrl_c_before_anything_is_known_is_passed_on() -> None:
    with pytest.raises(KeyboardInterrupt):
        minimize(Counter(KeyboardInterrupt(), at=1), X0)


@pytest.mark.parametrize(("budget", "nfev"), [(22, 22), (23, 22), (42, 22), (43, 43)])
def test_step_that_does_not_fit_the_budget_is_not_begun(budget: int, nfev: int) -> None:
    assert minimize(parabola, X0, method="zo-sgd", budget=budget, seed=0).nfev == nfev


# f misbehaves


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (float("nan"), "returned nan at query 10"),
        (float("inf"), "returned inf at query 10"),
        (-np.inf, "returned -inf at query 10"),
        (np.ones(3), r"must return one number, got shape \(3,\).*batched=True"),
        (1j, "must return real numbers, got complex: 1j"),
        ("5", "must return real numbers, got str: '5'"),
        (None, "must return real numbers, got NoneType"),
        (ZeroDivisionError("division by zero"), "raised ZeroDivisionError: division by zero"),
        (StopIteration(), "raised StopIteration"),
    ],
)
def test_error_names_what_f_did_and_keeps_the_best(bad: Any, complaint: str) -> None:
    fun = Counter(bad, at=10)
    with pytest.raises(ObjectiveError, match=complaint) as caught:
        minimize(fun, X0, seed=0)
    assert_holds_the_best(caught.value.result, str(caught.value))
    if isinstance(bad, Exception):
        assert caught.value.__cause__ is bad


@pytest.mark.parametrize("on_failure", ["raise", "penalize", "retry"])
def test_failure_at_the_start_has_no_result(on_failure: Any) -> None:
    with pytest.raises(ObjectiveError, match="returned nan") as caught:
        minimize(lambda x: np.nan, X0, on_failure=on_failure)
    assert caught.value.result is None


@pytest.mark.parametrize(
    ("fun", "complaint"),
    [
        (lambda X: X, r"one value per row, shape \(1,\) for X \(1, 3\), got shape \(1, 3\).*batched=False"),
        (lambda X: 1.0, r"got shape \(\)"),
        (lambda X: ["a"], "must return real numbers, got list"),
        (lambda X: np.ones(len(X)) * 1j, "must return real numbers, got ndarray"),
        (lambda X: torch.ones(len(X)) * 1j, "must return real numbers, got torch.complex64"),
        (lambda X: np.full(len(X), np.nan), "returned nan at query 1"),
    ],
)
def test_batched_function_of_the_wrong_shape_or_type_is_explained(fun: Any, complaint: str) -> None:
    with pytest.raises(ObjectiveError, match=complaint):
        minimize(fun, X0, batched=True)


def test_penalize_goes_on_after_a_failure() -> None:
    fun = Counter(float("nan"), at=10)
    result = minimize(fun, X0, budget=501, seed=0, on_failure="penalize")
    assert result.success
    assert result.nfev == fun.calls == 501
    assert result.fun == parabola(result.x) < 0.1 * parabola(X0)


def test_penalize_survives_a_region_where_f_raises() -> None:
    """f = x - log x fails for x <= 0 and has its minimum 1 at 1; the first central probe is at 0.005 - 0.01 < 0."""

    def fun(x: Any) -> float:
        if x[0] <= 0:
            raise ArithmeticError("left of the pole")
        return float(x[0] - np.log(x[0]))

    with pytest.warns(RuntimeWarning, match=r"f raised ArithmeticError: left of the pole\. It counts as NaN"):
        result = minimize(fun, [0.005], estimator="central", budget=400, seed=0, on_failure="penalize")
    assert result.success
    assert result.fun < 1.1


def test_retry_asks_the_same_point_again() -> None:
    fun = Counter(float("nan"), at=10)
    result, calm = (minimize(f, X0, budget=b, seed=0, on_failure="retry") for f, b in ((fun, 52), (Counter(), 51)))
    assert result.nfev == fun.calls == calm.nfev + 1
    assert np.array_equal(result.x, calm.x)


def test_retry_gives_up_with_the_best_so_far() -> None:
    fun = lambda x: parabola(x) if parabola(x) > 1 else np.nan  # noqa: E731
    with pytest.raises(ObjectiveError, match="after 3 retries") as caught:
        minimize(fun, X0, seed=0, on_failure="retry")
    assert_holds_the_best(caught.value.result, "after 3 retries")


def test_retries_of_a_step_are_part_of_what_must_fit_the_budget() -> None:
    """Every point fails three times: 4 queries each for the start, the probe and the move make 12; 11 are too few."""
    calls = iter(range(10**6))
    fun = lambda x: parabola(x) if next(calls) % 4 == 3 else np.nan  # noqa: E731
    result = minimize(fun, X0, method="gp-tr", budget=12, seed=0, on_failure="retry")
    assert result.success
    assert (result.nfev, result.nit) == (next(calls), 1) == (12, 1)
    with pytest.raises(ValueError, match=r"budget must be at least 12 .*, got 11"):
        minimize(fun, X0, method="gp-tr", budget=11, on_failure="retry")


@pytest.mark.parametrize("bad", [float("nan"), KeyboardInterrupt()])
def test_aborted_run_counts_the_query_that_failed(bad: Any) -> None:
    fun = Counter(bad, at=10)
    try:
        result: Result | None = minimize(fun, X0, seed=0)
    except ObjectiveError as error:
        result = error.result
    assert result is not None
    assert result.nfev == fun.calls == 10


def test_f_of_a_trainable_network_leaves_no_graph_behind() -> None:
    weight = torch.ones(3, dtype=torch.float64, requires_grad=True)
    x0 = torch.tensor(X0)
    result = minimize(lambda X: (weight * X**2).sum(1), x0, batched=True, budget=50, seed=0)
    assert not result.x.requires_grad


def test_batched_f_with_trainable_weights_works_from_a_numpy_start() -> None:
    weight = torch.ones(3, dtype=torch.float64, requires_grad=True)
    fun = lambda X: (weight * torch.from_numpy(X) ** 2).sum(1)  # noqa: E731
    assert minimize(fun, X0, batched=True, budget=50, seed=0).nfev == 50


def test_pointwise_f_of_a_trainable_network_is_plain_numbers() -> None:
    weight = torch.ones(3, dtype=torch.float64, requires_grad=True)
    assert not minimize(lambda x: (weight * x**2).sum(), torch.tensor(X0), budget=50, seed=0).x.requires_grad


# Noise


def test_noise_is_added_and_the_run_reports_its_last_iterate() -> None:
    """With `reevaluate` the result is the last iterate, not the luckiest."""
    result = minimize(parabola, X0, method="zo-sgd", budget=500, seed=0, noise_std=0.1, reevaluate=True)
    assert result.fun == result.trace.fun[-1]
    assert result.trace.best[-1] < result.fun
    assert abs(result.fun - parabola(result.x)) < 0.5  # 5 standard deviations of the noise


def test_noisy_parabola_is_minimised_to_the_scale_of_the_noise() -> None:
    """Adaptive steps on f = |x|^2 with s = 0.01, mu = 0.5: slopes are off by ~ 0.03, so |x| ~ 0.1 is within reach."""
    options = {"smoothing": 0.5, "budget": 3000, "seed": 0, "noise_std": 0.01, "reevaluate": True}
    result = minimize(parabola, X0, method="rand-ada", **options)
    assert parabola(result.x) < 0.05 * parabola(X0)


def test_noise_comes_from_the_seed() -> None:
    first, again, other = (minimize(parabola, X0, budget=51, seed=s, noise_std=0.1).trace.fun for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert first[0] != other[0]


# Arguments


@pytest.mark.parametrize(
    ("options", "error", "complaint"),
    [
        ({"method": "zo-sdg"}, ValueError, "Unknown method 'zo-sdg'. Did you mean 'zo-sgd'"),
        ({"sampler": "gausian"}, ValueError, "Unknown sampler 'gausian'. Did you mean 'gaussian'"),
        ({"estimator": "centrl"}, ValueError, "Unknown estimator 'centrl'. Did you mean 'central'"),
        ({"update": "adamw"}, ValueError, "Unknown update 'adamw'. Did you mean 'adam"),
        ({"sampler": 3}, TypeError, r"sampler must be a name \(str\), got 3"),
        ({"on_failure": "penalise"}, ValueError, "Unknown on_failure 'penalise'. Did you mean 'penalize'"),
        ({"budgett": 10}, TypeError, "unexpected keyword argument 'budgett'"),
        ({"budget": 2}, ValueError, r"budget must be at least 3 queries .*, got 2\. Raise budget"),
        ({"budget": 1e4}, TypeError, "budget must be an integer >= 1, got 10000.0. Pass an int"),
        ({"budget": True}, TypeError, "budget must be an integer >= 1, got True. Pass an int"),
        ({"budget": 10**30}, ValueError, "budget must be at most 4611686018427387904 queries, got 1000000"),
        ({"target": "a"}, TypeError, "target must be a finite number, got 'a'. Pass a number"),
        ({"target": np.nan}, ValueError, "target must be a finite number, got nan"),
        ({"callback": 5}, TypeError, "callback must be a function of a Progress, got 5"),
        ({"options": "a"}, TypeError, "options must be a dict of keywords, got 'a'"),
        ({"reevaluate": "x"}, TypeError, "reevaluate must be a bool, got 'x'"),
        ({"gradient_model": "gp-wid"}, ValueError, "Unknown gradient_model 'gp-wid'. Did you mean 'gp-wide'"),
        ({"smoothing": 0}, ValueError, "smoothing must be a finite number > 0, got 0"),
        ({"learning_rate": -1.0}, ValueError, "learning_rate must be a finite number > 0, got -1.0"),
        ({"num_directions": 0}, ValueError, "num_directions must be >= 1, got 0"),
        ({"num_directions": 1.5}, TypeError, "num_directions must be an integer >= 1, got 1.5"),
        ({"num_directions": 4}, ValueError, "num_directions <= dim, got 4 > 3. Lower num_directions"),
        ({"noise_std": -1.0}, ValueError, "noise_std must be a finite number >= 0, got -1.0"),
        ({"update": sgd(1.0), "learning_rate": 1.0}, ValueError, "Drop learning_rate="),
    ],
)
def test_argument_out_of_range_is_explained(options: dict[str, Any], error: type[Exception], complaint: str) -> None:
    with pytest.raises(error, match=complaint):
        minimize(parabola, X0, **options)


def test_too_many_directions_are_refused_before_a_query_is_spent() -> None:
    fun = Counter()
    with pytest.raises(ValueError, match="num_directions <= dim, got 4 > 3"):
        minimize(fun, X0, num_directions=4)
    assert fun.calls == 0


def test_number_of_directions_may_be_a_numpy_integer() -> None:
    assert build("zo-sgd", 3, num_directions=np.int64(2)).num_directions == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [-1, 1.5, True, "a"])
def test_seed_that_is_none_is_explained(seed: Any) -> None:
    with pytest.raises(ValueError, match=f"seed must be an integer >= 0 or None, got {seed!r}"):
        minimize(parabola, X0, seed=seed)


@pytest.mark.parametrize("fun", [3, None, X0])
def test_what_cannot_be_minimised_is_named(fun: Any) -> None:
    with pytest.raises(TypeError, match=r"must be a name, a function or a zo_gym\.Problem, got"):
        minimize(fun, X0)


# Size


def test_a_million_variables_with_one_direction() -> None:
    """O(d) memory: 8 MB a vector. Eq. 2 along one of 10^6 directions gains about 1e-6 of f: some decrease, no more."""
    x0 = np.ones(1_000_000)
    result = minimize(lambda X: (X**2).sum(1), x0, method="rand-ada", budget=9, seed=0, batched=True)
    assert result.x.shape == x0.shape
    assert 0 < 1e6 - result.fun < 1e6 * 1e-4
    assert np.array_equal(x0, np.ones(1_000_000))


# What the run tells the method


@pytest.mark.parametrize(("method", "power"), [("gp-tr", 1), ("gp", 2)])
@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_the_unit_of_x_does_not_matter(method: str, power: int, unit: float) -> None:
    """In another unit of x, with smoothing and step in it, the run is the same until rounding shows.

    The gradient model must know the smoothing for that. A length scales with the unit, eta = x / g with its square.
    """

    def run(unit: float) -> Result:
        rate = first_rate * unit**power
        options = {"smoothing": 0.01 * unit, "learning_rate": rate, "budget": 100, "seed": 0}
        return minimize(lambda x: float((weights * (x / unit - 1) ** 2).sum()), np.zeros(5), method=method, **options)

    weights, first_rate = np.arange(1, 6), METHODS[method].learning_rate(5)
    plain, scaled = run(1.0), run(unit)
    np.testing.assert_allclose(scaled.trace.fun[:10], plain.trace.fun[:10], rtol=1e-3)
    assert max(scaled.fun, plain.fun) < 1e-6


def test_options_of_a_baseline_must_not_repeat_an_argument() -> None:
    with pytest.raises(TypeError, match=r"options= must not repeat an argument, got 'learning_rate' in both"):
        minimize(parabola, X0, method="zo-svrg", learning_rate=0.1, options={"learning_rate": 1e-9})


def test_numbers_may_be_tensors_and_arrays_of_one_element() -> None:
    plain = minimize(parabola, X0, budget=50, noise_std=0.1, seed=0)
    found = minimize(parabola, X0, budget=torch.tensor(50), noise_std=np.array([0.1]), seed=0)  # type: ignore[arg-type]
    assert (found.nfev, found.fun) == (plain.nfev, plain.fun)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_steps_are_as_fine_as_ever_where_x0_is_coarse(dtype: torch.dtype) -> None:
    """x is rounded to its dtype for f alone; the default smoothing is as long as that rounding needs."""
    result = minimize(lambda x: float((x.double() ** 2).sum()), torch.ones(64, dtype=dtype), budget=2000, seed=0)
    assert result.x.dtype == dtype
    assert result.fun < 0.05 * 64


def test_a_value_beyond_the_range_of_x0s_dtype_is_no_failure() -> None:
    result = minimize(lambda x: 70016.0 + float((x.double() ** 2).sum()), torch.ones(2, dtype=torch.float16), budget=60)
    assert 70016 <= result.fun < 70018


def test_f_may_train_a_network_inside() -> None:
    """Gradients are on inside f, although the library's own tensors need none."""

    def after_one_step(x: np.ndarray) -> float:
        weight = torch.tensor(x, requires_grad=True)
        (weight**2).sum().backward()
        assert weight.grad is not None
        return float(((weight - 0.1 * weight.grad) ** 2).sum().detach())

    assert minimize(after_one_step, X0, budget=60, seed=0).fun < 0.1 * after_one_step(X0)


@pytest.mark.parametrize("part", ["sampler", "estimator", "gradient_model", "update"])
def test_an_empty_name_is_no_default(part: str) -> None:
    with pytest.raises(ValueError, match=f"Unknown {part} ''"):
        minimize(parabola, X0, **{part: ""})
