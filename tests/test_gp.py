"""The Gaussian process on slopes: its mean against numpy, its independence of units, noise, and whole runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from steps import estimate_of, step_of
from torch import Tensor

from zo_gym import Problem, make_problem, minimize, single_problem
from zo_gym.base import Estimate, GradientModel, Method, State
from zo_gym.composite.norm_penalty import norm_penalty
from zo_gym.estimators import coordinate
from zo_gym.gradient_models.gp import GPSettings, gp
from zo_gym.gradient_models.gp_posterior import LENGTH_SCALE, LINEAR_RANGE
from zo_gym.methods import build
from zo_gym.oracle import Oracle
from zo_gym.problem import repeated
from zo_gym.rng import make_generator
from zo_gym.run import run
from zo_gym.step import start, step
from zo_gym.tree import leaves, put, take
from zo_gym.updates import sgd

MU = 0.01
F64 = torch.float64


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=make_generator(seed), dtype=F64)


def quadratic(d: int, condition: float, scale: float = 1.0) -> Problem:
    """f = scale * sum_i lambda_i x_i^2 / 2, lambda from 1 to `condition` on a logarithmic grid; x0 = 1."""
    curvature = torch.logspace(0, math.log10(condition), d, dtype=F64)
    return single_problem(
        "quadratic",
        d,
        lambda x: scale / 2 * (x.square() * curvature).sum(1),
        lambda generator: torch.ones(d, dtype=F64),
        gradient=lambda x: scale * x * curvature,
    )


def probed(model: GradientModel, x: Tensor, u: Tensor, slopes: Tensor) -> tuple[Tensor, State]:
    """Return the mean and the state after probes at x (B, d) along u (B, q, d) that measured these slopes (B, q)."""
    return model.correct(model.init(x), x, u, span_of(u, slopes))


def span_of(u: Tensor, slopes: Tensor) -> Estimate:
    """Return the estimate of `span` for orthonormal directions u (B, q, d) and their slopes (B, q)."""
    return Estimate(gradient=(slopes[:, :, None] * u).sum(1), slopes=slopes, gain=slopes.square().sum(1))


# Inference


def reference_mean(
    x: np.ndarray, seen: list[tuple[np.ndarray, np.ndarray, float]], noise: np.ndarray, at: np.ndarray
) -> np.ndarray:
    """Compute E[grad f(at) | slopes] for a run that is at x, with the kernel l^2 exp(-|x - x'|^2 / 2 l^2).

    Its derivatives are taken numerically. `seen` holds (point, unit axis, slope); `noise` their variances. The kernel's
    second derivative along two axes is its mixed central difference with step 1e-3 l: error O(1e-6), and cancellation
    of 1e-16 / 1e-6.
    """
    length = math.hypot(
        LENGTH_SCALE * math.sqrt(np.mean([np.sum((x - z) ** 2) for z, _, _ in seen])), LINEAR_RANGE * MU
    )

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
    d, model = 6, gp(GPSettings(smoothing=MU))
    x, u, y = randn(1, d, seed=1), torch.linalg.qr(randn(1, d, 4, seed=2))[0].mT, randn(1, 4, seed=3)
    moves, changes = 0.3 * randn(2, d, seed=4), torch.tensor([-0.2, 0.1], dtype=F64)
    _, state = probed(model, x, u[:, :2], y[:, :2])
    done = step_of(y[:, :1] * u[:, 0], moves[:1], changes[:1])
    state = model.observe(state, done._replace(iterate=done.iterate._replace(x=x + moves[:1])))
    x2 = x + moves[:1]
    g = (y[:, 2:, None] * u[:, 2:]).sum(1)
    _, state = model.correct(state, x2, u[:, 2:], span_of(u[:, 2:], y[:, 2:]))
    rejected = step_of(g, moves[1:], changes[1:])
    rejected = rejected._replace(iterate=rejected.iterate._replace(x=x2), accepted=torch.tensor([False]))
    state = model.observe(state, rejected)
    last = torch.nn.functional.normalize(randn(1, 1, d, seed=5), dim=-1)
    slope = torch.tensor([[0.7]], dtype=F64)
    mean, state = model.correct(state, x2, last, span_of(last, slope))
    elsewhere = x2 + 0.2 * randn(1, d, seed=6)
    predict = model.gradient_at
    assert predict is not None
    ahead = predict(state, elsewhere)

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
    for origin, move, change in ((x, moves[:1], changes[0]), (x2, moves[1:], changes[1])):
        length = move.norm().item()
        seen.append(((origin + move / 2)[0].numpy(), (move / length)[0].numpy(), change.item() / length))
    for found, at in ((mean, x2), (ahead, elsewhere)):
        expected = reference_mean(x2[0].numpy(), seen, np.zeros(len(seen)), at[0].numpy())
        np.testing.assert_allclose(found[0].numpy(), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_d_probes_of_a_linear_function_determine_the_gradient() -> None:
    """Independent, not orthogonal; l is 100 mu, so the kernel is flat over the probes but for 1e-4, times K^-1."""
    d = 7
    x, gradient, u = randn(2, d, seed=1), randn(2, d, seed=2), randn(2, d, d, seed=3)
    mean, _ = probed(gp(), x, u, (u * gradient[:, None]).sum(-1))
    error = (mean - gradient).norm(dim=1) / gradient.norm(dim=1)
    assert error.max().item() < 0.05


def test_probes_go_where_no_slope_is_known() -> None:
    """After slopes along the first three axes, all at one place, u has next to nothing of them."""
    d = 6
    x, model = torch.zeros(1, d, dtype=F64), gp(GPSettings(smoothing=1e-6))
    u = torch.eye(d, dtype=F64)[None, :3]
    _, state = probed(model, x, u, torch.ones(1, 3, dtype=F64))
    away = 1e-3 * torch.ones_like(x)  # l is 7e-3 there
    probes, _ = model.probe(state, away, 4, [make_generator(0)])
    known, unknown = probes[..., :3].square().sum(-1), probes[..., 3:].square().sum(-1)
    assert bool((known < 0.2 * unknown).all())


@pytest.mark.parametrize(("of_f", "of_x"), [(1e-6, 1.0), (1e6, 1.0), (1.0, 1e-3), (1.0, 1e3)])
def test_units_do_not_matter(of_f: float, of_x: float) -> None:
    """of_f * f(x / of_x), with mu and x0 in the new unit, makes the same probes; 1e-6: rounding, amplified by K^-1."""

    def end_of(of_f: float, of_x: float) -> Tensor:
        base = quadratic(8, 10.0)
        problem = single_problem(
            "scaled", 8, lambda x: of_f * base.values(x / of_x), lambda generator: of_x * base.start(generator)
        )
        model = gp(GPSettings(smoothing=MU * of_x))
        method = build("gp", 8, gradient_model=model, learning_rate=0.05 * of_x**2 / of_f)
        x = problem.start(make_generator(0))[None]
        *_, last = run(Oracle(problem, budget=61), method, x, [make_generator(0)], smoothing=MU * of_x)
        return last.iterate.x / of_x

    torch.testing.assert_close(end_of(of_f, of_x), end_of(1.0, 1.0), rtol=1e-6, atol=1e-6)


# The window


def run_quadratic(method: Any, d: int = 12, budget: int = 400, rows: int = 1, **options: Any) -> Tensor:
    """f at the end of each row, (rows,), on a quadratic of condition 100."""
    oracle = Oracle(repeated(quadratic(d, 100.0), rows), rows, budget=budget)
    x = torch.ones(rows, d, dtype=F64)
    *_, last = run(oracle, method, x, [make_generator(seed) for seed in range(rows)], **options)
    return last.iterate.fx


def test_a_window_that_is_not_full_yet_is_as_good_as_any_larger_one() -> None:
    """30 steps are 60 slopes: 64 and 128 places hold the same ones, to the rounding of differently cut sums."""
    ends = [run_quadratic(build("gp", 12, gradient_model=gp(GPSettings(rank=rank))), budget=61) for rank in (64, 128)]
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-6, atol=0)


def test_a_full_window_forgets_the_oldest_slope() -> None:
    """With 8 places, the mean after 3 + 8 probes is the mean after the last 8 alone but for the amplitude: no noise."""
    d, x = 9, randn(1, 9, seed=1)
    u, y = randn(1, 11, d, seed=2), randn(1, 11, seed=3)
    long, _ = probed(gp(GPSettings(rank=8)), x, u, y)
    short, _ = probed(gp(GPSettings(rank=8)), x, u[:, 3:], y[:, 3:])
    torch.testing.assert_close(long, short)


@pytest.mark.parametrize(("d", "rank"), [(1, 8), (13, 40), (24, 64), (123, 256), (10_000, 256), (1_000_000, 32)])
def test_default_rank(d: int, rank: int) -> None:
    assert GPSettings().num_slopes(d) == rank


@pytest.mark.slow
def test_a_million_dimensions_run_in_memory_linear_in_d() -> None:
    d = 1_000_000
    x, model = torch.ones(1, d, dtype=torch.float32), gp(GPSettings(rank=8))
    held = sum(leaf.numel() for leaf in leaves(model.init(x)))
    assert held <= (2 * 8 + 2) * d + 1000  # of each slope a point and an axis, the origin, and where the run stands
    problem = single_problem("sphere", d, lambda p: p.square().sum(1), lambda g: x[0], dtype=torch.float32)
    oracle = Oracle(problem, budget=13)
    method = build("gp", d, gradient_model=model)
    *_, last = run(oracle, method, x, [make_generator(0)], smoothing=0.1)
    assert bool(last.iterate.fx.isfinite().all())


# Rows


def test_rows_run_as_they_would_alone() -> None:
    """Bit for bit, over whole steps: probes, conditioning and moves."""
    d, rows = 7, 3
    starts, method = randn(rows, d), build("gp", d)

    def end_of(which: range) -> Tensor:
        oracle = Oracle(repeated(quadratic(d, 10.0), len(which)), len(which), budget=81)
        x = starts[which.start : which.stop]
        *_, last = run(oracle, method, x, [make_generator(row) for row in which])
        return last.iterate.x

    together = end_of(range(rows))
    for row in range(rows):
        assert torch.equal(end_of(range(row, row + 1)), together[row : row + 1])


def test_states_can_be_cut_into_rows_and_put_together_again() -> None:
    model, x = gp(GPSettings(rank=8)), randn(3, 4)
    fresh = model.init(x)
    _, state = probed(model, x, randn(3, 2, 4, seed=1), randn(3, 2, seed=2))
    row = np.array([1])
    mixed = put(fresh, row, take(state, row))
    assert mixed.process.window.num_stored.tolist() == [0, 2, 0]
    for old, new in zip(leaves(take(state, row)), leaves(take(mixed, row)), strict=True):
        assert torch.equal(old, new)


# What a step measures


def test_a_row_that_did_not_move_stores_no_slope_of_it() -> None:
    model, x = gp(GPSettings(rank=8)), randn(2, 4)
    move = torch.stack([torch.zeros(4, dtype=F64), torch.ones(4, dtype=F64)])
    state = model.observe(model.init(x), step_of(randn(2, 4, seed=1), move, torch.ones(2, dtype=F64)))
    assert state.process.window.num_stored.tolist() == [0, 1]
    assert bool(torch.cat([leaf.flatten() for leaf in leaves(state)]).isfinite().all())


def test_a_move_under_a_composite_term_is_not_stored() -> None:
    """The change of f along it is not that of the black-box part."""
    model, x, g = gp(GPSettings(rank=8)), randn(1, 4), randn(1, 4, seed=1)
    done = step_of(g, -0.1 * g)
    assert model.observe(model.init(x), done).process.window.num_stored.tolist() == [1]
    composite = done._replace(estimate=estimate_of(g + 1))
    assert model.observe(model.init(x), composite).process.window.num_stored.tolist() == [0]


def test_slopes_along_the_axes_enter_the_model_as_any_others() -> None:
    d = 3
    method = Method(None, coordinate, sgd(0.1), d, model=gp(GPSettings(rank=8)))
    x = randn(1, d)
    oracle = Oracle(quadratic(d, 2.0))
    state = start(method, x, oracle(x[:, None])[:, 0])
    assert method.model is not None
    u, _ = method.model.probe(state.model, x, d, [make_generator(0)])
    done = step(oracle, method, state, u, MU)
    curvature = torch.tensor([1.0, 2**0.5, 2.0], dtype=F64)
    torch.testing.assert_close(done.estimate.gradient, curvature * (x + MU / 2), rtol=1e-3, atol=0)
    assert done.model.process.window.num_stored.tolist() == [3]
    assert done.estimate.gradient_at is not None


def test_composite_runs_model_the_black_box_part() -> None:
    result = minimize("digits_attack[0]", method="gp", budget=201, composite=True, seed=0)
    assert result.fun < result.trace.fun[0]


# Noise


def error_under_noise(make: Callable[[], GradientModel], *, reevaluate: bool = False) -> float:
    """Return the mean squared error of m over |grad f|^2: f linear in 10 dimensions, 40 noisy probes, 200 rows."""
    d, rows, s, n = 10, 200, 0.02, 40
    model, x, gradient = make(), torch.zeros(rows, d, dtype=F64), randn(rows, d, seed=1)
    state, mean = model.init(x), x
    for i in range(n):
        if reevaluate:
            difference = math.sqrt(2) * s * randn(rows, seed=1000 + i)
            done = step_of(gradient, torch.zeros_like(x))._replace(reevaluation_difference=difference)
            state = model.observe(state, done)
        u = torch.nn.functional.normalize(randn(rows, 1, d, seed=10 + i), dim=-1)
        noise = math.sqrt(2) * s / MU * randn(rows, 1, seed=500 + i)
        slopes = (u * gradient[:, None]).sum(-1) + noise
        mean, state = model.correct(state, x, u, span_of(u, slopes))
    return ((mean - gradient).square().sum(1) / gradient.square().sum(1)).mean().item()


@pytest.mark.slow
def test_knowing_the_noise_makes_the_mean_more_accurate() -> None:
    """Slopes of variance 1 under noise of variance 8. If noise is ignored, 40 of them mostly measure noise."""
    ignoring = error_under_noise(lambda: gp(GPSettings(rank=64)))
    knowing = error_under_noise(lambda: gp(GPSettings(rank=64, noise_std=0.02)))
    estimating = error_under_noise(lambda: gp(GPSettings(rank=64)), reevaluate=True)
    assert knowing < 1.0  # better than a mean of 0
    assert knowing < 0.5 * ignoring
    assert estimating < 0.5 * ignoring


def test_moves_whose_change_is_rounding_error_change_nothing() -> None:
    """f = 1 + g . x, rounded to 2e-16: a change over 1e-13 is off by 2e-3, as much as |g|."""
    d, model = 8, gp(GPSettings(rank=128))
    x, gradient = torch.zeros(1, d, dtype=F64), 1e-3 * randn(1, d, seed=1)
    u = torch.eye(d, dtype=F64)[None]
    slopes = (u * gradient[:, None]).sum(-1)
    mean, state = probed(model, x, u, slopes)
    for i in range(30):
        move = 1e-13 * torch.nn.functional.normalize(randn(1, d, seed=10 + i), dim=1)
        done = step_of(mean, move, 2e-16 * randn(1, seed=50 + i))
        state = model.observe(state, done._replace(iterate=done.iterate._replace(x=x, fx=torch.ones(1, dtype=F64))))
        mean, state = model.correct(state, x, u[:, :1], span_of(u[:, :1], slopes[:, :1]))
    assert (mean - gradient).norm() < 0.1 * gradient.norm()


# Whole runs


def test_memory_beats_no_memory_on_a_quadratic() -> None:
    """Of d = 12 slopes rand-ada sees one a step, so its decrease per step is 1 / 12 of the gradient's; the model sees
    two slopes a step of a gradient that turns slowly. Asked for: 100 times less f after 400 queries, mean of 5 rows."""
    with_memory = run_quadratic(build("gp", 12), rows=5).mean()
    without = run_quadratic(build("rand-ada", 12), rows=5).mean()
    assert with_memory < without / 100


def test_a_step_to_a_steep_place_is_rejected_and_not_stored() -> None:
    """Rosenbrock's function from -1, where |g| > 1000: the first step, eta = 1, goes to f > 1e10. Each such slope that
    is stored makes the next step longer, until f overflows. At the valley's floor f is below 5."""

    def rosenbrock(x: np.ndarray) -> float:
        return float((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())

    result = minimize(rosenbrock, np.full(6, -1.0), method="gp", budget=2000, smoothing=1e-4, seed=0)
    assert result.fun < 5.0


def test_a_trust_region_step_beats_a_step_along_the_mean() -> None:
    """A valley of condition 100: gradient steps cross it, trust-region steps follow it. Asked for: 100 times less f."""
    within_region = run_quadratic(build("gp-tr", 12), rows=5).mean()
    along_mean = run_quadratic(build("gp", 12), rows=5).mean()
    assert within_region < along_mean / 100


def test_a_trust_region_step_takes_a_composite_term_exactly() -> None:
    """f = |x - 2|^2 + 3 |x - .2|_1, the second part and the box [0, 1] a composite term; least at .5."""
    d = 6
    x0 = torch.full((d,), 0.2, dtype=F64)
    problem = single_problem(
        "penalised",
        d,
        lambda x: (x - 2).square().sum(1) + 3 * (x - 0.2).abs().sum(1),
        lambda generator: x0,
        composite=norm_penalty("l1", 3.0, x0[None]),
    )
    result = minimize(problem, method="gp-tr", budget=200, composite=True, seed=0)
    torch.testing.assert_close(torch.as_tensor(result.x), torch.full((d,), 0.5, dtype=F64), rtol=0, atol=0.01)


def test_half_of_rand_adas_queries_suffice_on_heart_scale_like_data() -> None:
    problem = make_problem("breast_cancer")
    ends = {
        method: minimize(problem, method=method, budget=budget, seed=0).fun
        for method, budget in (("rand-ada", 1000), ("gp", 500))
    }
    assert ends["gp"] < ends["rand-ada"]


# Options


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"rank": 0}, ValueError, "rank must be >= 1, got 0"),
        ({"rank": 2.5}, TypeError, "rank must be an integer >= 1, got 2.5"),
        ({"smoothing": 0.0}, ValueError, "smoothing must be a finite number > 0, got 0"),
        ({"noise_std": -1.0}, ValueError, "noise_std must be finite and >= 0, got -1"),
        ({"slopes_per_dim": 0.0}, ValueError, "slopes_per_dim must be a finite number > 0, got 0"),
        ({"length_scale": -3.0}, ValueError, "length_scale must be a finite number > 0, got -3"),
    ],
)
def test_bad_options_are_rejected(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        GPSettings(**options)
