"""The methods that own their loop: they work, they are counted, and `minimize` treats them like any other."""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from zo_gym import BASELINES, BudgetError, ObjectiveError, Optimizer, Progress, Result, minimize
from zo_gym.baselines import run_baseline
from zo_gym.rng import make_generator

X0 = np.array([1.0, -2.0, 0.5])
START = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)


def parabola(X: Any) -> Any:
    return (X**2).sum(1)


def ellipsoid(X: Any) -> Any:
    return (np.arange(1, X.shape[1] + 1) * X**2).sum(1)


def rosenbrock(X: Any) -> Any:
    return 100 * (X[:, 1] - X[:, 0] ** 2) ** 2 + (1 - X[:, 0]) ** 2


class Batches:
    """f = |x|^2 under a budget; keeps the points (m, d) and values (m,) of every batch."""

    def __init__(self, budget: float = math.inf) -> None:
        self.points: list[Tensor] = []
        self.values: list[Tensor] = []
        self.left = budget

    def __call__(self, points: Tensor) -> Tensor:
        if len(points) > self.left:
            raise BudgetError
        self.left -= len(points)
        self.points.append(points.clone())
        self.values.append(points.square().sum(1))
        return self.values[-1]

    @property
    def sizes(self) -> list[int]:
        return [len(points) for points in self.points]


def optimise(f: Any, x0: Any, method: str, **options: Any) -> Result:
    return minimize(f, x0, method=method, batched=True, **{"seed": 0, **options})


# They find minima


def test_svrg_gets_to_the_bias_of_its_differences() -> None:
    """f = |x|^2 / 2, d = 10, at the default eta = 1 / d. A step without noise leaves 0.9 x, so the 220 steps that 5,000
    queries buy forget the start. What stays is the bias of g~: mu / 2 per coordinate, f = 10 (mu / 2)^2 / 2 = 1.25e-4;
    8 times that leaves room for noise."""
    assert optimise(lambda X: parabola(X) / 2, np.ones(10), "zo-svrg", budget=5000).fun < 1e-3


def test_cma_es_converges_on_an_ellipsoid() -> None:
    """d = 10, condition 10, from f = 55: 9 decades to 1e-7. A sphere takes it about 100 queries a decade at d = 10;
    three times as many, for the condition, are 2,700."""
    assert optimise(ellipsoid, np.ones(10), "cma-es", budget=2700).fun < 1e-7


@pytest.mark.parametrize(("method", "budget"), [("cma-es", 2000), ("l-bfgs-b", 400)])
def test_curved_valley(method: str, budget: int) -> None:
    """Rosenbrock from (-1.2, 1): quasi-Newton methods take some 40 gradients (3 queries each) in the literature, CMA-ES
    some hundreds of queries; both budgets are about three times that."""
    assert optimise(rosenbrock, np.array([-1.2, 1.0]), method, budget=budget).fun < 1e-6


def test_l_bfgs_b_stops_when_it_has_converged() -> None:
    """A parabola takes few steps; the differences' error, sqrt(eps) / 2 per coordinate, is all that remains."""
    result = optimise(parabola, np.ones(10), "l-bfgs-b")
    assert result.success
    assert result.message == f"Converged after {result.nfev} of 5000 queries."
    assert result.nfev < 100
    assert result.fun < 1e-14


def two_bowls(x: Any) -> Any:
    """Minima of 1 at 1.5 and 0 at -3; between them f has a ridge at x = -23 / 36."""
    return np.minimum((x[:, 0] - 1.5) ** 2 + 1, (x[:, 0] + 3) ** 2)


FAR = {"restart_std": 3.0}


def test_l_bfgs_b_restarts_until_its_budget_is_spent() -> None:
    """A normal number of standard deviation 3 takes x0 = 1 below the ridge with probability 0.29; of ten none does with
    probability 0.03, hence the fixed seed. A descent of a parabola costs a few gradients of 2 queries."""
    one = optimise(two_bowls, np.ones(1), "l-bfgs-b", budget=200)
    many = optimise(two_bowls, np.ones(1), "l-bfgs-b", budget=200, options=FAR)
    assert one.success
    assert one.fun == pytest.approx(1)
    assert one.nfev < 20
    assert many.fun == pytest.approx(0, abs=1e-9)
    assert many.nfev in (199, 200)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", BASELINES)
