"""Composite terms: steepest slopes at kinks and bounds, and steps that take them exactly at the same queries."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor

from zo_gym import Problem, single_problem
from zo_gym.base import Estimate, Method, State, UpdateRule
from zo_gym.composite.norm_penalty import NORMS, norm_penalty
from zo_gym.estimators import span
from zo_gym.methods import build
from zo_gym.minimize import minimize
from zo_gym.oracle import Oracle
from zo_gym.problems import make_problem
from zo_gym.problems.attack.objective import distorted
from zo_gym.rng import make_generator
from zo_gym.run import run
from zo_gym.samplers import gaussian
from zo_gym.step import ask_step, start

D, C = 6, 0.4


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=make_generator(seed), dtype=torch.float64)


def rising(norm: str, x: Tensor, centre: Tensor, g: Tensor, v: Tensor) -> Tensor:
    """Return the slopes of g . x + C |x - centre| at x (d,) along unit directions v (n, d), by a tiny step."""
    t = 1e-7
    ahead, here = NORMS[norm].value(x + t * v - centre), NORMS[norm].value((x - centre)[None])
    return v @ g + C * (ahead - here) / t


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("at_centre", [False, True])
@pytest.mark.parametrize("size", [0.1, 3.0])
def test_no_feasible_direction_is_steeper_than_the_least_subgradient(norm: str, at_centre: bool, size: float) -> None:
    """By definition: moving along -s lowers f at the rate |s|, and 20,000 random feasible directions at no higher one.

    Two coordinates lie on the bounds, where feasible directions point inward; one is at its centre, on l1's kink.
    """
    centre = torch.tensor([0.0, 1.0, 0.5, 0.3, 0.6, 0.2], dtype=torch.float64)
    x = centre.clone() if at_centre else torch.tensor([0.0, 1.0, 0.5, 0.7, 0.1, 0.45], dtype=torch.float64)
    g = size * randn(D, seed=3)
    term = norm_penalty(norm, C, centre[None])
    instances = torch.zeros(1, dtype=torch.int64)
    s = term.subgradient(x[None], g[None], instances)[0]
    v = torch.nn.functional.normalize(randn(20_000, D, seed=4))
    v[:, 0], v[:, 1] = v[:, 0].abs(), -v[:, 1].abs()
    steepest = -s.norm().item()
    assert rising(norm, x, centre, g, v).min().item() >= steepest - 1e-5
    if steepest < 0:
        down = -s / s.norm()
        assert down[0] >= 0
        assert down[1] <= 0
        assert rising(norm, x, centre, g, down[None]).item() == pytest.approx(steepest, abs=1e-5)


def test_l1_holds_a_coordinate_that_the_rest_of_f_does_not_move() -> None:
    term, centre = (
        norm_penalty("l1", C, torch.full((1, 2), 0.5, dtype=torch.float64)),
        torch.zeros(1, dtype=torch.int64),
    )
    x = torch.full((1, 2), 0.5, dtype=torch.float64)
    slope = term.subgradient(x, torch.tensor([[0.39, -0.9]], dtype=torch.float64), centre)
    torch.testing.assert_close(slope, torch.tensor([[0.0, -0.5]], dtype=torch.float64))


def test_a_move_ends_on_the_kink_unless_the_rest_of_f_outweighs_it_and_never_leaves_the_box() -> None:
    term, one = norm_penalty("l1", C, torch.full((1, 4), 0.5, dtype=torch.float64)), torch.zeros(1, dtype=torch.int64)
    x = torch.tensor([[0.6, 0.6, 0.6, 0.4]], dtype=torch.float64)
    target = torch.tensor([[0.3, 0.3, 0.55, 1.2]], dtype=torch.float64)
    g = torch.tensor([[0.1, 0.5, 0.0, -9.0]], dtype=torch.float64)
    landed = term.project_step(x, target, g, one)
    torch.testing.assert_close(landed, torch.tensor([[0.5, 0.3, 0.55, 1.0]], dtype=torch.float64))


def least_of_model(x: Tensor, level: float, g: Tensor, centre: Tensor) -> float:
    """Return the minimum over y in the box of C |y - centre|_1 + max(0, level + g . (y - x)), found by scipy.

    It is a linear programme in the variables y, t >= |y - centre| and s >= max(0, ...).
    """
    one, none = np.eye(D), np.zeros((D, 1))
    rows = [np.hstack([one, -one, none]), np.hstack([-one, -one, none]), [*g.tolist(), *[0] * D, -1]]
    bounds_of = [*centre.tolist(), *(-centre).tolist(), float(g @ x) - level]
    box = [(0, 1)] * D + [(0, None)] * (D + 1)
    found = linprog([0] * D + [C] * D + [1], A_ub=np.vstack(rows), b_ub=bounds_of, bounds=box)
    return float(found.fun)


@pytest.mark.parametrize("level", [0.0, 0.3, 3.0, 50.0])
@pytest.mark.parametrize("seed", range(6))
def test_minimise_model_finds_the_least_value_of_the_model(level: float, seed: int) -> None:
    centre, x = (torch.rand(D, generator=make_generator(10 * seed + i), dtype=torch.float64) for i in (1, 2))
    g = 2 * randn(D, seed=seed)
    g[seed % D] = 0.0
    term = norm_penalty("l1", C, centre[None])
    assert term.minimise_model is not None
    one = torch.zeros(1, dtype=torch.int64)
    y = term.minimise_model(x[None], torch.tensor([level], dtype=torch.float64), g[None], one)[0]
    assert ((y >= 0) & (y <= 1)).all()
    model = C * (y - centre).abs().sum() + (level + g @ (y - x)).clamp_min(0.0)
    assert model.item() == pytest.approx(least_of_model(x, level, g, centre), abs=1e-9)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_norms_whose_model_is_no_linear_programme_have_no_formula(norm: str) -> None:
    assert norm_penalty(norm, C, torch.zeros(1, D)).minimise_model is None


def test_a_step_minimises_the_model_of_its_own_row_only_where_the_term_is_taken_exactly() -> None:
    """Instances 2 and 0 of an attack: f and slopes as measured, the model's minimum by hand."""
    problem, both = make_problem("digits_attack", size=3).subset([2, 0]), torch.arange(2)
    seen: list[Estimate] = []

    def propose(state: State, x: Tensor, fx: Tensor, estimate: Estimate) -> tuple[Tensor, State]:
        seen.append(estimate)
        return x, state

    method = Method(gaussian(), span, UpdateRule(lambda x: (), propose), 1)
    term = problem.composite
    assert term is not None
    assert term.minimise_model is not None
    x = problem.initial(both, [make_generator(i) for i in range(2)])
    directions = torch.nn.functional.normalize(randn(2, 1, problem.dim).to(x), dim=2)
    fx = problem.fun(x[:, None], both)[:, 0]
    for part in (term.for_rows(both), None):
        questions = ask_step(method, start(method, x, fx), directions, 0.01, term=part)
        questions.send(problem.fun(next(questions), both))
    assert seen[1].minimise_model is None
    assert seen[0].minimise_model is not None
    level = fx - term.value(x[:, None], both)[:, 0]
    points = span.points(x, directions, 0.01)
    g = span.combine(problem.fun(points, both) - term.value(points, both), level, directions, 0.01).gradient
    lift = torch.tensor([0.0, 0.7])
    torch.testing.assert_close(seen[0].minimise_model(lift), term.minimise_model(x, level + lift, g, both))


