"""Gradient belief: what it infers against numpy, that it knows no units, what noise does, and that memory pays."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from steps import estimate_of, step_of
from torch import Tensor

from zo_gym import Problem, make_problem, minimize
from zo_gym.base import Estimate, Sampler, State
from zo_gym.estimators import coordinate
from zo_gym.methods import build
from zo_gym.oracle import Oracle
from zo_gym.composite.norm_penalty import penalty
from zo_gym.rng import make_generator
from zo_gym.run import run
from zo_gym.tree import leaves, put, take
from zo_gym.gradient_models.gp import belief, default_rank
from zo_gym.gradient_models.gaussian_process import LINEAR, REACH
from zo_gym.step import begin, refinement, step
from zo_gym.updates import sgd

MU = 0.01
F64 = torch.float64


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=make_generator(seed), dtype=F64)


def quadratic(d: int, condition: float, scale: float = 1.0) -> Problem:
    """f = scale * sum_i lambda_i x_i^2 / 2, lambda from 1 to `condition` on a logarithmic grid; x0 = 1."""
    curvature = torch.logspace(0, math.log10(condition), d, dtype=F64)
    return Problem(
        "quadratic",
        d,
        lambda x: scale / 2 * (x.square() * curvature).sum(1),
        lambda generator: torch.ones(d, dtype=F64),
        gradient=lambda x: scale * x * curvature,
    )


def told(sampler: Sampler, x: Tensor, u: Tensor, slopes: Tensor) -> tuple[Tensor, State]:
    """What `refine` says after probes at x (B, d) along u (B, q, d) with these slopes (B, q)."""
    estimate = Estimate((slopes[:, :, None] * u).sum(1), slopes, slopes.square().sum(1))
    assert sampler.refine is not None
    return sampler.refine(sampler.init(x), x, u, estimate)


# Inference


def reference_mean(
    x: np.ndarray, seen: list[tuple[np.ndarray, np.ndarray, float]], noise: np.ndarray, at: np.ndarray
) -> np.ndarray:
    """E[grad f(at) | slopes] for a run that stands at x, with the kernel l^2 exp(-|x - x'|^2 / 2 l^2).

    Its derivatives are taken numerically. `seen` holds (point, unit axis, slope); `noise` their variances. The kernel's
    second derivative along two axes is its mixed central difference with step 1e-3 l: error O(1e-6), and cancellation
    of 1e-16 / 1e-6.
    """
    length = math.hypot(REACH * math.sqrt(np.mean([np.sum((x - z) ** 2) for z, _, _ in seen])), LINEAR * MU)

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return length**2 * math.exp(-np.sum((a - b) ** 2) / (2 * length**2))

    def covariance(a: np.ndarray, along_a: np.ndarray, b: np.ndarray, along_b: np.ndarray) -> float:
        t = 1e-3 * length
        corners = [i * j * kernel(a + i * t * along_a, b + j * t * along_b) for i in (1, -1) for j in (1, -1)]
        return sum(corners) / (2 * t) ** 2

    gram = np.array([[covariance(z, h, w, k) for w, k, _ in seen] for z, h, _ in seen])
    weights = np.linalg.solve(gram + np.diag(noise), np.array([y for _, _, y in seen]))
    pairs = list(zip(weights, seen, strict=True))
    return np.array([sum(w * covariance(at, axis, z, h) for w, (z, h, _) in pairs) for axis in np.eye(len(x))])


def test_the_mean_is_that_of_a_gaussian_process_conditioned_on_every_slope() -> None:
    """Two steps with two probes each, the second one rejected; 1e-4 covers the reference's differences."""
    d, sampler = 6, belief(smoothing=MU)
    x, u, y = randn(1, d, seed=1), torch.linalg.qr(randn(1, d, 4, seed=2))[0].mT, randn(1, 4, seed=3)
    moves, changes = 0.3 * randn(2, d, seed=4), torch.tensor([-0.2, 0.1], dtype=F64)
    _, state = told(sampler, x, u[:, :2], y[:, :2])
    done = step_of(y[:, :1] * u[:, 0], moves[:1], changes[:1])
    state = sampler.observe(state, done._replace(iterate=done.iterate._replace(x=x + moves[:1])))
    x2 = x + moves[:1]
    assert sampler.refine is not None
    g = (y[:, 2:, None] * u[:, 2:]).sum(1)
    _, state = sampler.refine(state, x2, u[:, 2:], Estimate(g, y[:, 2:], y[:, 2:].square().sum(1)))
    rejected = step_of(g, moves[1:], changes[1:])
    rejected = rejected._replace(iterate=rejected.iterate._replace(x=x2), kept=torch.tensor([False]))
    state = sampler.observe(state, rejected)
    last = torch.nn.functional.normalize(randn(1, 1, d, seed=5), dim=-1)
    slope = torch.tensor([[0.7]], dtype=F64)
    mean, state = sampler.refine(state, x2, last, Estimate(0.7 * last[:, 0], slope, slope[:, 0].square()))
    elsewhere = x2 + 0.2 * randn(1, d, seed=6)
    assert sampler.field is not None
    field = sampler.field(state, elsewhere)

    seen = [
        ((start + MU / 2 * v)[0].numpy(), v[0].numpy(), s.item())
        for start, v, s in (
            (x, u[:, 0], y[0, 0]),
            (x, u[:, 1], y[0, 1]),
            (x2, u[:, 2], y[0, 2]),
            (x2, u[:, 3], y[0, 3]),
            (x2, last[:, 0], slope[0, 0]),
        )
    ]
    for start, move, change in ((x, moves[:1], changes[0]), (x2, moves[1:], changes[1])):
        length = move.norm().item()
        seen.append(((start + move / 2)[0].numpy(), (move / length)[0].numpy(), change.item() / length))
    for found, at in ((mean, x2), (field, elsewhere)):
        expected = reference_mean(x2[0].numpy(), seen, np.zeros(len(seen)), at[0].numpy())
        np.testing.assert_allclose(found[0].numpy(), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_d_probes_of_a_linear_function_tell_the_gradient() -> None:
    """Independent, not orthogonal; l is 100 mu, so the kernel is flat over the probes but for 1e-4, times K^-1."""
    d = 7
    x, gradient, u = randn(2, d, seed=1), randn(2, d, seed=2), randn(2, d, d, seed=3)
    mean, _ = told(belief(), x, u, (u * gradient[:, None]).sum(-1))
    error = (mean - gradient).norm(dim=1) / gradient.norm(dim=1)
    assert error.max().item() < 0.05


def test_probes_go_where_nothing_is_known() -> None:
    """After slopes along the first three axes, all at one place, u has next to nothing of them."""
    d = 6
    x, sampler = torch.zeros(1, d, dtype=F64), belief(smoothing=1e-6)
    u = torch.eye(d, dtype=F64)[None, :3]
    _, state = told(sampler, x, u, torch.ones(1, 3, dtype=F64))
    away = 1e-3 * torch.ones_like(x)  # l is 7e-3 there
    probes, _ = sampler.sample(state, away, 4, [make_generator(0)])
    known, unknown = probes[..., :3].square().sum(-1), probes[..., 3:].square().sum(-1)
    assert bool((known < 0.2 * unknown).all())


@pytest.mark.parametrize(("of_f", "of_x"), [(1e-6, 1.0), (1e6, 1.0), (1.0, 1e-3), (1.0, 1e3)])
def test_units_do_not_matter(of_f: float, of_x: float) -> None:
    """of_f * f(x / of_x), with mu and x0 in the new unit, makes the same probes; 1e-6: rounding, amplified by K^-1."""

    def run(of_f: float, of_x: float) -> list[Tensor]:
        base = quadratic(8, 10.0)
        problem = Problem("scaled", 8, lambda x: of_f * base.fun(x / of_x), lambda g: of_x * base.initial(g))
        method = build("belief", 8, sampler=belief(smoothing=MU * of_x), learning_rate=0.05 * of_x**2 / of_f)
        oracle = Oracle(problem, budget=61)
        x = problem.initial(make_generator(0))[None]
        moments = run(oracle, method, x, [make_generator(0)], smoothing=MU * of_x)
        return [moment.iterate.x / of_x for moment in moments]

    torch.testing.assert_close(run(of_f, of_x)[-1], run(1.0, 1.0)[-1], rtol=1e-6, atol=1e-6)


# The window


def run_quadratic(method: Any, d: int = 12, budget: int = 400, rows: int = 1, **options: Any) -> Tensor:
    """f at the end of each row, (rows,), on a quadratic of condition 100."""
    oracle = Oracle(quadratic(d, 100.0), rows, budget=budget)
    x = torch.ones(rows, d, dtype=F64)
    *_, last = run(oracle, method, x, [make_generator(seed) for seed in range(rows)], **options)
    return last.iterate.fx


def test_a_window_that_is_not_full_yet_is_as_good_as_any_larger_one() -> None:
    """30 steps are 60 slopes: 64 and 128 places hold the same ones, to the rounding of differently cut sums."""
    ends = [run_quadratic(build("belief", 12, sampler=belief(rank)), budget=61) for rank in (64, 128)]
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-6, atol=0)


def test_a_full_window_forgets_the_oldest_slope() -> None:
    """With 8 places, the mean after 3 + 8 probes is the mean after the last 8 alone but for the amplitude: no noise."""
    d, x = 9, randn(1, 9, seed=1)
    u, y = randn(1, 11, d, seed=2), randn(1, 11, seed=3)
    long, _ = told(belief(8), x, u, y)
    short, _ = told(belief(8), x, u[:, 3:], y[:, 3:])
    torch.testing.assert_close(long, short)


@pytest.mark.parametrize(("d", "rank"), [(1, 8), (13, 40), (24, 64), (123, 256), (10_000, 256), (1_000_000, 32)])
def test_default_rank(d: int, rank: int) -> None:
    assert default_rank(d) == rank


@pytest.mark.slow
def test_a_million_dimensions_run_in_memory_linear_in_d() -> None:
    d = 1_000_000
    x, sampler = torch.ones(1, d, dtype=torch.float32), belief(rank=8)
    held = sum(leaf.numel() for leaf in leaves(sampler.init(x)))
    assert held <= (2 * 8 + 2) * d + 1000  # of each slope a point and an axis, the origin, and where the run stands
    oracle = Oracle(Problem("sphere", d, lambda p: p.square().sum(1), lambda g: x[0], dtype=torch.float32), budget=13)
    method = build("belief", d, sampler=sampler)
    *_, last = run(oracle, method, x, [make_generator(0)], smoothing=0.1)
    assert bool(last.iterate.fx.isfinite().all())


# Rows


def test_rows_run_as_they_would_alone() -> None:
    """Bit for bit, over whole steps: probes, conditioning and moves."""
    d, rows = 7, 3
    starts, method = randn(rows, d), build("belief", d)

    def run(which: range) -> Tensor:
        oracle = Oracle(quadratic(d, 10.0), len(which), budget=81)
        x = starts[which.start : which.stop]
        *_, last = run(oracle, method, x, [make_generator(row) for row in which])
        return last.iterate.x

    together = run(range(rows))
    for row in range(rows):
        assert torch.equal(run(range(row, row + 1)), together[row : row + 1])


def test_states_can_be_cut_into_rows_and_put_together_again() -> None:
    sampler, x = belief(8), randn(3, 4)
    fresh = sampler.init(x)
    _, state = told(sampler, x, randn(3, 2, 4, seed=1), randn(3, 2, seed=2))
    row = np.array([1])
    mixed = put(fresh, row, take(state, row))
    assert mixed.belief.slopes.told.tolist() == [0, 2, 0]
    for old, new in zip(leaves(take(state, row)), leaves(take(mixed, row)), strict=True):
        assert torch.equal(old, new)


# What a step tells


def test_a_row_that_did_not_move_remembers_no_slope_of_it() -> None:
    sampler, x = belief(8), randn(2, 4)
    move = torch.stack([torch.zeros(4, dtype=F64), torch.ones(4, dtype=F64)])
    state = sampler.observe(sampler.init(x), step_of(randn(2, 4, seed=1), move, torch.ones(2, dtype=F64)))
    assert state.belief.slopes.told.tolist() == [0, 1]
    assert bool(torch.cat([leaf.flatten() for leaf in leaves(state)]).isfinite().all())


def test_a_move_under_a_known_part_is_not_remembered() -> None:
    """f's change along it is not the unknown part's."""
    sampler, x, g = belief(8), randn(1, 4), randn(1, 4, seed=1)
    done = step_of(g, -0.1 * g)
    assert sampler.observe(sampler.init(x), done).belief.slopes.told.tolist() == [1]
    composite = done._replace(estimate=estimate_of(g + 1))
    assert sampler.observe(sampler.init(x), composite).belief.slopes.told.tolist() == [0]


def test_slopes_along_axes_that_the_sampler_did_not_choose_are_left_as_they_are() -> None:
    d, sampler, rule = 3, belief(8), sgd(0.1)
    x = randn(1, d)
    oracle = Oracle(quadratic(d, 2.0))
    u, state = sampler.sample(sampler.init(x), x, d, [make_generator(0)])
    refine = refinement(sampler, state)
    done = step(oracle, begin(x, oracle(x[:, None])[:, 0], rule), u, coordinate, rule, MU, refine=refine)
    curvature = torch.tensor([1.0, 2**0.5, 2.0], dtype=F64)
    torch.testing.assert_close(done.estimate.gradient, curvature * (x + MU / 2))
    assert done.memory.belief.slopes.told.tolist() == [0]
    assert done.estimate.field is None


def test_composite_runs_believe_about_the_unknown_part() -> None:
    result = minimize("digits_attack", method="belief", budget=201, composite=True, seed=0)
    assert result.fun < result.trace.fun[0]


# Noise


def error_under_noise(make: Callable[[], Sampler], echo: float | None = None) -> float:
    """Mean squared error of m relative to |grad f|^2: f linear in 10 dimensions, 40 noisy probes, 200 rows."""
    d, rows, s, n = 10, 200, 0.02, 40
    sampler, x, gradient = make(), torch.zeros(rows, d, dtype=F64), randn(rows, d, seed=1)
    state, mean = sampler.init(x), x
    assert sampler.refine is not None
    for i in range(n):
        if echo is not None:
            done = step_of(gradient, torch.zeros_like(x))._replace(echo=math.sqrt(2) * s * randn(rows, seed=1000 + i))
            state = sampler.observe(state, done)
        u = torch.nn.functional.normalize(randn(rows, 1, d, seed=10 + i), dim=-1)
        noise = math.sqrt(2) * s / MU * randn(rows, 1, seed=500 + i)
        slopes = (u * gradient[:, None]).sum(-1) + noise
        mean, state = sampler.refine(state, x, u, Estimate(slopes * u[:, 0], slopes, slopes[:, 0].square()))
    return ((mean - gradient).square().sum(1) / gradient.square().sum(1)).mean().item()


def test_knowing_the_noise_makes_the_belief_truer() -> None:
    """Slopes of variance 1 under noise of variance 8. Taken at their word, 40 of them mostly tell noise."""
    blind = error_under_noise(lambda: belief(64))
    aware = error_under_noise(lambda: belief(64, noise_std=0.02))
    listening = error_under_noise(lambda: belief(64), echo=0.02)
    assert aware < 1.0  # better than to know nothing
    assert aware < 0.5 * blind
    assert listening < 0.5 * blind


def test_moves_that_round_to_nothing_tell_nothing() -> None:
    """f = 1 + g . x, rounded to 2e-16: a change over 1e-13 is off by 2e-3, as much as |g|."""
    d, sampler = 8, belief(128)
    x, gradient = torch.zeros(1, d, dtype=F64), 1e-3 * randn(1, d, seed=1)
    u = torch.eye(d, dtype=F64)[None]
    slopes = (u * gradient[:, None]).sum(-1)
    assert sampler.refine is not None
    mean, state = told(sampler, x, u, slopes)
    for i in range(30):
        move = 1e-13 * torch.nn.functional.normalize(randn(1, d, seed=10 + i), dim=1)
        done = step_of(mean, move, 2e-16 * randn(1, seed=50 + i))
        state = sampler.observe(state, done._replace(iterate=done.iterate._replace(x=x, fx=torch.ones(1, dtype=F64))))
        mean, state = sampler.refine(
            state, x, u[:, :1], Estimate(slopes[:, :1] * u[:, 0], slopes[:, :1], slopes[:, 0] ** 2)
        )
    assert (mean - gradient).norm() < 0.1 * gradient.norm()


# Whole runs


def test_memory_beats_no_memory_on_a_quadratic() -> None:
    """Of d = 12 slopes rand-ada sees one a step, so its decrease per step is 1 / 12 of the gradient's; the belief sees
    two slopes a step of a gradient that turns slowly. Asked for: 100 times less f after 400 queries, mean of 5 rows."""
    remembering = run_quadratic(build("belief", 12), rows=5).mean()
    forgetful = run_quadratic(build("rand-ada", 12), rows=5).mean()
    assert remembering < forgetful / 100


def test_a_leap_into_the_far_and_steep_is_undone_and_not_remembered() -> None:
    """Rosenbrock's function from -1, where |g| > 1000: the first step, eta = 1, goes to f > 1e10. Each such slope that
    is remembered makes the next step longer, until f overflows. At the valley's floor f is below 5."""

    def rosenbrock(x: np.ndarray) -> float:
        return float((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())

    result = minimize(rosenbrock, np.full(6, -1.0), method="belief", budget=2000, smoothing=1e-4, seed=0)
    assert result.fun < 5.0


def test_walking_down_the_belief_beats_stepping_along_it() -> None:
    """A valley of condition 100 that a gradient step crosses and a walk follows. Asked for: 100 times less f."""
    walking = run_quadratic(build("belief-tr", 12), rows=5).mean()
    stepping = run_quadratic(build("belief", 12), rows=5).mean()
    assert walking < stepping / 100


def test_a_known_part_is_walked_down_exactly() -> None:
    """f = |x - 2|^2 + 3 |x - .2|_1, the second part and the box [0, 1] known; least at .5."""
    d = 6
    start = torch.full((d,), 0.2, dtype=F64)
    known = penalty("l1", 3.0, start[None])
    problem = Problem(
        "penalised",
        d,
        lambda x: (x - 2).square().sum(1) + 3 * (x - 0.2).abs().sum(1),
        lambda generator: start,
        known=known,
    )
    result = minimize(problem, method="belief-tr", budget=200, composite=True, seed=0)
    torch.testing.assert_close(torch.as_tensor(result.x), torch.full((d,), 0.5, dtype=F64), rtol=0, atol=0.01)


def test_half_of_rand_adas_queries_suffice_on_heart_scale_like_data() -> None:
    problem = make_problem("breast_cancer")
    ends = {
        method: minimize(problem, method=method, budget=budget, seed=0).fun
        for method, budget in (("rand-ada", 1000), ("belief", 500))
    }
    assert ends["belief"] < ends["rand-ada"]


# Options


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"rank": 0}, ValueError, "rank must be >= 1, got 0"),
        ({"rank": 2.5}, TypeError, "rank must be an integer >= 1, got 2.5"),
        ({"smoothing": 0.0}, ValueError, "smoothing must be a finite number > 0, got 0"),
        ({"noise_std": -1.0}, ValueError, "noise_std must be finite and >= 0, got -1"),
    ],
)
def test_bad_options_are_rejected(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        belief(**options)