@pytest.mark.parametrize("dim", [1, 2, 30])
def test_any_dimension_and_dtype(method: str, dtype: torch.dtype, dim: int) -> None:
    seen = set()

    def fun(X: Tensor) -> Tensor:
        seen.add((X.dtype, X.shape[1]))
        return X.square().sum(1) / 2

    x0 = torch.ones(dim, dtype=dtype)
    result = optimise(fun, x0, method, budget=1000)
    assert seen == {(dtype, dim)}
    assert result.x.dtype == dtype
    assert result.fun == (result.x.square().sum() / 2).item() < 0.5 * dim / 2
    assert torch.equal(x0, torch.ones(dim, dtype=dtype))


# Counting


@given(
    method=st.sampled_from(sorted(BASELINES)),
    dim=st.integers(1, 5),
    budget=st.integers(1, 90),
    noise_std=st.sampled_from([0.0, 0.1]),
)
def test_every_query_is_counted_and_none_exceeds_the_budget(
    method: str, dim: int, budget: int, noise_std: float
) -> None:
    sizes: list[int] = []

    def fun(X: Any) -> Any:
        sizes.append(len(X))
        return ellipsoid(X)

    result = optimise(fun, np.linspace(1, 2, dim), method, budget=budget, noise_std=noise_std)
    trace = result.trace
    assert sum(sizes) == result.nfev <= budget
    assert trace.queries.tolist() == np.cumsum(sizes).tolist()  # one entry per batch
    assert result.nit == len(sizes) - 1
    assert np.array_equal(trace.best, np.minimum.accumulate(trace.fun))
    assert trace.best[-1] == result.fun
    if not result.message.startswith("Converged"):
        assert result.message.startswith(f"Budget spent: {result.nfev} of {budget} queries.")
        assert budget - result.nfev < max(4 + 3 * math.log(dim), dim + 1, 20)  # not one batch more would have fitted


@given(
    method=st.sampled_from(sorted(BASELINES)),
    budget=st.integers(4, 120),
    period=st.integers(5, 9),
    on_failure=st.sampled_from(["penalize", "retry"]),
)
def test_failing_queries_are_counted(method: str, budget: int, period: int, on_failure: Any) -> None:
    """Every so many-th value is NaN: penalised ones count once, retried ones every time.

    Of 20 points at most 4 fail, of their retries 1: three rounds are enough.
    """
    points = 0

    def fun(X: Any) -> Any:
        nonlocal points
        index = points + np.arange(len(X))
        points += len(X)
        return np.where((index > 0) & (index % period == 0), math.nan, parabola(X))

    result = optimise(fun, X0, method, budget=budget, on_failure=on_failure)
    assert points == result.nfev == result.trace.queries[-1] <= budget


@pytest.mark.parametrize("method", BASELINES)
def test_x0_is_the_first_query_and_the_best_point_the_result(method: str) -> None:
    asked: list[Any] = []

    def fun(X: Any) -> Any:
        asked.append(X.copy())
        return parabola(X)

    result = optimise(fun, X0, method, budget=60)
    assert np.array_equal(asked[0], X0[None])
    values = [parabola(X) for X in asked]
    assert result.fun == np.concatenate(values).min() == parabola(result.x[None])[0]
    assert result.trace.fun.tolist() == [v.min() for v in values]


# Randomness


@pytest.mark.parametrize("method", ["zo-svrg", "cma-es"])
def test_same_seed_same_run_and_another_seed_another(method: str) -> None:
    first, again, other = (optimise(ellipsoid, X0, method, budget=200, seed=s) for s in (1, 1, 2))
    assert np.array_equal(first.trace.fun, again.trace.fun)
    assert not np.array_equal(first.trace.fun, other.trace.fun)


def test_l_bfgs_b_is_deterministic_up_to_its_first_restart() -> None:
    first, second = (optimise(rosenbrock, X0[:2], "l-bfgs-b", budget=60, seed=s) for s in (1, 2))
    assert np.array_equal(first.trace.fun, second.trace.fun)
    ends = [optimise(two_bowls, np.ones(1), "l-bfgs-b", budget=100, seed=s, options=FAR) for s in (1, 1, 2)]
    assert np.array_equal(ends[0].trace.fun, ends[1].trace.fun)
    assert not np.array_equal(ends[0].trace.fun, ends[2].trace.fun)


