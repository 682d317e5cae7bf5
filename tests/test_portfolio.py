"""The default search: its parts against known answers, its invariances, its bounds, and what it says of its choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zo_gym import Optimizer, minimize
from zo_gym.auto import LEAST_BUDGET, MOST_MODELLED, MOST_VARIABLES, choose
from zo_gym.portfolio import ask_portfolio
from zo_gym.portfolio.cma import weights_of
from zo_gym.portfolio.one_dimension import expected_improvement
from zo_gym.portfolio.quasi_newton import bfgs
from zo_gym.portfolio.search import Asking, Search
from zo_gym.portfolio.separable import is_additive

Function = Callable[[np.ndarray], float]


def rosenbrock(x: np.ndarray) -> float:
    return float((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())


def rastrigin(x: np.ndarray) -> float:
    return float((x**2 - 10 * np.cos(2 * np.pi * x) + 10).sum())


def rotated_rastrigin(x: np.ndarray) -> float:
    q, _ = np.linalg.qr(np.random.default_rng(7).standard_normal((len(x), len(x))))
    return rastrigin(q @ (x - 0.7))


def beale(x: np.ndarray) -> float:
    return float(sum((c - x[0] + x[0] * x[1] ** k) ** 2 for c, k in ((1.5, 1), (2.25, 2), (2.625, 3))))


def powell(x: np.ndarray) -> float:
    return float((x[0] + 10 * x[1]) ** 2 + 5 * (x[2] - x[3]) ** 2 + (x[1] - 2 * x[2]) ** 4 + 10 * (x[0] - x[3]) ** 4)


FIRST: dict[str, tuple[Function, list[float], float]] = {
    "rosenbrock": (rosenbrock, [-1.2, 1.0], 0.0),
    "beale": (beale, [1.0, 1.0], 0.0),
    "booth": (lambda x: float((x[0] + 2 * x[1] - 7) ** 2 + (2 * x[0] + x[1] - 5) ** 2), [0.0, 0.0], 0.0),
    "powell": (powell, [3.0, -1.0, 0.0, 1.0], 0.0),
    "sum of |x|": (lambda x: float(np.abs(x).sum()), [1.0, -2.0, 0.5], 0.0),
    "scaled": (lambda x: float((np.array([1e-3, 1, 1e3]) * (x - 1) ** 2).sum()), [0.0] * 3, 0.0),
    "small": (lambda x: 1e-3 * float((x**2).sum()), [1.0, 2.0], 0.0),
    "offset": (lambda x: 1e6 + float((x**2).sum()), [1.0, 2.0], 1e6),
}
"""What a stranger tries first: f, x0 and the minimum."""


@pytest.mark.parametrize("name", FIRST)
def test_the_first_functions_of_a_stranger(name: str) -> None:
    """f - f* <= 1e-6 after 2,000 queries for 9 of 10 seeds, and no point is asked twice."""
    f, x0, least = FIRST[name]
    gaps = list[float]()
    for seed in range(10):
        asked = list[bytes]()

        def counted(x: np.ndarray, asked: list[bytes] = asked) -> float:
            asked.append(x.tobytes())
            return f(x)

        gaps.append(minimize(counted, x0, budget=2000, seed=seed).fun - least)
        assert len(set(asked)) == len(asked) == 2000
    assert sorted(gaps)[8] <= 1e-6


def run(f: Function, x0: Any, budget: int, seed: int = 0, **bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All points asked (n, d) and their values (n,)."""
    d = len(x0)
    lower, upper = bounds.get("lower", np.full(d, -np.inf)), bounds.get("upper", np.full(d, np.inf))
    search = ask_portfolio(np.array(x0, float), lower, upper, np.random.default_rng(seed))
    asked, values = list[np.ndarray](), list[float]()
    points = next(search)
    while len(values) < budget:
        asked += list(points)
        values += [f(x) for x in points]
        points = search.send(np.array(values[-len(points) :]))
    return np.array(asked), np.array(values)


@pytest.mark.parametrize("f", [rosenbrock, rastrigin, rotated_rastrigin, lambda x: float(np.floor(5 * abs(x)).sum())])
def test_every_point_lies_inside_the_bounds_whatever_f_is(f: Function) -> None:
    lower, upper = np.array([-2.0, -1.0, 0.5]), np.array([2.0, 1.0, 4.0])
    asked, _ = run(f, [0.1, 0.1, 0.6], 1500, lower=lower, upper=upper)
    assert (asked >= lower).all()
    assert (asked <= upper).all()


@pytest.mark.parametrize("f", [rosenbrock, rotated_rastrigin])
@pytest.mark.parametrize(("scale", "shift"), [(2.0**20, 0.0), (2.0**-20, 0.0)])
def test_scaling_f_changes_no_point(f: Function, scale: float, shift: float) -> None:
    plain, _ = run(f, [-1.2, 1.0, 0.5], 600)
    other, _ = run(lambda x: scale * f(x) + shift, [-1.2, 1.0, 0.5], 600)
    assert np.array_equal(plain, other)


