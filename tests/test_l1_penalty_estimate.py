"""A penalty of unknown weight: what a run estimates, where there is one and where there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from zo_gym import Problem, single_problem
from zo_gym.base import Estimate, GradientModel, Iterate, Method, State, Step
from zo_gym.composite.l1_penalty_estimate import (
    L1PenaltyEstimate,
    estimate_weight,
    no_estimate,
    penalty_term,
    update_estimate,
)
from zo_gym.composite.norm_penalty import norm_penalty
from zo_gym.composite.term import CompositeTerm
from zo_gym.estimators import span
from zo_gym.gradient_models import GuidedGPSettings, guided_gp
from zo_gym.oracle import Oracle
from zo_gym.problem import repeated
from zo_gym.rng import make_generator
from zo_gym.run import Moment, run
from zo_gym.updates import conditional_gradient, diminishing, sharpened

Updated = tuple[L1PenaltyEstimate, torch.Tensor]

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

    return single_problem("hinge", D, fun, lambda g: START.clone(), shape=(5, 6))


def guided(rows: int = ROWS, factor: float = 1.0, term: CompositeTerm | None = None, **options: Any) -> GradientModel:
    """Return the model whose guess is the true slope of the hinge, times a factor."""
    settings = GuidedGPSettings(**{"rank": 16, "estimate_penalty": True, **options})
    return guided_gp(lambda x, i: factor * SLOPES.expand_as(x), NONE[:rows], term, settings)


def follow(model: GradientModel, c: float, budget: int, rows: int = ROWS) -> Moment:
    """Return where runs with this model end."""
    method = Method(None, span, sharpened(conditional_gradient(0.3), 2.0), 2, model=model)
    generators = [make_generator(i) for i in range(rows)]
    oracle = Oracle(repeated(hinge(c), rows), rows, budget=budget)
    *_, last = run(oracle, method, START.expand(rows, D).clone(), generators)
    return last


@pytest.mark.parametrize("c", [0.05, 0.2, 1.0])
def test_the_weight_is_found(c: float) -> None:
    """Inside the flat region f / |x - x0|_1 is c to rounding, and a move shows that it is."""
    model = guided(1, gate=False)
    found: list[L1PenaltyEstimate] = []

    def observe(state: State, step: Step) -> State:
        after = model.observe(state, step)
        found.append(after.penalty)
        return after

    follow(model._replace(observe=observe), c, 60, rows=1)
    assert found[-1].exact.item()
    assert estimate_weight(found[-1], torch.zeros(1, dtype=F64)).item() == pytest.approx(c, rel=1e-6)


@pytest.mark.parametrize("c", [0.05, 0.2, 1.0])
def test_what_is_estimated_leads_to_the_least_value(c: float) -> None:
    least = LEAST * c
    best = follow(guided(), c, 100).iterate.best_f
    assert (best >= least - 1e-9).all()
    assert best.mean() - least < 0.1 * least
    assert best.mean() < follow(guided(estimate_penalty=False), c, 100).iterate.best_f.mean()


@pytest.mark.parametrize("factor", [-1.0, 0.0])
def test_a_negated_guess_or_none_leads_there_too(factor: float) -> None:
    """A move of the wrong sign raises f and distance alike; the guess is probed at x0 then, and its sign corrected."""
    least = LEAST * 0.2
    last = follow(guided(factor=factor), 0.2, 400)
    assert last.iterate.best_f.mean() < (2.0 if factor else 4.0) * least


def test_without_a_penalty_none_is_assumed() -> None:
    """f* = 0: what fits by chance is at most f / |x - x0|_1, which goes to 0 with f."""
    assert (follow(guided(), 0.0, 40).iterate.best_f == 0.0).all()


def test_where_f_is_negative_there_is_no_estimate() -> None:
    x = START.expand(2, D)
    found, _ = update_estimate(
        no_estimate(x, 8), x, x + 0.1, torch.tensor([-1.0, -7.0], dtype=F64), -torch.ones(2, dtype=F64)
    )
    assert (estimate_weight(found, torch.full((2,), 0.3, dtype=F64)) == 0.0).all()


def test_a_weight_that_fits_is_no_more_than_f_allows() -> None:
    x = START.expand(3, D)
    end = x + 0.1  # |x - x0|_1 = 3
    value = torch.tensor([0.6, 6.0, 0.6], dtype=F64)
    found, gap = update_estimate(no_estimate(x, 8), x, end, value - 6.0, value)
    found = estimate_weight(found, torch.tensor([0.5, 0.5, -0.5], dtype=F64))
    torch.testing.assert_close(found, torch.tensor([0.2, 0.5, 0.0], dtype=F64))
    assert gap.isinf().all()


def tried(
    found: L1PenaltyEstimate, start: torch.Tensor, end: torch.Tensor, f: Callable[[torch.Tensor], torch.Tensor]
) -> Updated:
    return update_estimate(found, start, end, f(end) - f(start), f(end))


def test_a_move_where_the_black_box_part_is_zero_shows_the_weight() -> None:
    """f = .3 |x - x0|_1 there; later a move raises the black-box part by 1."""
    x = START.expand(1, D)
    found, gap = tried(no_estimate(x, 8), x + 0.2, x + 0.15, lambda y: 0.3 * (y - x).abs().sum(1))
    assert found.exact.item()
    assert found.bound.item() == pytest.approx(0.3)
    assert gap.item() == 0.0
    found, gap = tried(found, x + 0.15, x + 0.1, lambda y: 0.3 * (y - x).abs().sum(1) + (y < 0.52).all(1))
    assert gap.item() == pytest.approx(1.0)
    assert estimate_weight(found, torch.zeros(1, dtype=F64)).item() == pytest.approx(0.3)


def test_moves_at_one_rate_do_not_show_the_weight_where_the_black_box_part_is_not_zero() -> None:
    """To and fro over a stretch where it rises by 20 a unit: the same rate twice, of both parts together."""
    x = START.expand(1, D)
    f = lambda y: 9.0 + (20.0 / D + 0.3) * (y - x).abs().sum(1)  # noqa: E731
    found, _ = tried(no_estimate(x, 8), x, x + 0.2, f)
    found, gap = tried(found, x + 0.2, x + 0.01, f)
    assert not found.exact.item()
    assert gap.isinf().item()


def test_a_lower_ratio_refutes_a_weight_that_chance_had_shown() -> None:
    """f = .3 |x - x0|_1 + 1, but for a stretch where the 1 is not there and the penalty is steeper."""
    x = START.expand(1, D)
    found, _ = tried(no_estimate(x, 8), x + 0.2, x + 0.1, lambda y: 0.9 * (y - x).abs().sum(1))
    assert found.exact.item()
    found, gap = tried(found, x + 0.1, x + 0.3, lambda y: 1.0 + 0.3 * (y - x).abs().sum(1))
    assert not found.exact.item()
    assert gap.isinf().item()
    assert found.bound.item() == pytest.approx(0.3 + 1.0 / (0.3 * D))


def test_a_move_that_keeps_its_distance_changes_nothing() -> None:
    x = START.expand(1, D)
    way = torch.zeros(1, D, dtype=F64)
    way[0, 0], way[0, 1] = 0.1, -0.1
    found, gap = update_estimate(
        no_estimate(x, 8), x + way, x - way, torch.tensor([-1.0], dtype=F64), torch.ones(1, dtype=F64)
    )
    assert not found.exact.any()
    assert gap.isinf().all()


def test_the_penalty_as_a_composite_term() -> None:
    """At x0 slopes below c are held, away from it they add up; the model's minimiser is that of hinge + penalty."""
    x = START.expand(1, D).clone()
    c = torch.tensor([1.0], dtype=F64)
    term = penalty_term(no_estimate(x, 8), c, torch.ones(1, dtype=torch.bool))
    assert term.value(x[:, None] + 0.1).item() == pytest.approx(3.0)
    held = term.subgradient(x, SLOPES[None])[0]
    torch.testing.assert_close(held[:5], SLOPES[:5] + 1.0)
    assert (held[5:] == 0.0).all()
    landed = term.project_step(x + 0.1, x - 0.1, SLOPES[None])[0]
    torch.testing.assert_close(landed[:5], x[0, :5] - 0.1)
    assert (landed[5:] == x[0, 5:]).all()
    assert term.minimise_model is not None
    least = term.minimise_model(x, torch.tensor([6.0], dtype=F64), SLOPES[None], torch.zeros(1, dtype=F64))
    assert hinge(1.0).values(least).item() == pytest.approx(LEAST)