@pytest.mark.parametrize("method", BASELINES)
def test_global_randomness_is_left_alone(method: str) -> None:
    def states() -> list[Any]:
        kind, keys, *rest = np.random.get_state()
        return [kind, list(keys), rest, random.getstate(), torch.get_rng_state().tolist()]

    before = states()
    optimise(ellipsoid, X0, method, budget=300)
    assert states() == before


# SVRG


def test_svrg_asks_for_the_snapshot_then_for_both_points_and_the_move() -> None:
    f = Batches(budget=50)
    assert not run_baseline("zo-svrg", f, START, make_generator(0), num_directions=4, epoch_length=2)
    epoch = [3, 8, 1, 8, 1]
    assert f.sizes == [1, *epoch, *epoch, 3]  # 46 queries: 8 more do not fit


def test_svrg_estimate_at_the_snapshot_is_the_snapshots_own() -> None:
    """x = x~, the same U: the two estimates along U cancel to the last bit, so x' = x0 - eta g~ exactly."""
    f = Batches(budget=13)
    run_baseline("zo-svrg", f, START, make_generator(0), num_directions=4, learning_rate=0.3, smoothing=0.125)
    f0, axes = f.values[0], f.values[1]
    assert torch.equal(f.points[1], START + 0.125 * torch.eye(3, dtype=torch.float64))
    assert torch.equal(f.points[2][:4], f.points[2][4:])
    assert torch.equal(f.points[3][0], START - 0.3 * ((axes - f0) / 0.125))


def test_svrg_probes_the_same_directions_at_the_iterate_and_at_the_snapshot() -> None:
    """And its second move is x - eta (g(x; U) - g(x~; U) + g~), to rounding."""
    f = Batches(budget=22)
    run_baseline("zo-svrg", f, START, make_generator(0), num_directions=4, learning_rate=0.3, smoothing=0.125)
    x, (here, there), fx = f.points[3][0], f.points[4].chunk(2), f.values[3]
    u = (here - x) / 0.125
    torch.testing.assert_close((there - START) / 0.125, u)
    at_x, at_anchor = (f.values[4][:4] - fx) / 0.125, (f.values[4][4:] - f.values[0]) / 0.125
    v = ((at_x - at_anchor)[:, None] * u).mean(0) + (f.values[1] - f.values[0]) / 0.125
    torch.testing.assert_close(f.points[5][0], x - 0.3 * v)


@pytest.mark.parametrize(("dim", "given", "expected"), [(100, None, 100), (101, None, 100), (101, 7, 7), (5, 7, 7)])
def test_svrg_size_of_the_snapshot(dim: int, given: int | None, expected: int) -> None:
    f = Batches(budget=150)
    run_baseline("zo-svrg", f, torch.ones(dim, dtype=torch.float64), make_generator(0), snapshot_directions=given)
    assert f.sizes[1] == expected
    on_axes = ((f.points[1] != 1).sum(1) == 1).all()
    assert bool(on_axes) == (given is None and dim <= 100)


def test_svrg_random_snapshot_is_the_mean_over_its_directions() -> None:
    f = Batches(budget=30)
    options = {"num_directions": 1, "learning_rate": 0.3, "smoothing": 0.125, "snapshot_directions": 6}
    run_baseline("zo-svrg", f, START, make_generator(0), **options)
    u = (f.points[1] - START) / 0.125
    full = (((f.values[1] - f.values[0]) / 0.125)[:, None] * u).mean(0)
    torch.testing.assert_close(f.points[3][0], START - 0.3 * full)


# CMA-ES


def test_cma_es_evaluates_a_population_at_a_time() -> None:
    f = Batches(budget=60)
    assert not run_baseline("cma-es", f, START, make_generator(0), popsize=9, sigma0=2.0)
    assert f.sizes == [1] + 6 * [9]


def test_cma_es_first_population_has_the_asked_spread() -> None:
    """sigma0 times N(0, I) about x0: the mean square over 300 x 3 draws within 5 standard errors, sqrt(2 / 900)."""
    f = Batches(budget=301)
    run_baseline("cma-es", f, START, make_generator(0), popsize=300, sigma0=2.0)
    squares = ((f.points[1] - START) / 2.0).square().mean().item()
    assert abs(squares - 1) < 5 * math.sqrt(2 / 900)