def test_scaling_the_box_scales_every_point() -> None:
    lower, upper = np.full(3, -2.0), np.full(3, 2.0)
    plain, _ = run(rotated_rastrigin, [-1.2, 1.0, 0.5], 600, lower=lower, upper=upper)
    wide = {"lower": 1024 * lower, "upper": 1024 * upper}
    other, _ = run(lambda x: rotated_rastrigin(x / 1024), [-1.2 * 1024, 1024, 512], 600, **wide)
    assert np.array_equal(plain, other / 1024)


def test_equal_seeds_ask_equal_points() -> None:
    one, other, third = (run(rotated_rastrigin, [0.3] * 4, 900, seed)[0] for seed in (1, 1, 2))
    assert np.array_equal(one, other)
    assert not np.array_equal(one, third)


def test_rugged_functions_are_searched_by_populations() -> None:
    """Rastrigin's function in other axes: a descent ends in the next of its 11^5 minima, at f of about 20 and more."""
    lower, upper = np.full(5, -5.0), np.full(5, 5.0)
    gaps = [run(rotated_rastrigin, [4.0] * 5, 4000, seed, lower=lower, upper=upper)[1].min() for seed in range(5)]
    assert np.median(gaps) < 5


def test_ask_and_tell_is_the_run_of_minimize() -> None:
    expected = minimize(rosenbrock, [-1.2, 1.0, 0.0], budget=300, seed=5)
    optimizer = Optimizer([-1.2, 1.0, 0.0], seed=5)
    while optimizer.nfev < 300:
        optimizer.tell([rosenbrock(x) for x in optimizer.ask()][: 300 - optimizer.nfev] or [0])
        if optimizer.nfev + len(optimizer.ask()) > 300:
            break
    queries = expected.trace.queries
    same = queries <= optimizer.nfev
    found = optimizer.result()
    assert np.array_equal(found.trace.best, expected.trace.best[same][: len(found.trace.best)])
    assert optimizer.nfev > 250