def test_rows_that_do_not_use_it_step_as_if_there_were_none() -> None:
    x = START.expand(2, D).clone()
    c, in_use = torch.ones(2, dtype=F64), torch.tensor([True, False])
    term = penalty_term(no_estimate(x, 8), c, in_use)
    far = x + 2.0
    assert term.value(far[:, None])[:, 0].tolist() == [pytest.approx(0.6 * D), 0.0]
    assert torch.equal(term.subgradient(x, SLOPES.expand(2, D))[1], SLOPES)
    assert torch.equal(term.project_step(x, far, SLOPES.expand(2, D))[1], far[1])
    assert term.minimise_model is not None
    part_there, g = torch.full((2,), 6.0, dtype=F64), SLOPES.expand(2, D)
    minimise = term.minimise_model
    estimate = Estimate(g, x.new_zeros(2, 0), c, lambda lift: minimise(x, part_there, g, lift))
    targets = [rule.propose(rule.init(x), x, c, estimate)[0] for rule in (conditional_gradient(0.3), diminishing(0.3))]
    assert torch.equal(targets[0][1], targets[1][1])
    assert not torch.allclose(targets[0][0], targets[1][0])


def test_rows_do_not_depend_on_each_other() -> None:
    together, alone = (follow(guided(rows), 0.2, 81, rows=rows).iterate.best_f for rows in (ROWS, 1))
    torch.testing.assert_close(alone[0], together[0], rtol=1e-9, atol=0.0)


