"""Bounds, scaling and the forms of x0: what f sees, and that nothing leaves the box."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import Bounds

from zo_gym import BASELINES, METHODS, Optimizer, make_problem, minimize
from zo_gym.rng import make_generator
from zo_gym.space import space_of
from zo_gym.structure import structure_of

BOUNDED = [name for name, recipe in METHODS.items() if not recipe.needs_gradient and "rnn" not in recipe.update]
BOUNDED += [name for name in BASELINES if name != "zo-svrg"]


class Seen:
    """A quadratic with its minimum outside the box, which keeps the points at which it was asked."""

    def __init__(self, minimum: Any) -> None:
        self.minimum, self.points = np.asarray(minimum), list[np.ndarray]()

    def __call__(self, x: np.ndarray) -> float:
        self.points.append(np.array(x))
        return float(((x - self.minimum) ** 2).sum())


# Bounds


@pytest.mark.parametrize("method", BOUNDED)
def test_no_method_queries_f_outside_the_bounds(method: str) -> None:
    fun = Seen([3.0, -3.0, 0.25])
    result = minimize(
        fun, [0.5, -0.9, 0.0], bounds=[(-1, 1), (-1, None), (-0.01, 0.3)], method=method, budget=300, seed=1
    )
    seen = np.stack(fun.points)
    assert (seen >= [-1, -1, -0.01]).all()
    assert (seen[:, 0] <= 1).all()
    assert (seen[:, 2] <= 0.3).all()
    assert result.nfev == len(seen)


@pytest.mark.parametrize("method", ["gp-tr", "gp", "cma-es", "l-bfgs-b"])
def test_the_minimum_on_a_face_is_found(method: str) -> None:
    """The minimum over the box of sum (x - m)^2 is the nearest point to m."""
    result = minimize(Seen([3.0, -3.0, 0.25]), [0.5, -0.5, 0.0], bounds=(-1, 1), method=method, budget=600, seed=0)
    np.testing.assert_allclose(result.x, [1.0, -1.0, 0.25], atol=1e-3)


def test_rosenbrock_with_its_minimum_cut_off() -> None:
    """With x_0 <= 0.8 the least value is (1 - 0.8)^2 at (0.8, 0.64)."""

    def rosenbrock(x: np.ndarray) -> float:
        return float(100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2)

    result = minimize(rosenbrock, [-1.2, 0.5], bounds=[(-2, 0.8), (-1, 2)], budget=600, seed=0)
    assert result.fun == pytest.approx(0.04, abs=1e-6)


@pytest.mark.parametrize(
    "bounds",
    [[(-1, 2), (-1, 2)], Bounds([-1, -1], [2, 2]), Bounds(-1, 2), (-1, 2), np.array([[-1, 2], [-1, 2]]), [[-1, 2]] * 2],
)
def test_bounds_come_in_the_forms_of_scipy(bounds: Any) -> None:
    start = torch.tensor([0.5, 0.5], dtype=torch.float64)
    space = space_of(start, bounds)
    assert space is not None
    assert (space.lower.tolist(), space.upper.tolist()) == ([-1, -1], [2, 2])


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_bounds_hold_for_what_f_receives_too(dtype: Any) -> None:
    """0.1 and 0.7 round to numbers of these types on either side; none that f gets lies outside."""
    asked = list[float]()

    def f(x: np.ndarray) -> float:
        asked.extend(x.astype(np.float64))
        return float(np.abs(x.astype(np.float64) - [0.0, 1.0]).sum())

    minimize(f, np.array([0.5, 0.5], dtype=dtype), bounds=(0.1, 0.7), budget=100, seed=0)
    assert 0.1 <= min(asked) < 0.11
    assert 0.69 < max(asked) <= 0.7
    with pytest.raises(
        ValueError, match=r"bounds must hold several numbers of torch\.float.*got none for coordinate 0"
    ):
        minimize(f, np.array([0.5, 0.5], dtype=dtype), bounds=(0.5, 0.5 + 1e-9))


def test_equal_bounds_fix_a_coordinate() -> None:
    fun = Seen([3.0, 3.0])
    result = minimize(fun, [1.0, 0.0], bounds=[(1, 1), (None, None)], budget=100, seed=0)
    assert {x[0] for x in fun.points} == {1.0}
    np.testing.assert_allclose(result.x, [1.0, 3.0], atol=1e-4)


def test_badly_scaled_coordinates_are_equal_inside_their_bounds() -> None:
    """Multiplying a coordinate and its bounds changes nothing but that coordinate."""
    plain, scaled = Seen([0.3, 0.7]), Seen([0.3, 0.7])
    one = minimize(plain, [0.5, 0.5], bounds=(0, 1), budget=200, seed=0)
    other = minimize(
        lambda x: scaled(x * [1, 2.0**-20]), [0.5, 2.0**19], bounds=[(0, 1), (0, 2.0**20)], budget=200, seed=0
    )
    assert one.fun == other.fun
    assert np.array_equal(np.stack(plain.points), np.stack(scaled.points))


def test_log_scaled_coordinates_move_by_their_logarithm() -> None:
    rates = list[float]()

    def loss(x: np.ndarray) -> float:
        rates.append(x[0])
        return float((np.log10(x[0]) + 3) ** 2)

    result = minimize(loss, [0.5], bounds=[(1e-6, 1.0)], log_scaled=True, budget=60, seed=0)
    assert result.x[0] == pytest.approx(1e-3, rel=1e-4)
    assert 1e-6 <= min(rates) <= max(rates) <= 1


@given(
    lower=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=4),
    widths=st.lists(st.floats(1e-3, 1e6), min_size=4, max_size=4),
    z=st.lists(st.floats(-3, 4), min_size=4, max_size=4),
    logs=st.booleans(),
)
def test_points_come_back_from_inside_and_never_lie_outside(
    lower: list[float], widths: list[float], z: list[float], logs: bool
) -> None:
    n = len(lower)
    low = np.abs(lower) + 1e-3 if logs else np.array(lower)
    high = low + np.array(widths[:n])
    space = space_of(torch.from_numpy((low + high) / 2), np.stack([low, high], axis=1), logs)
    assert space is not None
    x = space.to_user(torch.tensor(z[:n], dtype=torch.float64)).numpy()
    assert ((x >= low) & (x <= high)).all()
    inner = torch.tensor(z[:n], dtype=torch.float64).clamp(0, 1)
    back = space.from_user(space.to_user(inner))
    size = max(np.abs(low).max(), np.abs(high).max())
    assert (back - inner).abs().max() <= 1e-12 * size / np.diff(np.stack([low, high]), axis=0).min() + 1e-12


def test_the_gradient_of_a_bounded_problem_is_that_of_its_coordinates() -> None:
    problem = make_problem("breast_cancer")
    start = problem.start(make_generator(0))
    space = space_of(start.abs() + 0.1, [(0.01, 5.0)] * 30, [True, False] * 15)
    assert space is not None
    inner, z = space.seen_from_inside(problem), space.from_user(start.abs() + 0.1)
    h = 1e-6
    steps = h * torch.eye(30, dtype=torch.float64)
    numeric = (inner.values(z + steps) - inner.values(z - steps)) / (2 * h)
    torch.testing.assert_close(inner.gradients(z[None])[0], numeric, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("bounds", "log_scaled", "error", "complaint"),
    [
        ([(0, 1)], False, ValueError, r"bounds must be 2 pairs .*got \[\(0, 1\)\]"),
        ([(1, 0), (0, 1)], False, ValueError, r"got \(1.0, 0.0\) for coordinate 0\. Swap"),
        ([(0, 1), (0.6, 1)], False, ValueError, r"x0 must lie within bounds, got 0.5 for coordinate 1"),
        ([(0.5, 0.5), (0.5, 0.5)], False, ValueError, "must leave a coordinate free"),
        ("ab", False, ValueError, "bounds must be 2 pairs"),
        (3, False, TypeError, "bounds must be"),
        ({"a": (0, 1)}, False, TypeError, "bounds must be"),
        ([("a", 1), (0, 1)], False, ValueError, "bounds must be 2 pairs"),
        ((-1e308, 1e308), False, ValueError, "no further apart"),
        ((0, 1), "yes", TypeError, "log_scaled must be a bool"),
        ((0, 1), True, ValueError, "log_scaled coordinates must be > 0, got 0.0"),
        ([(0, 1), (math.nan, 1)], False, ValueError, "bounds must be"),
    ],
)
def test_bounds_that_are_none_are_explained(
    bounds: Any, log_scaled: Any, error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        minimize(Seen([0, 0]), [0.5, 0.5], bounds=bounds, log_scaled=log_scaled)


def test_bounds_and_a_composite_term_do_not_go_together() -> None:
    with pytest.raises(ValueError, match="composite=True brings bounds of its own"):
        minimize("digits_attack[0]", bounds=(-1, 2), composite=True)


def test_ask_and_tell_takes_the_bounds_as_minimize_does() -> None:
    fun = Seen([3.0, 3.0])
    expected = minimize(fun, [0.5, 0.5], bounds=(0, 1), budget=60, seed=3)
    optimizer = Optimizer([0.5, 0.5], bounds=(0, 1), seed=3)
    while optimizer.nfev < expected.nfev:
        optimizer.tell([fun(x) for x in optimizer.ask()])
    found = optimizer.result()
    assert found.fun == expected.fun
    assert np.array_equal(found.x, expected.x)


# Forms of x0


def sum_of_squares(x: Any) -> float:
    if isinstance(x, dict):
        return sum(sum_of_squares(part) for part in x.values())
    if isinstance(x, list):
        return sum(sum_of_squares(part) for part in x)
    return float(((x - 1) ** 2).sum()) if hasattr(x, "sum") else (x - 1) ** 2


@pytest.mark.parametrize(
    "x0",
    [
        3.0,
        2,
        np.zeros((2, 3)),
        torch.zeros(2, 2, dtype=torch.float32),
        {"a": np.zeros(2), "b": torch.zeros(3)},
        [np.zeros(2), np.zeros((2, 2))],
        (torch.zeros(2), torch.zeros(1)),
    ],
    ids=["float", "int", "matrix", "tensor", "dict", "list", "tuple"],
)
def test_f_the_callback_and_the_result_see_the_form_of_x0(x0: Any) -> None:
    def shape(x: Any) -> Any:
        if isinstance(x, dict):
            return {key: shape(part) for key, part in x.items()}
        if isinstance(x, (list, tuple)):
            return [shape(part) for part in x]
        return (type(x), tuple(x.shape), str(x.dtype)) if hasattr(x, "shape") else float

    seen = list[Any]()

    def fun(x: Any) -> float:
        seen.append(shape(x))
        return sum_of_squares(x)

    result = minimize(fun, x0, budget=200, seed=0, callback=lambda progress: seen.append(shape(progress.x)))
    expected = shape(x0)
    assert all(each == expected for each in seen)
    assert shape(result.x) == expected
    assert result.fun == sum_of_squares(result.x) < 1e-3


def test_the_parameters_of_a_module_are_a_start() -> None:
    module = torch.nn.Linear(2, 1)
    result = minimize(sum_of_squares, module, budget=200, seed=0)
    assert list(result.x) == ["weight", "bias"]
    module.load_state_dict(result.x)
    with torch.no_grad():
        assert sum_of_squares(dict(module.named_parameters())) == pytest.approx(result.fun)
    listed = minimize(sum_of_squares, module.parameters(), budget=50, seed=0)
    assert [tuple(part.shape) for part in listed.x] == [(1, 2), (1,)]


def test_the_arguments_of_f_are_passed_on() -> None:
    result = minimize(lambda x, a, b: float(((x - a) ** 2).sum() + b), [0.0, 0.0], args=(3.0, 1.0), budget=200, seed=0)
    np.testing.assert_allclose(result.x, [3.0, 3.0], atol=1e-4)
    with pytest.raises(TypeError, match="args must be a tuple"):
        minimize(sum_of_squares, [0.0], args=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="args= are for functions"):
        minimize("rosenbrock", args=(3,))


def test_a_batched_f_gets_arrays_of_the_shape_of_x0() -> None:
    shapes = set[tuple[int, ...]]()

    def fun(x: Any) -> Any:
        shapes.add(x.shape[1:])
        return (x**2).sum((1, 2))

    minimize(fun, np.ones((2, 3)), batched=True, budget=60, seed=0)
    assert shapes == {(2, 3)}
    with pytest.raises(ValueError, match="batched=True needs an x0 that is an array"):
        minimize(fun, {"a": np.ones(2)}, batched=True)


def test_structure_gives_back_what_it_was_made_of() -> None:
    x0 = {"a": np.arange(4.0).reshape(2, 2), "b": torch.tensor([5.0, 6.0])}
    form = structure_of(x0)
    assert form.start.tolist() == [0, 1, 2, 3, 5, 6]
    back = form.unpack(form.start)
    assert np.array_equal(back["a"], x0["a"])
    assert torch.equal(back["b"], x0["b"])
    assert form.coarsest == torch.float32