def test_cma_es_starts_anew_at_the_best_point_when_it_has_converged() -> None:
    """On |x|^2 in 3 dimensions it contracts to 1e-11 within some 1,000 queries; the last of 6,000 still explore."""
    f = Batches(budget=6000)
    assert not run_baseline("cma-es", f, START, make_generator(0))
    assert f.left < 7  # a population is 4 + 3 log 3 = 7
    spread = [points.std(0).max().item() for points in f.points[1:]]
    contracted = int(np.argmin(spread[: len(spread) // 2]))
    assert spread[contracted] < 1e-5
    restart = next(i for i in range(contracted, len(spread)) if spread[i] > 0.05)
    assert torch.linalg.vector_norm(f.points[1 + restart].mean(0)) < 1  # sigma0 = .3, 7 points: 3 sigma is 0.6


def test_cma_es_goes_on_where_f_is_flat() -> None:
    assert optimise(lambda X: np.ones(len(X)), X0, "cma-es", budget=1000).nfev > 990


def test_cma_es_prints_nothing_reads_nothing_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    expected = optimise(ellipsoid, X0, "cma-es", budget=3000)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cma_signals.in").write_text("{'timeout': 0}")  # pycma's default would stop at once
    found = optimise(ellipsoid, X0, "cma-es", budget=3000)
    assert np.array_equal(found.trace.fun, expected.trace.fun)
    assert [path.name for path in tmp_path.iterdir()] == ["cma_signals.in"]
    assert capfd.readouterr() == ("", "")


def test_missing_pycma_names_the_extra_and_costs_no_query(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cma", None)  # makes `import cma` fail
    f = Batches()
    with pytest.raises(ImportError, match=r"needs pycma\. Install it: pip install 'zo-gym\[baselines\]'"):
        run_baseline("cma-es", f, START, make_generator(0))
    assert f.sizes == []


# L-BFGS-B


def test_l_bfgs_b_asks_for_all_differences_of_a_gradient_at_once() -> None:
    f = Batches()
    assert run_baseline("l-bfgs-b", f, START, make_generator(0))
    assert f.sizes[:2] == [1, 3]  # f(x0) is known by then
    assert set(f.sizes[2:]) == {4}


@pytest.mark.parametrize(
    ("smoothing", "steps"), [(0.25, [0.25, 0.25, 0.25]), (None, [2**-26, 2**-25, 2**-26])], ids=["given", "default"]
)
def test_l_bfgs_b_length_of_the_differences(smoothing: float | None, steps: list[float]) -> None:
    """By default sqrt(eps) max(1, |x_i|) with eps = 2^-52."""
    f = Batches(budget=4)
    run_baseline("l-bfgs-b", f, START, make_generator(0), smoothing=smoothing)
    expected = START + torch.diag(torch.tensor(steps, dtype=torch.float64))
    assert torch.equal(f.points[1], expected)


def test_l_bfgs_b_tolerances_are_scipys() -> None:
    f = Batches()
    assert run_baseline("l-bfgs-b", f, START, make_generator(0), gtol=1e9)
    assert f.sizes == [1, 3]  # the first gradient is small enough


# Inside minimize


@pytest.mark.parametrize("how", ["True", "StopIteration"])
@pytest.mark.parametrize("method", BASELINES)
def test_callback_stops_the_run(method: str, how: str) -> None:
    seen: list[Progress] = []

    def callback(progress: Progress) -> bool:
        seen.append(progress)
        if len(seen) == 3 and how == "StopIteration":
            raise StopIteration
        return len(seen) == 3

    result = optimise(rosenbrock, X0[:2], method, callback=callback)
    assert (result.success, result.message) == (True, "Stopped by the callback.")
    assert [p.nit for p in seen] == [1, 2, 3]
    assert [p.nfev for p in seen] == result.trace.queries[1:].tolist()
    assert [p.fun for p in seen] == result.trace.best[1:].tolist()
    assert all(p.fun == rosenbrock(p.x[None])[0] for p in seen)


def test_callback_cannot_disturb_the_run() -> None:
    def vandal(progress: Progress) -> None:
        progress.x[:] = 1e9

    disturbed, quiet = (optimise(ellipsoid, X0, "cma-es", budget=200, callback=c) for c in (vandal, None))
    assert np.array_equal(disturbed.x, quiet.x)
    assert np.array_equal(disturbed.trace.fun, quiet.trace.fun)


@pytest.mark.parametrize("method", BASELINES)
def test_exception_in_the_callback_reaches_the_user(method: str) -> None:
    def callback(progress: Progress) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        optimise(parabola, X0, method, callback=callback)


@pytest.mark.parametrize("method", BASELINES)
def test_target_stops_the_run(method: str) -> None:
    result = optimise(parabola, X0, method, target=1.0)
    assert (result.success, result.message) == (True, "Target reached: f <= 1.0.")
    assert result.fun <= 1.0 < result.trace.fun[:-1].min()
    met = optimise(parabola, X0, method, target=100.0)
    assert (met.nfev, met.nit) == (1, 0)


@pytest.mark.parametrize("method", BASELINES)
@pytest.mark.parametrize("bad", [KeyboardInterrupt(), ZeroDivisionError("by zero"), math.nan])
def test_run_that_is_cut_short_keeps_the_best(method: str, bad: Any) -> None:
    calls = 0

    def fun(x: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 12 and isinstance(bad, BaseException):
            raise bad
        return bad if calls == 12 else rosenbrock(x[None])[0]

    result: Result | None
    if isinstance(bad, KeyboardInterrupt):
        result = minimize(fun, X0[:2], method=method, seed=0)
        assert "Interrupted after" in result.message
    else:
        with pytest.raises(ObjectiveError) as caught:
            minimize(fun, X0[:2], method=method, seed=0)
        result = caught.value.result
    assert result is not None
    assert not result.success
    assert result.nfev >= 12  # the whole batch counts
    assert result.fun == rosenbrock(result.x[None])[0] <= rosenbrock(X0[None, :2])[0]


def test_ctrl_c_before_the_first_value_is_passed_on() -> None:
    def fun(X: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optimise(fun, X0, "cma-es")


def test_options_reach_the_baseline() -> None:
    sizes = []

    def fun(X: Any) -> Any:
        sizes.append(len(X))
        return parabola(X)

    optimise(fun, X0, "cma-es", budget=50, options={"popsize": 12})
    optimise(fun, X0, "zo-svrg", budget=14, num_directions=5, learning_rate=0.1, smoothing=0.1)
    assert sizes == [1, 12, 12, 12, 12, 1, 3, 10]


@pytest.mark.parametrize(
    ("options", "error", "complaint"),
    [
        ({"method": "cma"}, ValueError, "Unknown method 'cma'. Did you mean 'cma-es'"),
        ({"method": "zo-svgr"}, ValueError, "Unknown method 'zo-svgr'. Did you mean 'zo-svrg'"),
        (
            {"sampler": "sphere"},
            ValueError,
            r"'cma-es' is a baseline and complete: sampler= is for .*METHODS, got 'sphere'\. Drop it",
        ),
        ({"estimator": "central"}, ValueError, "estimator= is for the methods in"),
        ({"update": "sgd"}, ValueError, "update= is for the methods in"),
        ({"weights": "file"}, ValueError, "weights= is for the methods in"),
        ({"reevaluate": True}, ValueError, "reevaluate= is for the methods in"),
        ({"learning_rate": 0.1}, TypeError, "method 'cma-es' got an unexpected keyword argument 'learning_rate'"),
        ({"smoothing": 0.1}, TypeError, "method 'cma-es' got an unexpected keyword argument 'smoothing'"),
        ({"options": {"popsiz": 9}}, TypeError, "unexpected keyword argument 'popsiz'. Did you mean 'popsize'"),
        ({"options": {"popsize": 1}}, ValueError, "popsize must be >= 2, got 1"),
        ({"options": {"sigma0": 0.0}}, ValueError, "sigma0 must be a finite number > 0, got 0"),
        ({"method": "zo-svrg", "learning_rate": -1.0}, ValueError, "learning_rate must be a finite number > 0"),
        ({"method": "zo-svrg", "num_directions": 0}, ValueError, "num_directions must be >= 1, got 0"),
        ({"method": "zo-svrg", "smoothing": 0}, ValueError, "smoothing must be a finite number > 0, got 0"),
        ({"method": "zo-svrg", "options": {"epoch_length": 0}}, ValueError, "epoch_length must be >= 1, got 0"),
        ({"method": "zo-svrg", "options": {"snapshot_directions": 0}}, ValueError, "snapshot_directions must be >= 1"),
        ({"method": "l-bfgs-b", "options": {"ftol": -1}}, ValueError, "ftol must be finite and >= 0, got -1"),
        (
            {"method": "l-bfgs-b", "options": {"restart_std": 0.0}},
            ValueError,
            "restart_std must be a finite number > 0",
        ),
        ({"method": "l-bfgs-b", "smoothing": -1.0}, ValueError, "smoothing must be a finite number > 0"),
        ({"method": "l-bfgs-b", "smoothing": 1e-17}, ValueError, "smoothing must be at least .* for torch.float64"),
        (
            {"method": "zo-sgd", "options": {"a": 1}},
            TypeError,
            "options= are for zo_gym.BASELINES, and method 'zo-sgd' is",
        ),
        ({"budget": 0}, ValueError, "budget must be >= 1, got 0"),
        ({"budget": 1e4}, TypeError, "budget must be an integer >= 1, got 10000.0"),
        (
            {"budget": 3, "on_failure": "retry"},
            ValueError,
            r"budget must be at least 4 queries \(1 for the start, .* all of them retried\), got 3",
        ),
    ],
)
def test_argument_that_does_not_fit_is_explained_before_a_query(
    options: dict[str, Any], error: type[Exception], complaint: str
) -> None:
    def fun(X: Any) -> Any:
        raise AssertionError("f was called")

    with pytest.raises(error, match=complaint):
        optimise(fun, X0, **{"method": "cma-es", **options})


@pytest.mark.parametrize("method", BASELINES)
def test_optimizer_explains_that_a_baseline_cannot_be_asked(method: str) -> None:
    with pytest.raises(
        ValueError, match=rf"'{method}' runs its own loop and cannot be asked and told\. Use zo_gym.min"
    ):
        Optimizer(X0, method=method)
    with pytest.raises(ValueError, match=rf"Did you mean '{method}'"):
        Optimizer(X0, method=method + "_")


# On its own


@pytest.mark.parametrize("method", BASELINES)
def test_run_baseline_leaves_its_arguments_alone(method: str) -> None:
    x0 = START.clone().requires_grad_()
    f = Batches(budget=50)
    run_baseline(method, f, x0, make_generator(0))
    assert torch.equal(x0, START)
    assert not any(points.requires_grad for points in f.points)


def test_run_baseline_knows_its_names() -> None:
    with pytest.raises(ValueError, match=r"Unknown baseline 'l-bfgs'\. Did you mean 'l-bfgs-b'"):
        run_baseline("l-bfgs", Batches(), START, make_generator(0))


def test_diagonal_cma_adapts_variances_and_overtakes_the_full_matrix_where_the_budget_is_short() -> None:
    """An axis-parallel ellipsoid, condition 1e4, d = 40: d^2 / 10 queries teach 40 variances, not 820 covariances."""
    scales = torch.logspace(0, 4, 40, dtype=torch.float64)

    def ends(diagonal: bool) -> float:
        least, spent = math.inf, 0

        def evaluate(points: Tensor) -> Tensor:
            nonlocal least, spent
            spent += len(points)
            if spent > 4000:
                raise BudgetError("spent")
            values = (scales * points.square()).sum(1)
            least = min(least, values.min().item())
            return values

        run_baseline("cma-es", evaluate, torch.ones(40, dtype=torch.float64), make_generator(0), diagonal=diagonal)
        return least

    assert ends(True) < 0.1 * ends(False)


def test_l_bfgs_b_keeps_maxcor_steps() -> None:
    """On an ill-conditioned quadratic a longer memory ends in fewer queries; scipy's own default is 10."""
    spent = [
        minimize("quadratic", method="l-bfgs-b", budget=5000, seed=0, options={"maxcor": maxcor}).nfev
        for maxcor in (1, 10)
    ]
    default = minimize("quadratic", method="l-bfgs-b", budget=5000, seed=0).nfev
    assert spent[0] > spent[1] == default
    with pytest.raises(ValueError, match="maxcor must be >= 1, got 0"):
        minimize("quadratic", method="l-bfgs-b", options={"maxcor": 0})