@pytest.mark.parametrize("norm", NORMS)
def test_term_and_black_box_part_of_an_attack_add_up(norm: str) -> None:
    """The black-box part is the margin, which `measure` computes without the distortion."""
    problem = make_problem("digits_attack", size=5, norm=norm, c=C, dtype=torch.float64)
    assert problem.composite is not None
    assert problem.measure is not None
    rows, x = torch.arange(5), 0.5 + 0.4 * randn(5, problem.dim)
    whole, part = problem.fun(x[:, None], rows)[:, 0], problem.composite.value(x[:, None], rows)[:, 0]
    torch.testing.assert_close(whole - part, problem.measure(x, rows)["margin"])


def test_instances_and_subsets_keep_their_own_term_and_context() -> None:
    problem = make_problem("digits_attack", size=5, dtype=torch.float64)
    assert problem.composite is not None
    assert problem.context is not None
    x = randn(1, 1, problem.dim)
    one, few = problem.instance(3), problem.subset([4, 3])
    expected = problem.composite.value(x, torch.tensor([3]))
    assert one.composite is not None
    assert few.composite is not None
    torch.testing.assert_close(one.composite.value(x, torch.tensor([0])), expected)
    torch.testing.assert_close(few.composite.value(x, torch.tensor([1])), expected)
    assert one.context is not None
    assert few.context is not None
    assert torch.equal(one.context[0], problem.context[3])
    assert torch.equal(few.context[0], problem.context[4])


def sparse_problem(d: int = 20) -> Problem:
    """|x - a|^2 / 2 + c |x - centre|_1 in the unit box, a beyond the penalty's reach of the centre in 3 coordinates."""
    centre = torch.full((1, d), 0.5, dtype=torch.float64)
    a = centre[0].clone()
    a[:3] += 2 * C
    a[3:6] += 0.5 * C
    term = norm_penalty("l1", C, centre)
    zero = torch.zeros(1, dtype=torch.int64)

    def fun(points: Tensor) -> Tensor:
        inside = points.clamp(0.0, 1.0)
        return (inside - a).square().sum(1) / 2 + term.value(inside[None], zero.expand(1))[0]

    return single_problem("sparse", d, fun, lambda g: centre[0] + 0.1, composite=term)


