"""A guess that the run corrects: what it makes of good, scaled, partial and wrong ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from zo_gym.base import Known, Problem
from zo_gym.estimators import span
from zo_gym.methods import Method
from zo_gym.optimizer import Optimizer
from zo_gym.oracle import Oracle
from zo_gym.rng import make_generator
from zo_gym.run import Moment, rollout
from zo_gym.samplers import belief, prior_belief
from zo_gym.gradient_models.guided_state import Guided
from zo_gym.samplers.hybrid import Field
from zo_gym.gradient_models.probe_schedule import LEAST, PERIOD
from zo_gym.updates import adaptive, diminishing

D, ROWS, RANK = 40, 10, 48
F64 = torch.float64
SCALES = torch.logspace(0, 1, D, dtype=F64)
NONE = torch.zeros(ROWS, dtype=torch.int64)


def bowl() -> Problem:
    return Problem(
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
    return torch.stack([bowl().initial(make_generator(i)) for i in range(rows)])


def moments(field: Field | None, budget: int, **options: int) -> list[Moment]:
    """A run with the guess, or None: without one."""
    sampler = belief(RANK) if field is None else prior_belief(field, NONE, rank=RANK, **options)  # type: ignore[arg-type]
    method = Method(sampler, span, adaptive(0.1), 1 if field is None else 2)
    generators = [make_generator(100 + i) for i in range(ROWS)]
    return list(run(Oracle(bowl(), ROWS, budget=budget), method, starts(), generators))


def curves(seen: list[Moment]) -> tuple[np.ndarray, np.ndarray]:
    """Queries and best f, (steps, rows)."""
    return np.stack([m.queries for m in seen]), np.stack([m.iterate.best_f.numpy() for m in seen])


def queries_to(goal: float, seen: list[Moment]) -> float:
    """Mean over rows of the queries until f <= goal; it must be reached."""
    queries, best = curves(seen)
    assert (best[-1] <= goal).all()
    return float(queries[(best <= goal).argmax(axis=0), np.arange(ROWS)].mean())


GOAL = 1e-3 * float((SCALES * starts().square()).sum(1).mean() / 2)
NEAR = 10 * GOAL
"""Above what forward differences can see: along a unit vector they err by up to 10 mu / 2 = 0.05, |g| there is 0.4."""


def test_the_true_gradient_needs_one_query_a_step_and_few_steps() -> None:
    """Steps of 0.1 = 1 / the largest curvature: f falls by 0.9^(2 k) = 1e-2 in the flattest coordinate at k = 22; two
    steps of those probe."""
    seen = moments(true, 201)
    queries, best = curves(seen)
    cost = np.diff(queries, axis=0)[(best > NEAR)[1:]]
    assert (cost >= 1).all()
    assert cost.mean() <= 1 + 1.5 * LEAST
    assert queries_to(NEAR, seen) < 1 + 22 + 2


@pytest.mark.parametrize("factor", [-1.0, 1e-3, 30.0])
def test_the_sign_and_the_length_of_a_guess_do_not_matter_for_long(factor: float) -> None:
    """kappa is right after a few steps of two queries: ten steps more at most."""
    wrong = moments(lambda x, instances: factor * true(x, instances), 301)
    assert queries_to(NEAR, wrong) < queries_to(NEAR, moments(true, 201)) + 20


def test_what_a_guess_lacks_is_learned_from_the_run() -> None:
    """It knows half of the coordinates: without memory the other half is never descended."""
    assert queries_to(NEAR, moments(half, 601)) < 300
    _, best = curves(moments(half, 601, memory=False, gate=False))
    assert (best[-1] > NEAR).all()


WRONG: dict[str, Field] = {
    "constant": lambda x, i: torch.randn(1, D, generator=make_generator(9), dtype=F64).expand_as(x),
    "zero": lambda x, i: torch.zeros_like(x),
    "orthogonal": lambda x, i: true(x, i).roll(1, dims=1) * torch.where(torch.arange(D) % 2 == 0, 1.0, -1.0),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_guess_costs_at_most_a_tenth_more(name: str) -> None:
    """Against the same belief without one, to a thousandth of f at the start. 10 rows each; the means have a standard
    error of about 3 %, hence 1.1 + 2 * 0.03 * sqrt(2)."""
    assert queries_to(GOAL, moments(WRONG[name], 2001)) <= 1.185 * queries_to(GOAL, moments(None, 2001))


def test_a_step_that_does_not_probe_asks_for_the_move_alone() -> None:
    """Also in ask and tell: x0, ten moves, and a probe before the eleventh, since ten tenths are owed by then."""
    optimizer = Optimizer(starts(1)[0], method=Method(prior_belief(true, NONE[:1]), span, adaptive(0.1), 2), seed=0)
    asked = []
    for _ in range(13):
        points = optimizer.ask()
        asked.append(len(points))
        optimizer.tell((SCALES * points.square()).sum(1) / 2)
    assert asked == [1] * 13
    assert optimizer.nfev == 13
    assert optimizer.nit == 11


def test_rows_do_not_depend_on_each_other() -> None:
    together = moments(half, 121)
    for row in (0, ROWS - 1):
        sampler = prior_belief(half, NONE[:1], rank=RANK)
        alone = run(
            Oracle(bowl(), 1, budget=121),
            Method(sampler, span, adaptive(0.1), 2),
            starts()[row : row + 1],
            [make_generator(100 + row)],
        )
        *_, last = alone
        assert torch.equal(last.iterate.x[0], together[-1].iterate.x[row])


def test_a_guess_is_asked_again_only_where_x_has_moved_so_far() -> None:
    near, calls = 0.3, []

    def watched(x: Tensor, instances: Tensor) -> Tensor:
        calls.append((x.clone(), instances))
        return true(x, instances)

    sampler = prior_belief(watched, torch.arange(ROWS), gate=False, refresh_distance=near)
    method = Method(sampler, span, diminishing(0.2), 2)  # keeps every move, so h is asked nowhere else
    generators = [make_generator(i) for i in range(ROWS)]
    seen = list(run(Oracle(bowl(), ROWS, budget=61), method, starts(), generators))
    asked: dict[int, list[Tensor]] = {row: [] for row in range(ROWS)}
    for x, rows in calls[1:]:  # the first says where f can change at all
        for point, row in zip(x, rows.tolist(), strict=True):
            asked[row].append(point)
    for row, points in asked.items():
        expected: list[Tensor] = []
        for moment in seen[1:]:
            here = moment.before[row]
            if not expected or (here - expected[-1]).norm() > near:
                expected.append(here)
        assert len(expected) < len(seen) - 1  # some steps were shorter
        torch.testing.assert_close(torch.stack(points), torch.stack(expected), rtol=0, atol=0)


def test_a_row_that_has_shut_its_guess_looks_at_it_again() -> None:
    sampler = prior_belief(true, NONE[:1])
    x = starts(1)
    state: Guided = sampler.init(x)
    assert bool(state.on)
    shut = state._replace(on=torch.tensor([False]))
    counts, ons = [], []
    seen, wants = sampler.observe, sampler.wants
    assert wants is not None

    def watch(at: Guided, step: object) -> Guided:
        counts.append(int(wants(at)))
        after: Guided = seen(at, step)  # type: ignore[arg-type]
        ons.append(bool(after.on))
        return after

    held = sampler._replace(init=lambda x: shut, observe=watch)
    list(run(Oracle(bowl(), 1, budget=101), Method(held, span, adaptive(0.1), 2), x, [make_generator(1)]))
    assert counts[:PERIOD] == [1] * (PERIOD - 1) + [2]
    assert ons[:PERIOD] == [False] * (PERIOD - 1) + [True]
    assert all(ons[PERIOD:])


def test_where_the_unknown_part_is_as_low_as_it_can_be_only_the_known_one_moves() -> None:
    """f = max(1 - x_1, 0) + |x|^2 / 20 with the second part known: beyond x_1 = 1 the guess -e_1 has nothing to say."""
    known = Known(
        lambda points, instances: points.square().sum(-1) / 20,
        lambda x, g, instances: g + x / 10,
        lambda x, target, g, instances: target,
        least=0.0,
    )
    problem = Problem(
        "hinge",
        3,
        lambda points: (1 - points[:, 0]).clamp_min(0) + points.square().sum(1) / 20,
        lambda g: torch.zeros(3, dtype=F64),
        known=known,
    )
    axis = torch.tensor([[-1.0, 0.0, 0.0]], dtype=F64)
    guess: Field = lambda x, instances: axis.expand_as(x)  # noqa: E731
    sampler = prior_belief(guess, NONE[:1], known)
    x = torch.tensor([[3.0, 1.0, 1.0]], dtype=F64)  # the hinge is shut
    oracle = Oracle(problem, 1, budget=201)
    *_, last = run(oracle, Method(sampler, span, diminishing(0.5), 2), x, [make_generator(0)], composite=True)
    # The minimiser is e_1: at 1 the hinge's slope of 1 outweighs the known part's of 1/10.
    assert last.iterate.best_f.item() == pytest.approx(0.05, abs=0.01)


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="rank must be >= 1"):
        prior_belief(true, NONE, rank=0)
    with pytest.raises(ValueError, match="sharpness must be finite and >= 1"):
        prior_belief(true, NONE, sharpness=0.5)
    with pytest.raises(ValueError, match="refresh_distance must be finite and >= 0"):
        prior_belief(true, NONE, refresh_distance=-1.0)
    sampler = prior_belief(true, NONE)
    with pytest.raises(ValueError, match="num_directions must be 2, got 3"):
        sampler.sample(sampler.init(starts()), starts(), 3, [make_generator(0)] * ROWS)
