"""A penalty of unknown weight: what a run makes of it, where there is one and where there is none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from zo_gym.base import Estimate, Iterate, Problem, State, Step
from zo_gym.estimators import span
from zo_gym.methods import Method
from zo_gym.oracle import Oracle
from zo_gym.composite.norm_penalty import penalty
from zo_gym.rng import make_generator
from zo_gym.run import Moment, rollout
from zo_gym.samplers import prior_belief
from zo_gym.composite.l1_penalty_estimate import Inferred, here, moved, no_penalty, weight
from zo_gym.updates import conditional, diminishing, sharpened

Heard = tuple[Inferred, torch.Tensor]

D, ROWS = 30, 6
F64 = torch.float64
NONE = torch.zeros(ROWS, dtype=torch.int64)
SLOPES = torch.cat([torch.linspace(-4.2, -3.8, 5, dtype=F64), torch.linspace(-0.5, 0.5, D - 5, dtype=F64)])
LEAST = 0.6 + 0.6 + (6.0 - 0.6 * (4.2 + 4.1)) / 4.0
"""|x - x0|_1 where the hinge is 0 most cheaply: two coordinates at their bound, the third one on the way."""
START = torch.full((D,), 0.4, dtype=F64)


def hinge(c: float) -> Problem:
    """max(0, 6 + s . (x - x0)) + c |x - x0|_1: the least is LEAST c."""

    def fun(points: torch.Tensor) -> torch.Tensor:
        way = points.clamp(0.0, 1.0) - START
        return (6.0 + way @ SLOPES).clamp_min(0.0) + c * way.abs().sum(1)

    return Problem("hinge", D, fun, lambda g: START.clone(), shape=(5, 6))


def run(c: float, budget: int, *, rows: int = ROWS, **options: bool) -> Moment:
    """Where runs end whose guess is the true slope of the hinge."""
    sampler = prior_belief(lambda x, i: SLOPES.expand_as(x), NONE[:rows], rank=16, **options)  # type: ignore[arg-type]
    method = Method(sampler, span, sharpened(conditional(0.3), 2.0), 2)
    generators = [make_generator(i) for i in range(rows)]
    *_, last = run(Oracle(hinge(c), rows, budget=budget), method, START.expand(rows, D).clone(), generators)
    return last


@pytest.mark.parametrize("c", [0.05, 0.2, 1.0])
def test_the_weight_is_found(c: float) -> None:
    """Inside the flat region f / |x - x0|_1 is c to rounding, and a move shows that it is."""
    sampler = prior_belief(lambda x, i: SLOPES.expand_as(x), NONE[:1], rank=16, infer_penalty=True, gate=False)
    found: list[Inferred] = []

    def observe(state: State, step: Step) -> State:
        after = sampler.observe(state, step)
        found.append(after.penalty)
        return after

    method = Method(sampler._replace(observe=observe), span, sharpened(conditional(0.3), 2.0), 2)
    *_, _ = run(Oracle(hinge(c), 1, budget=60), method, START[None].clone(), [make_generator(0)])
    assert found[-1].exact.item()
    assert weight(found[-1], torch.zeros(1, dtype=F64)).item() == pytest.approx(c, rel=1e-6)


@pytest.mark.parametrize("c", [0.05, 0.2, 1.0])
def test_what_is_inferred_leads_to_the_least_value(c: float) -> None:
    least = LEAST * c
    best = run(c, 100, infer_penalty=True).iterate.best_f
    assert (best >= least - 1e-9).all()
    assert best.mean() - least < 0.1 * least
    assert best.mean() < run(c, 100).iterate.best_f.mean()


@pytest.mark.parametrize("factor", [-1.0, 0.0])
def test_a_guess_upside_down_or_none_leads_there_too(factor: float) -> None:
    """A move of the wrong sign costs f and distance alike; the guess is asked at x0 then, and turned round."""
    least = LEAST * 0.2
    sampler = prior_belief(lambda x, i: factor * SLOPES.expand_as(x), NONE, rank=16, infer_penalty=True)
    method = Method(sampler, span, sharpened(conditional(0.3), 2.0), 2)
    generators = [make_generator(i) for i in range(ROWS)]
    *_, last = run(Oracle(hinge(0.2), ROWS, budget=400), method, START.expand(ROWS, D).clone(), generators)
    assert last.iterate.best_f.mean() < (2.0 if factor else 4.0) * least


def test_without_a_penalty_none_is_believed_in() -> None:
    """f* = 0: what fits by chance is at most f / |x - x0|_1, which goes to 0 with f."""
    assert (run(0.0, 40, infer_penalty=True).iterate.best_f == 0.0).all()


def test_where_f_is_negative_there_is_no_penalty() -> None:
    x = START.expand(2, D)
    found, _ = moved(no_penalty(x, 8), x, x + 0.1, torch.tensor([-1.0, -7.0], dtype=F64), -torch.ones(2, dtype=F64))
    assert (weight(found, torch.full((2,), 0.3, dtype=F64)) == 0.0).all()


def test_a_weight_that_fits_is_no_more_than_f_allows() -> None:
    x = START.expand(3, D)
    end = x + 0.1  # |x - x0|_1 = 3
    value = torch.tensor([0.6, 6.0, 0.6], dtype=F64)
    found, level = moved(no_penalty(x, 8), x, end, value - 6.0, value)
    found = weight(found, torch.tensor([0.5, 0.5, -0.5], dtype=F64))
    torch.testing.assert_close(found, torch.tensor([0.2, 0.5, 0.0], dtype=F64))
    assert level.isinf().all()


def told(found: Inferred, start: torch.Tensor, end: torch.Tensor, f: Callable[[torch.Tensor], torch.Tensor]) -> Heard:
    return moved(found, start, end, f(end) - f(start), f(end))


def test_a_move_where_the_unknown_part_is_zero_shows_the_weight() -> None:
    """f = .3 |x - x0|_1 there; later a move raises the unknown part by 1."""
    x = START.expand(1, D)
    found, level = told(no_penalty(x, 8), x + 0.2, x + 0.15, lambda y: 0.3 * (y - x).abs().sum(1))
    assert found.exact.item()
    assert found.most.item() == pytest.approx(0.3)
    assert level.item() == 0.0
    found, level = told(found, x + 0.15, x + 0.1, lambda y: 0.3 * (y - x).abs().sum(1) + (y < 0.52).all(1))
    assert level.item() == pytest.approx(1.0)
    assert weight(found, torch.zeros(1, dtype=F64)).item() == pytest.approx(0.3)


def test_moves_at_one_rate_do_not_show_the_weight_where_the_unknown_part_is_not_zero() -> None:
    """To and fro over a stretch where it rises by 20 a unit: the same rate twice, of both parts together."""
    x = START.expand(1, D)
    f = lambda y: 9.0 + (20.0 / D + 0.3) * (y - x).abs().sum(1)  # noqa: E731
    found, _ = told(no_penalty(x, 8), x, x + 0.2, f)
    found, level = told(found, x + 0.2, x + 0.01, f)
    assert not found.exact.item()
    assert level.isinf().item()


def test_a_lower_ratio_refutes_a_weight_that_chance_had_shown() -> None:
    """f = .3 |x - x0|_1 + 1, but for a stretch where the 1 is not there and the penalty is steeper."""
    x = START.expand(1, D)
    found, _ = told(no_penalty(x, 8), x + 0.2, x + 0.1, lambda y: 0.9 * (y - x).abs().sum(1))
    assert found.exact.item()
    found, level = told(found, x + 0.1, x + 0.3, lambda y: 1.0 + 0.3 * (y - x).abs().sum(1))
    assert not found.exact.item()
    assert level.isinf().item()
    assert found.most.item() == pytest.approx(0.3 + 1.0 / (0.3 * D))


def test_a_move_that_keeps_its_distance_says_nothing() -> None:
    x = START.expand(1, D)
    way = torch.zeros(1, D, dtype=F64)
    way[0, 0], way[0, 1] = 0.1, -0.1
    found, level = moved(no_penalty(x, 8), x + way, x - way, torch.tensor([-1.0], dtype=F64), torch.ones(1, dtype=F64))
    assert not found.exact.any()
    assert level.isinf().all()


def test_the_penalty_as_a_known_part() -> None:
    """At x0 slopes below c are held; away from it they add up; the vertex is the least point of hinge + penalty."""
    x = START.expand(1, D).clone()
    c = torch.tensor([1.0], dtype=F64)
    part = here(no_penalty(x, 8), c, torch.ones(1, dtype=torch.bool))
    assert part.value(x[:, None] + 0.1).item() == pytest.approx(3.0)
    held = part.subgradient(x, SLOPES[None])[0]
    torch.testing.assert_close(held[:5], SLOPES[:5] + 1.0)
    assert (held[5:] == 0.0).all()
    landed = part.land(x + 0.1, x - 0.1, SLOPES[None])[0]
    torch.testing.assert_close(landed[:5], x[0, :5] - 0.1)
    assert (landed[5:] == x[0, 5:]).all()
    assert part.vertex is not None
    least = part.vertex(x, torch.tensor([6.0], dtype=F64), SLOPES[None], torch.zeros(1, dtype=F64))
    assert hinge(1.0).fun(least).item() == pytest.approx(LEAST)


def test_rows_that_do_not_believe_in_it_step_as_if_nothing_was_known() -> None:
    x = START.expand(2, D).clone()
    c, believed = torch.ones(2, dtype=F64), torch.tensor([True, False])
    part = here(no_penalty(x, 8), c, believed)
    far = x + 2.0
    assert part.value(far[:, None])[:, 0].tolist() == [pytest.approx(0.6 * D), 0.0]
    assert torch.equal(part.subgradient(x, SLOPES.expand(2, D))[1], SLOPES)
    assert torch.equal(part.land(x, far, SLOPES.expand(2, D))[1], far[1])
    assert part.vertex is not None
    part_there, g = torch.full((2,), 6.0, dtype=F64), SLOPES.expand(2, D)
    estimate = Estimate(g, x.new_zeros(2, 0), c, lambda more: part.vertex(x, part_there, g, more))  # type: ignore[misc]
    targets = [rule.propose(rule.init(x), x, c, estimate)[0] for rule in (conditional(0.3), diminishing(0.3))]
    assert torch.equal(targets[0][1], targets[1][1])
    assert not torch.allclose(targets[0][0], targets[1][0])


def test_rows_do_not_depend_on_each_other() -> None:
    together, alone = (run(0.2, 81, rows=rows, infer_penalty=True).iterate.best_f for rows in (ROWS, 1))
    torch.testing.assert_close(alone[0], together[0], rtol=1e-9, atol=0.0)


def test_where_a_part_is_known_nothing_is_inferred() -> None:
    sampler = prior_belief(lambda x, i: x, NONE, infer_penalty=True)
    assert sampler.infer is not None
    assert prior_belief(lambda x, i: x, NONE).infer is None
    known = prior_belief(lambda x, i: x, NONE, known=penalty("l1", 0.2, START[None]), infer_penalty=True)
    assert known.infer is None
    assert known.init(START.expand(ROWS, D)).penalty is None


def test_a_rejected_move_leaves_the_level_where_it_was() -> None:
    """u is 1 at x, and 3 where a move led that was not kept; c = .3 is known."""
    sampler = prior_belief(lambda x, i: SLOPES.expand_as(x), NONE[:1], infer_penalty=True)
    x = START[None] + 0.1
    state = sampler.init(START[None].clone())
    c, level = torch.tensor([0.3], dtype=F64), torch.tensor([1.0], dtype=F64)
    state = state._replace(level=level, penalty=state.penalty._replace(most=c, exact=torch.tensor([True])))
    trial = torch.full_like(x, 0.1)
    here_f, there_f = 1.0 + 0.3 * 0.1 * D, 3.0 + 0.3 * 0.2 * D
    fx, change = torch.tensor([here_f], dtype=F64), torch.tensor([there_f - here_f], dtype=F64)
    estimate = Estimate(SLOPES[None], x.new_zeros(1, 0), c)
    for kept, expected in ((False, 1.0), (True, 3.0)):
        told = torch.tensor([kept])
        after = torch.where(told, fx + change, fx)
        iterate = Iterate(x + kept * trial, after, x, fx, None)
        done = Step(iterate, estimate, x.new_zeros(1, 0, D), SLOPES[None], trial, change, None, None, told, None)
        assert sampler.observe(state, done).level.item() == pytest.approx(expected)


def test_a_row_without_its_guess_never_takes_f_for_flat() -> None:
    """c was seen, and f follows it: with the guess the unknown part is at its floor, without it nothing is known."""
    sampler = prior_belief(lambda x, i: SLOPES.expand_as(x), NONE[:2], infer_penalty=True, gate=False)
    x = START.expand(2, D).clone()
    state = sampler.init(x)
    c = torch.full((2,), 0.3, dtype=F64)
    state = state._replace(on=torch.tensor([True, False]), penalty=state.penalty._replace(most=c))
    trial = torch.full_like(x, 0.1)
    change = c * 0.1 * D
    iterate = Iterate(x + trial, change, x, change, None)
    estimate = Estimate(SLOPES.expand(2, D), x.new_zeros(2, 0), c)
    done = Step(iterate, estimate, x.new_zeros(2, 0, D), estimate.gradient, trial, change, None, None, None, None)
    assert sampler.observe(state, done).level.tolist() == [0.0, float("inf")]