def test_composite_finds_the_sparse_minimiser_exactly() -> None:
    """Minimiser: a soft-thresholded towards the centre: 0.5 + C in 3 coordinates, 0.5 exactly in the other 17."""
    exact = torch.full((20,), 0.5, dtype=torch.float64)
    exact[:3] += C
    result = minimize(
        sparse_problem(),
        method="zo-sgd",
        estimator="span",
        num_directions=20,
        learning_rate=0.5,
        budget=2100,
        composite=True,
        seed=0,
    )
    # Forward differences of |x - a|^2 / 2 err by mu / 2 in each direction: 0.005 * sqrt(20) in all.
    np.testing.assert_allclose(result.x, exact, atol=0.03)
    assert (result.x[3:] == 0.5).sum() >= 14


def test_composite_costs_no_query_and_lowers_f_further() -> None:
    problem = sparse_problem()
    plain, composite = (
        minimize(problem, method="zo-sgd", learning_rate=0.1, budget=400, composite=flag, seed=1)
        for flag in (False, True)
    )
    assert plain.trace.queries.tolist() == composite.trace.queries.tolist()
    assert composite.fun < plain.fun


def test_composite_needs_a_composite_term() -> None:
    with pytest.raises(ValueError, match=r"composite=True needs a composite term, and 'quadratic' has none"):
        minimize("quadratic", composite=True)
    with pytest.raises(ValueError, match=r"composite= is for the methods in zo_gym\.METHODS"):
        minimize(sparse_problem(), method="l-bfgs-b", composite=True)


def test_rows_of_a_composite_run_are_the_runs_one_by_one() -> None:
    problem = make_problem("digits_attack", size=3, dtype=torch.float64)
    method = build("zo-sgd", problem.dim, learning_rate=0.01)
    x = torch.stack([problem.start(make_generator(i), i) for i in range(3)])

    def last(rows: list[int]) -> Tensor:
        part = problem.subset(rows)
        generators = [make_generator(10 + row) for row in rows]
        *_, moment = run(Oracle(part, len(rows), budget=100), method, x[rows], generators, composite=True)
        return moment.iterate.x

    together = last([0, 1, 2])
    for row in range(3):
        torch.testing.assert_close(last([row])[0], together[row], rtol=0, atol=1e-9)


def test_augmented_starts_are_other_pictures_of_the_same_attack() -> None:
    still, moved = (
        make_problem("digits_attack", size=4, augmented_share=share, dtype=torch.float64) for share in (0.0, 1.0)
    )
    plain = make_problem("digits_attack", size=4, dtype=torch.float64)
    for i in range(4):
        assert torch.equal(still.start(make_generator(i), i), plain.start(make_generator(i), i))
        first, again, other = (moved.start(make_generator(seed), i) for seed in (5, 5, 6))
        assert torch.equal(first, again)
        assert (first - other).abs().max() > 0.1
        assert (first - plain.start(make_generator(5), i)).abs().max() > 0.1
        assert first.min().item() > -0.01
        assert first.max().item() < 1.01
    points = randn(4, 2, 64)
    assert torch.equal(moved.fun(points, torch.arange(4)), plain.fun(points, torch.arange(4)))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_starts_made_together_are_those_made_one_by_one(share: float) -> None:
    problem = make_problem("digits_attack", size=4, augmented_share=share)
    instances = torch.tensor([3, 0, 0, 2, 1])
    together = problem.initial(instances, [make_generator(seed) for seed in range(5)])
    for row, instance in enumerate(instances.tolist()):
        assert torch.equal(together[row], problem.start(make_generator(row), instance))


def test_a_distorted_copy_is_the_image_turned_resized_and_moved() -> None:
    side = 25  # the farthest shift, 0.12 of it, is three pixels
    image = randn(1, side * side)
    still, moved = distorted(image.expand(2, -1), torch.tensor([[0.5] * 5, [0.5, 0.5, 0.5, 1.0, 0.0]]))
    torch.testing.assert_close(still, image[0])
    expected = torch.zeros(side, side, dtype=image.dtype)
    expected[3:, :-3] = image.view(side, side)[:-3, 3:]  # to the left and down
    torch.testing.assert_close(moved.view(side, side), expected)
    # A line of ten pixels from the middle to the right, turned by pi / 8, then a fifth longer across.
    line = torch.zeros(side, side)
    line[12, 12:23] = 1.0
    (turned,) = distorted(line.view(1, -1), torch.tensor([[1.0, 1.0, 0.5, 0.5, 0.5]]))
    rows, columns = turned.view(side, side).nonzero(as_tuple=True)
    end = columns.argmax()
    assert int(columns[end]) - 12 == pytest.approx(10 * 1.2 * math.cos(math.pi / 8), abs=1.5)
    assert abs(int(rows[end]) - 12) == pytest.approx(10 * math.sin(math.pi / 8), abs=1.5)
