"""Every sampler: its moments, its randomness, and that it leaves the caller's tensors alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from steps import step_of
from torch import Tensor

from zo_gym import single_problem
from zo_gym.base import Method, Sampler, State
from zo_gym.estimators import span
from zo_gym.oracle import Oracle
from zo_gym.problem import Generators
from zo_gym.rng import make_generator
from zo_gym.samplers import SAMPLERS, guided_es, history, true_gradient
from zo_gym.step import observe, sample, start, step
from zo_gym.tree import leaves, take
from zo_gym.updates import sgd

D = 5
N = 10_000


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=make_generator(seed), dtype=dtype)


def generators(*seeds: int) -> Generators:
    return [make_generator(seed) for seed in seeds]


def with_history(sampler: Sampler, x: Tensor, *gradients: Tensor) -> State:
    """Return the state after steps with these estimates."""
    state = sampler.init(x)
    for g in gradients:
        state = sampler.observe(state, step_of(g, -0.1 * g))
    return state


def draw_independently(sampler: Sampler, *gradients: Tensor) -> Tensor:
    """Draw N directions (N, d), each from a row of its own with this history; the rows take turns at one generator."""
    x = torch.zeros(N, D, dtype=torch.float64)
    state = with_history(sampler, x, *(g.expand(N, D) for g in gradients))
    return sampler.sample(state, x, 1, [make_generator(11)] * N)[0][:, 0]


def assert_second_moment(u: Tensor, expected: Tensor) -> None:
    """Check each entry of mean u u^T to 5 standard errors (p < 1e-6 each); to rounding where u_i u_j is constant."""
    products = u[:, :, None] * u[:, None, :]  # (N, d, d)
    error = products.std(dim=0) / math.sqrt(len(u))
    assert bool(((products.mean(0) - expected).abs() <= 5 * error + 1e-12).all())


# The contract


@pytest.mark.parametrize("name", SAMPLERS)
def test_second_moment_is_the_identity(name: str) -> None:
    """E[u u^T] = I, for a sampler with a memory at its start, where it has observed nothing."""
    assert_second_moment(draw_independently(SAMPLERS[name]()), torch.eye(D, dtype=torch.float64))


@pytest.mark.parametrize("name", SAMPLERS)
def test_mean_squared_length_is_d(name: str) -> None:
    """E|u|^2 = d whatever the history: the learning rate means the same for every sampler. 5 standard errors."""
    squares = draw_independently(SAMPLERS[name](), randn(1, D, seed=1), randn(1, D, seed=2)).square().sum(1)
    assert abs(squares.mean().item() - D) <= 5 * squares.std().item() / math.sqrt(N) + 1e-12


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("b", "q", "d"), [(1, 1, 1), (1, 7, 3), (3, 2, 5)])
def test_shapes_and_dtype(name: str, dtype: torch.dtype, b: int, q: int, d: int) -> None:
    sampler, x = SAMPLERS[name](), torch.zeros(b, d, dtype=dtype)
    u, state = sampler.sample(sampler.init(x), x, q, generators(*range(b)))
    assert u.shape == (b, q, d)
    assert u.dtype == dtype
    assert bool(u.isfinite().all())
    after = sampler.observe(state, step_of(torch.ones_like(x), torch.ones_like(x)))
    assert all(leaf.dtype == dtype and len(leaf) == b for leaf in leaves(after) if leaf.is_floating_point())


@pytest.mark.parametrize("name", SAMPLERS)
def test_same_generator_state_means_same_directions(name: str) -> None:
    sampler, x = SAMPLERS[name](), torch.zeros(1, 40, dtype=torch.float64)
    first, again, other = (sampler.sample(sampler.init(x), x, 3, generators(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", SAMPLERS)
def test_directions_come_from_the_generators_and_not_from_global_randomness(name: str) -> None:
    sampler, x = SAMPLERS[name](), torch.zeros(1, 40, dtype=torch.float64)
    before = torch.get_rng_state()
    (generator,) = generators(1)
    first, state = sampler.sample(sampler.init(x), x, 3, [generator])
    second, _ = sampler.sample(state, x, 3, [generator])
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("q", [1, 3])
@pytest.mark.parametrize("d", [2, 7, 33])
def test_a_row_does_not_depend_on_its_companions(name: str, q: int, d: int) -> None:
    """Bit for bit, with two steps of history behind it: a run in a vector environment is the run on its own."""
    sampler, x, b = SAMPLERS[name](), randn(5, d), 5
    state = with_history(sampler, x, randn(b, d, seed=1), randn(b, d, seed=2))
    together, _ = sampler.sample(state, x, q, generators(*range(b)))
    for row in range(b):
        rows = np.array([row])
        alone, _ = sampler.sample(take(state, rows), x[row : row + 1], q, generators(row))
        assert torch.equal(alone, together[row : row + 1])


@pytest.mark.parametrize("name", SAMPLERS)
def test_nothing_that_is_passed_in_is_mutated_or_kept(name: str) -> None:
    sampler, x, g, move = SAMPLERS[name](), randn(1, D), randn(1, D, seed=1), randn(1, D, seed=2)
    state = with_history(sampler, x, randn(1, D, seed=3))
    before = [leaf.clone() for leaf in leaves(state)]
    u, after = sampler.sample(state, x, 2, generators(0))
    u.zero_()
    final = sampler.observe(after, step_of(g, move))
    assert torch.equal(x, randn(1, D))
    assert torch.equal(g, randn(1, D, seed=1))
    assert torch.equal(move, randn(1, D, seed=2))
    assert all(torch.equal(a, b) for a, b in zip(leaves(state), before, strict=True))
    kept = [leaf.clone() for leaf in leaves(final)]
    for tensor in (x, g, move):
        tensor.zero_()
    assert all(torch.equal(a, b) for a, b in zip(leaves(final), kept, strict=True))


# Isotropic


def test_sphere_directions_have_length_root_d() -> None:
    u, _ = SAMPLERS["sphere"]().sample((), torch.zeros(2, D, dtype=torch.float64), 50, generators(0, 1))
    length = torch.linalg.vector_norm(u, dim=-1)
    torch.testing.assert_close(length, torch.full((2, 50), math.sqrt(D), dtype=torch.float64))


def test_rademacher_directions_hold_signs() -> None:
    u, _ = SAMPLERS["rademacher"]().sample((), torch.zeros(1, D, dtype=torch.float64), 50, generators(0))
    assert set(u.unique().tolist()) == {-1.0, 1.0}


def test_gaussian_directions_have_gaussian_tails() -> None:
    """E u^4 = 3 in one dimension, where sphere, coordinate and rademacher have 1; within 5 standard errors."""
    u, _ = SAMPLERS["gaussian"]().sample((), torch.zeros(1, 1, dtype=torch.float64), N, generators(0))
    fourth = u.flatten() ** 4
    assert abs(fourth.mean().item() - 3) < 5 * fourth.std().item() / math.sqrt(N)


@pytest.mark.parametrize("q", [1, 3, D, D + 2, 3 * D])
def test_no_axis_comes_twice_before_every_axis_has_come_once(q: int) -> None:
    u, _ = SAMPLERS["coordinate"]().sample((), torch.zeros(2, D, dtype=torch.float64), q, generators(0, 1))
    assert bool(((u != 0).sum(-1) == 1).all())
    visits = (u[0] != 0).sum(0)  # (d,)
    assert visits.max() - visits.min() <= (0 if q % D == 0 else 1)
    assert u.max().item() == math.sqrt(D)


# Guided ES


@pytest.mark.parametrize(("alpha", "k"), [(0.5, 2), (0.1, 1), (1.0, 2)])
def test_guided_es_covariance_given_its_surrogates(alpha: float, k: int) -> None:
    """alpha I + (1 - alpha) d/k U U^T (eq. 3, scaled to trace d), U an orthonormal basis of the last k estimates.

    U is found here by an SVD; the noise of 1e-6 in the sampler's basis turns it by ~ 1e-6, far below 1 / sqrt(N).
    """
    forgotten, *last = (randn(1, D, seed=s) for s in range(k + 1))
    u_svd = torch.linalg.svd(torch.cat(last))[2][:k]  # (k, d)
    expected = alpha * torch.eye(D, dtype=torch.float64) + (1 - alpha) * D / k * u_svd.mT @ u_svd
    assert_second_moment(draw_independently(guided_es(alpha, k), forgotten, *last), expected)


def test_guided_es_fills_the_basis_where_surrogates_are_collinear() -> None:
    """With g observed twice, k = 2: alpha I + (1 - alpha) d/2 (v v^T + (I - v v^T) / (d - 1)), v = g / |g|."""
    g = randn(1, D, seed=1)
    v = g / g.norm()
    identity = torch.eye(D, dtype=torch.float64)
    along = v.mT @ v
    expected = 0.5 * identity + 0.5 * D / 2 * (along + (identity - along) / (D - 1))
    assert_second_moment(draw_independently(guided_es(0.5, 2), g, -3 * g), expected)


def test_guided_es_scale_of_the_surrogates_does_not_matter() -> None:
    sampler, x, g = guided_es(0.5, 1), torch.zeros(1, D, dtype=torch.float64), randn(1, D, seed=1)
    small, large = (sampler.sample(with_history(sampler, x, c * g), x, 3, generators(0))[0] for c in (1e-150, 1e150))
    torch.testing.assert_close(small, large)


def test_guided_es_stores_no_more_surrogates_than_dimensions() -> None:
    sampler, x = guided_es(num_surrogates=9), torch.zeros(1, 2, dtype=torch.float64)
    assert sampler.init(x).shape == (1, 2, 2)
    assert sampler.sample(sampler.init(x), x, 3, generators(0))[0].shape == (1, 3, 2)


def test_guided_es_row_with_an_odd_number_of_surrogates_does_not_depend_on_its_companions() -> None:
    sampler, b, d = guided_es(num_surrogates=3), 5, 17
    x = randn(b, d)
    state = with_history(sampler, x, *(randn(b, d, seed=s) for s in (1, 2, 3)))
    together, _ = sampler.sample(state, x, 2, generators(*range(b)))
    alone = [sampler.sample(take(state, np.array([i])), x[i : i + 1], 2, generators(i))[0] for i in range(b)]
    assert torch.equal(torch.cat(alone), together)


@pytest.mark.parametrize("alpha", [0.0, -0.1, 1.1, math.nan])
def test_guided_es_rejects_alpha_out_of_range(alpha: float) -> None:
    with pytest.raises(ValueError, match=r"alpha must be in \(0, 1\], got"):
        guided_es(alpha)


def test_guided_es_rejects_no_surrogates() -> None:
    with pytest.raises(ValueError, match="num_surrogates must be >= 1, got 0"):
        guided_es(num_surrogates=0)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_guided_es_estimate_and_move_takes_the_newest_of_both(k: int) -> None:
    """The surrogates are the first k of: last g, last move, the g before. Covariance as above, U by an SVD."""
    sampler, d = guided_es(0.5, k, surrogates="estimate-and-move"), D
    old_g, old_move, g, move = (randn(1, d, seed=s) for s in (1, 2, 3, 4))
    x = torch.zeros(N, d, dtype=torch.float64)
    state = sampler.init(x)
    for estimated, moved in ((old_g, old_move), (g, move)):
        state = sampler.observe(state, step_of(estimated.expand(N, d), moved.expand(N, d)))
    u = sampler.sample(state, x, 1, [make_generator(11)] * N)[0][:, 0]
    u_svd = torch.linalg.svd(torch.cat([g, move, old_g][:k]))[2][:k]  # (k, d)
    assert_second_moment(u, 0.5 * torch.eye(d, dtype=torch.float64) + 0.5 * d / k * u_svd.mT @ u_svd)


def test_guided_es_rejects_unknown_surrogates() -> None:
    with pytest.raises(ValueError, match=r"Unknown surrogates 'moves'\. "):
        guided_es(surrogates="moves")  # type: ignore[arg-type]


# History


def test_history_tries_the_last_estimate_first_and_random_directions_after_it() -> None:
    sampler, x = history(), torch.zeros(2, D, dtype=torch.float64)
    old, g = randn(2, D, seed=1), randn(2, D, seed=2)
    u, _ = sampler.sample(with_history(sampler, x, old, 1e-9 * g), x, 3, generators(0, 1))
    torch.testing.assert_close(u[:, 0], math.sqrt(D) * g / g.norm(dim=1, keepdim=True))
    fresh, _ = SAMPLERS["gaussian"]().sample((), x, 3, generators(0, 1))
    assert torch.equal(u[:, 1:], fresh[:, 1:])


def test_history_is_random_while_a_row_has_no_estimate() -> None:
    """At the start, and after an estimate of 0; the row beside it is not."""
    sampler, x = history(), torch.zeros(2, D, dtype=torch.float64)
    g = torch.stack([torch.zeros(D, dtype=torch.float64), torch.ones(D, dtype=torch.float64)])
    u, _ = sampler.sample(with_history(sampler, x, g), x, 2, generators(0, 1))
    fresh, _ = sampler.sample(sampler.init(x), x, 2, generators(0, 1))
    assert torch.equal(u[0], fresh[0])
    assert torch.equal(u[1, 0], torch.ones(D, dtype=torch.float64))  # sqrt(d) times unit length


def test_history_with_one_direction_is_not_confined_to_a_line() -> None:
    sampler, x = history(), torch.zeros(1, D, dtype=torch.float64)
    state = with_history(sampler, x, torch.ones(1, D, dtype=torch.float64))
    u, _ = sampler.sample(state, x, 1, generators(0))
    assert torch.equal(u, SAMPLERS["gaussian"]().sample((), x, 1, generators(0))[0])


def test_history_with_span_accumulates_a_constant_gradient() -> None:
    """f linear, q = 2: each step keeps the part of grad f that it has and adds a random direction's worth of the rest.

    So |g| never falls, and the missing |grad f|^2 - |g|^2 shrinks by 1 - 1 / (d - 1) a step on average: by 8e-8 in 70
    steps at d = 5 + 1 = 6, where 1e-3 is asked for.
    """
    d = 6
    slope, x = randn(1, d, seed=5), randn(1, d, seed=6)
    oracle = Oracle(single_problem("linear", d, lambda points: (points * slope).sum(1), lambda g: x[0]))
    method, generator = Method(history(), span, sgd(0.1), 2), make_generator(0)
    state, lengths = start(method, x, oracle(x[:, None])[:, 0]), []
    for _ in range(70):
        u, state = sample(method, state, [generator])
        done = step(oracle, method, state, u, 0.01)
        state = observe(method, state, done)
        lengths.append(done.estimate.gradient.norm().item())
    assert bool((np.diff(lengths) > -1e-9).all())  # rounding of slopes at mu = 0.01
    torch.testing.assert_close(done.estimate.gradient, slope, rtol=0, atol=math.sqrt(1e-3) * slope.norm().item())


# The reference


def test_true_gradient_is_a_unit_vector_with_random_ones_behind_it() -> None:
    sampler, x = true_gradient(lambda points: 3 * points), randn(2, D)
    alone, state = sampler.sample(sampler.init(x), x, 1, generators(0, 1))
    torch.testing.assert_close(alone[:, 0], x / x.norm(dim=1, keepdim=True))
    u, _ = sampler.sample(state, x, 3, generators(0, 1))
    assert torch.equal(u[:, :1], alone)
    assert torch.equal(u[:, 1:], SAMPLERS["gaussian"]().sample((), x, 2, generators(0, 1))[0])


def test_true_gradient_with_span_is_gradient_descent() -> None:
    """To the difference's bias: on f = |x|^2 the slope along a unit vector is high by mu."""
    x, eta, mu = randn(1, D), 0.1, 1e-3
    oracle = Oracle(single_problem("sphere", D, lambda points: points.square().sum(1), lambda g: x[0]))
    method = Method(true_gradient(lambda points: 2 * points), span, sgd(eta), 1)
    u, state = sample(method, start(method, x, x.square().sum(1)), generators(0))
    done = step(oracle, method, state, u, mu)
    torch.testing.assert_close(done.iterate.x, x - eta * (2 * x + mu * u[:, 0]))
    assert oracle.queries.tolist() == [2]


def test_true_gradient_does_not_keep_the_gradients_graph() -> None:
    weight = torch.ones(D, dtype=torch.float64, requires_grad=True)
    sampler, x = true_gradient(lambda points: weight * points), randn(1, D)
    assert not sampler.sample(sampler.init(x), x, 1, generators(0))[0].requires_grad
