"""A guess that the run corrects: what it makes of good, scaled, partial and wrong ones."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from zo_gym import Problem, single_problem
from zo_gym.base import Method
from zo_gym.composite.term import CompositeTerm
from zo_gym.estimators import span
from zo_gym.gradient_models import GPSettings, GradientGuess, GuidedGPSettings, gp, guided_gp
from zo_gym.gradient_models.guided_state import GuidedState
from zo_gym.optimizer import Optimizer
from zo_gym.oracle import Oracle
from zo_gym.problem import repeated
from zo_gym.rng import make_generator
from zo_gym.run import Moment, run
from zo_gym.updates import adaptive, diminishing

D, ROWS, RANK = 40, 10, 48
F64 = torch.float64
SCALES = torch.logspace(0, 1, D, dtype=F64)
NONE = torch.zeros(ROWS, dtype=torch.int64)


def bowl() -> Problem:
    return single_problem(
        "bowl",
        D,
        lambda points: (SCALES * points.square()).sum(1) / 2,
        lambda g: torch.randn(D, generator=g, dtype=F64) / math.sqrt(D),
        gradient=lambda x: SCALES * x,
    )


def true(x: Tensor, instances: Tensor) -> Tensor:
    return SCALES * x


def half(x: Tensor, instances: Tensor) -> Tensor:
    return torch.where(torch.arange(D) % 2 == 0, SCALES * x, 0.0)


def starts(rows: int = ROWS) -> Tensor:
    return torch.stack([bowl().start(make_generator(i)) for i in range(rows)])


def guided(guess: GradientGuess, rows: int = ROWS, rank: int = RANK, **options: Any) -> Method:
    """Return steps of `adaptive` along the guess as the model corrects it."""
    model = guided_gp(guess, NONE[:rows], settings=GuidedGPSettings(rank=rank, **options))
    return Method(None, span, adaptive(0.1), 2, model=model)


Seen = tuple[list[Moment], np.ndarray]
"""The moments of a run, and the queries spent at each, (steps, rows)."""


def follow(guess: GradientGuess | None, budget: int, **options: Any) -> Seen:
    """Run with the guess, or without one where it is None."""
    method = Method(None, span, adaptive(0.1), 1, model=gp(GPSettings(rank=RANK)))
    if guess is not None:
        method = guided(guess, **options)
    oracle = Oracle(repeated(bowl(), ROWS), ROWS, budget=budget)
    moments, queries = [], []
    for moment in run(oracle, method, starts(), [make_generator(100 + i) for i in range(ROWS)]):
        moments.append(moment)
        queries.append(oracle.queries.copy())
    return moments, np.stack(queries)


def curves(seen: Seen) -> tuple[np.ndarray, np.ndarray]:
    """Return queries and best f, (steps, rows)."""
    moments, queries = seen
    return queries, np.stack([moment.iterate.best_f.numpy() for moment in moments])


def queries_to(goal: float, seen: Seen) -> float:
    """Return the mean over rows of the queries until f <= goal; it must be reached."""
    queries, best = curves(seen)
    assert (best[-1] <= goal).all()
    return float(queries[(best <= goal).argmax(axis=0), np.arange(ROWS)].mean())


GOAL = 1e-3 * float((SCALES * starts().square()).sum(1).mean() / 2)
NEAR = 10 * GOAL
"""Above what forward differences can see: along a unit vector they err by up to 10 mu / 2 = 0.05, |g| there is 0.4."""


def test_the_true_gradient_needs_one_query_a_step_and_few_steps() -> None:
    """Steps of 0.1 = 1 / the largest curvature: f falls by 0.9^(2 k) = 1e-2 in the flattest coordinate at k = 22; two
    steps of those probe."""
    seen = follow(true, 201)
    queries, best = curves(seen)
    cost = np.diff(queries, axis=0)[(best > NEAR)[1:]]
    assert (cost >= 1).all()
    assert cost.mean() <= 1 + 1.5 * GuidedGPSettings().least_probe_rate
    assert queries_to(NEAR, seen) < 1 + 22 + 2


@pytest.mark.parametrize("factor", [-1.0, 1e-3, 30.0])
def test_the_sign_and_the_length_of_a_guess_do_not_matter_for_long(factor: float) -> None:
    """kappa is right after a few steps of two queries: ten steps more at most."""
    wrong = follow(lambda x, instances: factor * true(x, instances), 301)
    assert queries_to(NEAR, wrong) < queries_to(NEAR, follow(true, 201)) + 20


def test_what_a_guess_lacks_is_learned_from_the_run() -> None:
    """It knows half of the coordinates: without memory the other half is never descended."""
    assert queries_to(NEAR, follow(half, 601)) < 300
    _, best = curves(follow(half, 601, memory=False, gate=False))
    assert (best[-1] > NEAR).all()


WRONG: dict[str, GradientGuess] = {
    "constant": lambda x, i: torch.randn(1, D, generator=make_generator(9), dtype=F64).expand_as(x),
    "zero": lambda x, i: torch.zeros_like(x),
    "orthogonal": lambda x, i: true(x, i).roll(1, dims=1) * torch.where(torch.arange(D) % 2 == 0, 1.0, -1.0),
}


@cache
def queries_without_a_guess() -> float:
    return queries_to(GOAL, follow(None, 2001))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name != "constant" else []) for name in WRONG]
)
def test_a_wrong_guess_costs_at_most_a_tenth_more(name: str) -> None:
    """Against the same Gaussian process without one, to a thousandth of f at the start. 10 rows each; the means have a
    standard error of about 3 %, hence 1.1 + 2 * 0.03 * sqrt(2)."""
    assert queries_to(GOAL, follow(WRONG[name], 2001)) <= 1.185 * queries_without_a_guess()


def test_a_step_that_does_not_probe_asks_for_the_move_alone() -> None:
    """Also in ask and tell: x0, ten moves, and a probe before the eleventh, after ten steps of credit 0.1 each."""
    optimizer = Optimizer(starts(1)[0], method=guided(true, rows=1, rank=24), seed=0)
    asked = []
    for _ in range(13):
        points = optimizer.ask()
        asked.append(len(points))
        optimizer.tell((SCALES * points.square()).sum(1) / 2)
    assert asked == [1] * 13
    assert optimizer.nfev == 13
    assert optimizer.nit == 11


def test_rows_do_not_depend_on_each_other() -> None:
    together, _ = follow(half, 121)
    for row in (0, ROWS - 1):
        oracle = Oracle(bowl(), 1, budget=121)
        *_, last = run(oracle, guided(half, rows=1), starts()[row : row + 1], [make_generator(100 + row)])
        assert torch.equal(last.iterate.x[0], together[-1].iterate.x[row])


def test_a_guess_is_computed_again_only_where_x_has_moved_so_far() -> None:
    near, calls = 0.3, []

    def watched(x: Tensor, instances: Tensor) -> Tensor:
        calls.append((x.clone(), instances))
        return true(x, instances)

    model = guided_gp(watched, torch.arange(ROWS), settings=GuidedGPSettings(gate=False, refresh_distance=near))
    method = Method(None, span, diminishing(0.2), 2, model=model)  # keeps every move, so h is computed nowhere else
    generators = [make_generator(i) for i in range(ROWS)]
    seen = list(run(Oracle(repeated(bowl(), ROWS), ROWS, budget=61), method, starts(), generators))
    computed: dict[int, list[Tensor]] = {row: [] for row in range(ROWS)}
    for x, rows in calls[1:]:  # the first makes the prior variances
        for point, row in zip(x, rows.tolist(), strict=True):
            computed[row].append(point)
    for row, points in computed.items():
        expected: list[Tensor] = []
        for moment in seen[1:]:
            here = moment.before[row]
            if not expected or (here - expected[-1]).norm() > near:
                expected.append(here)
        assert len(expected) < len(seen) - 1  # some steps were shorter
        torch.testing.assert_close(torch.stack(points), torch.stack(expected), rtol=0, atol=0)


def test_a_row_that_has_dropped_its_guess_probes_it_again() -> None:
    model, period = guided_gp(true, NONE[:1]), GuidedGPSettings().look_period
    x = starts(1)
    state: GuidedState = model.init(x)
    assert bool(state.in_use)
    dropped = state._replace(in_use=torch.tensor([False]))
    counts, in_use = [], []
    observe, num_probes = model.observe, model.num_probes
    assert num_probes is not None

    def watch(at: GuidedState, step: object) -> GuidedState:
        counts.append(int(num_probes(at)))
        after: GuidedState = observe(at, step)  # type: ignore[arg-type]
        in_use.append(bool(after.in_use))
        return after

    held = model._replace(init=lambda x: dropped, observe=watch)
    method = Method(None, span, adaptive(0.1), 2, model=held)
    list(run(Oracle(bowl(), 1, budget=101), method, x, [make_generator(1)]))
    assert counts[:period] == [1] * (period - 1) + [2]
    assert in_use[:period] == [False] * (period - 1) + [True]
    assert all(in_use[period:])


def test_where_the_black_box_part_is_at_its_lower_bound_only_the_composite_term_moves_x() -> None:
    """f = max(1 - x_1, 0) + |x|^2 / 20, the second part a term: beyond x_1 = 1 the guess -e_1 has to be ignored."""
    term = CompositeTerm(
        lambda points, instances: points.square().sum(-1) / 20,
        lambda x, g, instances: g + x / 10,
        lambda x, target, g, instances: target,
        lower_bound=0.0,
    )
    problem = single_problem(
        "hinge",
        3,
        lambda points: (1 - points[:, 0]).clamp_min(0) + points.square().sum(1) / 20,
        lambda g: torch.zeros(3, dtype=F64),
        composite=term,
    )
    axis = torch.tensor([[-1.0, 0.0, 0.0]], dtype=F64)
    method = Method(None, span, diminishing(0.5), 2, model=guided_gp(lambda x, i: axis.expand_as(x), NONE[:1], term))
    x = torch.tensor([[3.0, 1.0, 1.0]], dtype=F64)  # the hinge is shut
    *_, last = run(Oracle(problem, 1, budget=201), method, x, [make_generator(0)], composite=True)
    # The minimiser is e_1: at 1 the hinge's slope of 1 outweighs the term's of 1/10.
    assert last.iterate.best_f.item() == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, "rank must be >= 1, got 0"),
        ({"smoothing": 0.0}, "smoothing must be a finite number > 0, got 0"),
        ({"noise_std": -1.0}, "noise_std must be finite and >= 0, got -1"),
        ({"sharpness": 0.5}, "sharpness must be finite and >= 1, got 0.5"),
        ({"refresh_distance": -1.0}, "refresh_distance must be finite and >= 0, got -1"),
    ],
)
def test_wrong_numbers_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GuidedGPSettings(**options)


def test_another_number_of_directions_than_two_is_refused() -> None:
    model = guided_gp(true, NONE)
    with pytest.raises(ValueError, match=r"num_directions must be 2 for a guided Gaussian process, got 3\. Pass"):
        model.probe(model.init(starts()), starts(), 3, [make_generator(0)] * ROWS)


def test_numbers_are_stored_as_plain_floats() -> None:
    """So that an integer sharpness of 2 takes the same operations as 2.0, and a numpy number those of a float."""
    settings = GuidedGPSettings(sharpness=2, smoothing=np.float64(0.1), rank=np.int64(9))  # type: ignore[arg-type]
    assert [type(value) for value in (settings.sharpness, settings.smoothing, settings.rank)] == [float, float, int]
    assert settings.num_slopes == 16