def test_where_a_composite_term_is_declared_none_is_estimated() -> None:
    assert guided().composite_term is not None
    assert guided(estimate_penalty=False).composite_term is None
    declared = guided(term=norm_penalty("l1", 0.2, START[None]))
    assert declared.composite_term is None
    assert declared.init(START.expand(ROWS, D)).penalty is None


def step_of(x: torch.Tensor, proposed: torch.Tensor, fx: torch.Tensor, change: torch.Tensor, *, accepted: bool) -> Step:
    """Return a step of the rows x (B, d) along the slope of the hinge."""
    g, kept = SLOPES.expand_as(x), torch.full((len(x),), accepted)
    after = torch.where(kept, fx + change, fx)
    return Step(
        iterate=Iterate(x + accepted * proposed, after, x, fx, None),
        estimate=Estimate(gradient=g, slopes=x.new_zeros(len(x), 0), gain=g.square().sum(1)),
        directions=x.new_zeros(len(x), 0, D),
        black_box_gradient=g,
        proposed_step=proposed,
        change=change,
        accepted=kept,
    )


def test_a_rejected_move_leaves_the_gap_where_it_was() -> None:
    """u is 1 at x, and 3 where a move led that was rejected; c = .3 is known."""
    model = guided(1)
    x = START[None] + 0.1
    state = model.init(START[None].clone())
    c, gap = torch.tensor([0.3], dtype=F64), torch.tensor([1.0], dtype=F64)
    state = state._replace(gap=gap, penalty=state.penalty._replace(bound=c, exact=torch.tensor([True])))
    here_f, there_f = 1.0 + 0.3 * 0.1 * D, 3.0 + 0.3 * 0.2 * D
    fx, change = torch.tensor([here_f], dtype=F64), torch.tensor([there_f - here_f], dtype=F64)
    for accepted, expected in ((False, 1.0), (True, 3.0)):
        done = step_of(x, torch.full_like(x, 0.1), fx, change, accepted=accepted)
        assert model.observe(state, done).gap.item() == pytest.approx(expected)


def test_a_row_without_its_guess_never_takes_f_for_flat() -> None:
    """c was seen, and f follows it: with the guess the black-box part is at its bound, without it nothing is known."""
    model = guided(2, gate=False)
    x = START.expand(2, D).clone()
    state = model.init(x)
    c = torch.full((2,), 0.3, dtype=F64)
    state = state._replace(in_use=torch.tensor([True, False]), penalty=state.penalty._replace(bound=c))
    done = step_of(x, torch.full_like(x, 0.1), torch.zeros_like(c), c * 0.1 * D, accepted=True)
    assert model.observe(state, done).gap.tolist() == [0.0, float("inf")]