HOSTILE: dict[str, Function] = {
    "constant": lambda x: 1.0,
    "cliff of the largest floats": lambda x: 1e308 if x[0] > 0.7 else -1e308,
    "huge": lambda x: 1e290 * float((x**2).sum()),
    "tiny": lambda x: 1e-300 * float((x**2).sum()),
    "steps": lambda x: float(np.floor(3 * x).sum()),
    "without a minimum": lambda x: -(float(x.sum()) ** 3),
    "far above its changes": lambda x: 1e16 + float((x**2).sum()),
    "in float32": lambda x: float((x.astype(np.float32) ** 2).sum()),
    "kinked": lambda x: float(abs(x.prod()) ** 0.3),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("bounds", [None, (0.5, 2.0), (0.0, 1e6), (None, 1.0)])
def test_no_function_makes_it_fail_or_warn(name: str, d: int, bounds: Any) -> None:
    """Warnings are errors here."""
    asked = list[np.ndarray]()

    def f(x: np.ndarray) -> float:
        asked.append(x)
        return HOSTILE[name](x)

    result = minimize(f, np.full(d, 0.9), bounds=bounds, budget=300, seed=0)
    assert result.nfev == len(asked) == 300
    assert np.isfinite(asked).all()
    assert result.fun == min(HOSTILE[name](x) for x in asked)


@pytest.mark.parametrize("factor", [2.0**600, 2.0**-600, 2.0])
def test_the_size_of_f_changes_no_point(factor: float) -> None:
    """Not even where f begins at 1.5, whose power of two is 1, and later values are far larger."""
    x0 = np.array([-1.2, 1.0, 0.5])

    def f(x: np.ndarray) -> float:
        return 1.5 * rosenbrock(x) / rosenbrock(x0)

    plain, values = run(f, x0, 400)
    other, _ = run(lambda x: factor * f(x), x0, 400)
    assert values[0] == 1.5
    assert values.max() > 100
    assert np.array_equal(plain, other)


# The parts


def answered(part: Asking[Any], f: Function) -> tuple[Any, int]:
    """The result of a part that is answered by f, and its queries."""
    points, count = next(part), 0
    while True:
        count += len(points)
        try:
            points = part.send(np.array([f(x) for x in points]))
        except StopIteration as end:
            return end.value, count


def search_in(d: int, seed: int = 0) -> Search:
    return Search(np.zeros(d), np.full(d, -5.0), np.full(d, 5.0), np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("f", "additive"),
    [
        (lambda x: float((x**2).sum()), True),
        (rastrigin, True),
        (lambda x: float(np.abs(x - 1).sum() + x[0] ** 3), True),
        (rosenbrock, False),
        (rotated_rastrigin, False),
        (lambda x: float((x**2).sum() + 1e-3 * x.sum() ** 2), False),
        (lambda x: 1.0, False),
    ],
)
def test_additive_functions_are_recognised(f: Function, additive: bool) -> None:
    verdicts = [answered(is_additive(search_in(4, seed), np.full(4, 0.3), f(np.full(4, 0.3))), f) for seed in range(6)]
    if additive:
        assert all(verdict == (True, 9) for verdict in verdicts)
    else:
        assert not any(verdict for verdict, _ in verdicts)
        assert all(count <= 9 for _, count in verdicts)


@given(seed=st.integers(0, 2**32 - 1), d=st.integers(2, 8))
def test_an_update_satisfies_the_secant_equation_and_stays_positive(seed: int, d: int) -> None:
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((d, d))
    hessian = root @ root.T + 0.1 * np.eye(d)
    s = rng.standard_normal(d)
    y = hessian @ s * 1.5 + 0.1 * s
    updated = bfgs(hessian, s, y)
    np.testing.assert_allclose(updated @ s, y, rtol=1e-8, atol=1e-8 * np.abs(y).max())
    assert np.linalg.eigvalsh(updated)[0] > 0
    damped = bfgs(hessian, s, -y)
    assert np.linalg.eigvalsh(damped)[0] > -1e-9 * np.linalg.eigvalsh(damped)[-1]


@pytest.mark.parametrize(("dim", "popsize"), [(2, 6), (10, 10), (40, 15), (40, 480)])
def test_the_weights_of_a_population_keep_the_covariance_positive(dim: int, popsize: int) -> None:
    """Hansen (2016), equation 46 and 53: the weights of the mean sum to 1, and C stays positive definite."""
    w = weights_of(dim, popsize)
    assert w.mean.sum() == pytest.approx(1)
    assert (np.diff(w.mean) < 0).all()
    assert w.effective == pytest.approx(1 / (w.mean**2).sum())
    assert 1 <= w.effective <= popsize / 2
    kept = 1 - w.c_one - w.c_mu * w.ranked.sum()
    assert kept + dim * w.c_mu * w.ranked[popsize // 2 :].sum() >= -1e-12
    assert w.expected == pytest.approx(np.sqrt(dim), rel=0.15)


def test_the_expected_improvement_is_largest_near_the_minimum_of_a_parabola() -> None:
    places = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    place, gain = expected_improvement(places, (places - 0.6) ** 2)
    assert place == pytest.approx(0.6, abs=0.05)
    assert 0 < gain < 0.05
    assert np.abs(places - place).min() >= 1e-4


def test_a_region_folds_and_clips() -> None:
    search = Search(np.zeros(3), np.array([-1.0, 0.0, -np.inf]), np.array([1.0, np.inf, 2.0]), np.random.default_rng(0))
    points = np.array([[1.5, -3.0, 5.0], [-5.25, 2.0, -9.0], [0.5, 0.5, 0.5]])
    assert search.fold(points).tolist() == [[0.5, 0.0, 2.0], [-0.75, 2.0, -9.0], [0.5, 0.5, 0.5]]
    drawn = search.random_points(200)
    assert (drawn >= search.lower).all()
    assert (drawn <= search.upper).all()
    assert np.ptp(drawn[:, 0]) > 1.8


# The choice


def test_the_choice_follows_dimension_budget_and_arguments() -> None:
    nothing: dict[str, Any] = {"smoothing": None, "sampler": None}
    assert choose(10, 2000, nothing).method == "portfolio"
    assert choose(10, LEAST_BUDGET * 10, nothing).method == "gp"
    assert choose(MOST_VARIABLES + 1, 10**6, nothing).method == "gp"
    assert choose(MOST_MODELLED + 1, 10**6, nothing).method == "rand-ada"
    assert choose(10, 2000, {**nothing, "smoothing": 0.1}).method == "gp-tr"


def test_the_message_says_what_was_chosen_and_why() -> None:
    def bowl(x: np.ndarray) -> float:
        return float((x**2).sum())

    assert "'auto': portfolio, since the budget holds" in minimize(bowl, np.ones(3), budget=100, seed=0).message
    assert "'auto': gp-tr, which takes smoothing=" in minimize(bowl, np.ones(3), smoothing=0.1, budget=50).message
    assert "'auto'" not in minimize(bowl, np.ones(3), method="gp", budget=50).message


def test_the_portfolio_takes_no_parts() -> None:
    with pytest.raises(ValueError, match=r"method 'portfolio' is complete: sampler= is for the methods in .*METHODS"):
        minimize(rosenbrock, [0.0, 0.0], method="portfolio", sampler="sphere")
    with pytest.raises(ValueError, match="method 'portfolio' is complete: smoothing="):
        Optimizer([0.0, 0.0], method="portfolio", smoothing=0.1)


def test_the_last_batch_is_cut_to_the_budget() -> None:
    for budget in (7, 11, 23, 50):
        assert minimize(rosenbrock, [-1.2, 1.0], budget=budget, seed=0).nfev == budget
