"""Every estimator against closed forms on linear and quadratic functions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from zo_gym.base import Estimate
from zo_gym.directions import cosine, orthonormalise
from zo_gym.estimators import ESTIMATORS, central, coordinate, forward, span
from zo_gym.problem import Objective

B, D, Q = 3, 6, 4
ROUNDING = 1e-9
"""Differences of values ~ 10 over mu = 0.1 carry ~ 10 * 1e-16 / 0.1 = 1e-14 rounding; four orders to spare, and ten
below any effect tested."""

WITH_Q = [name for name in ESTIMATORS if name != "coordinate"]


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


SLOPE = randn(D, seed=1)
HESSIAN = randn(D, D, seed=2)
HESSIAN = HESSIAN @ HESSIAN.mT + torch.eye(D, dtype=torch.float64)


def linear(x: Tensor) -> Tensor:
    return x @ SLOPE + 3


def quadratic(x: Tensor) -> Tensor:
    return 0.5 * torch.einsum("mi,ij,mj->m", x, HESSIAN, x) + x @ SLOPE


def gradient(x: Tensor) -> Tensor:
    return x @ HESSIAN + SLOPE


def estimate(name: str, fun: Objective, x: Tensor, u: Tensor, mu: float = 0.1) -> Estimate:
    """What the step does: prepare, query, combine."""
    estimator = ESTIMATORS[name]
    if estimator.prepare is not None:
        u = estimator.prepare(u)
    points = estimator.points(x, u, mu)
    assert points.shape == (len(x), estimator.num_queries(u.shape[1], x.shape[1]), x.shape[1])
    values = fun(points.reshape(-1, x.shape[1])).view(points.shape[:2])
    return estimator.combine(values, fun(x), u, mu)


# The contract


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("q", [1, Q])
def test_shapes_and_dtype(name: str, q: int) -> None:
    for dtype in (torch.float64, torch.float32):
        fun = lambda x: x.square().sum(-1)  # noqa: E731
        found = estimate(name, fun, randn(B, D).to(dtype), randn(B, q, D, seed=3).to(dtype))
        assert found.gradient.shape == (B, D)
        assert found.gain.shape == (B,)
        assert found.slopes.shape == (B, D if name == "coordinate" else q)
        assert {found.gradient.dtype, found.gain.dtype, found.slopes.dtype} == {dtype}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("q", [1, Q])
def test_gain_is_the_gradient_times_the_estimate(name: str, q: int) -> None:
    """Exact on a linear function, whose slopes do not depend on mu."""
    found = estimate(name, linear, randn(B, D), randn(B, q, D, seed=3))
    torch.testing.assert_close(found.gain, found.gradient @ SLOPE, rtol=ROUNDING, atol=0)


@pytest.mark.parametrize("name", WITH_Q)
@pytest.mark.parametrize("q", [1, Q])
def test_slopes_are_the_directional_derivatives(name: str, q: int) -> None:
    u = randn(B, q, D, seed=3)
    probed = orthonormalise(u) if name == "span" else u
    found = estimate(name, linear, randn(B, D), u)
    torch.testing.assert_close(found.slopes, probed @ SLOPE, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("q", [1, Q])
def test_turning_a_direction_round_changes_nothing(name: str, q: int) -> None:
    """Slope and direction change sign together: exact on a linear function, up to rounding."""
    x, u = randn(B, D), randn(B, q, D, seed=3)
    there, back = estimate(name, linear, x, u), estimate(name, linear, x, -u)
    torch.testing.assert_close(there.gradient, back.gradient, rtol=0, atol=ROUNDING)
    torch.testing.assert_close(there.gain, back.gain, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("q", [1, 3, Q])
@pytest.mark.parametrize("d", [6, 17, 64])
def test_a_row_does_not_depend_on_its_companions(name: str, q: int, d: int) -> None:
    """Bit for bit: a run in a vector environment is the run on its own. (q d odd: rows at every memory alignment.)"""
    x, u = randn(7, d), randn(7, q, d, seed=3)
    fun = lambda points: points.sum(-1) ** 2 + points[:, 0]  # noqa: E731
    estimator = ESTIMATORS[name]
    probed = u if estimator.prepare is None else estimator.prepare(u)
    points = estimator.points(x, probed, 0.1)
    values, fx = fun(points.reshape(-1, d)).view(points.shape[:2]), fun(x)
    together = estimator.combine(values, fx, probed, 0.1)
    for row in range(7):
        one = slice(row, row + 1)
        alone = u[one] if estimator.prepare is None else estimator.prepare(u[one])
        assert torch.equal(estimator.points(x[one], alone, 0.1), points[one])
        apart = estimator.combine(values[one], fx[one], alone, 0.1)
        for part in ("gradient", "slopes", "gain"):
            assert torch.equal(getattr(apart, part), getattr(together, part)[one])


@pytest.mark.parametrize("name", ESTIMATORS)
def test_arguments_are_not_mutated(name: str) -> None:
    x, u = randn(B, D), randn(B, Q, D, seed=3)
    estimate(name, quadratic, x, u)
    assert torch.equal(x, randn(B, D))
    assert torch.equal(u, randn(B, Q, D, seed=3))


# Bias


@pytest.mark.parametrize("mu", [1e-3, 1.0, 10.0])
def test_central_slopes_are_exact_on_a_quadratic(mu: float) -> None:
    x, u = randn(B, D), randn(B, Q, D, seed=3)
    exact = (u @ gradient(x)[:, :, None])[:, :, 0]  # (B, q, d) x (B, d, 1) -> (B, q)
    found = estimate("central", quadratic, x, u, mu)
    # mu 10 makes values ~ 1e4, mu 1e-3 divides by 2e-3: rounding ~ 1e4 * 1e-16 / 10 and 1e2 * 1e-16 / 2e-3 < 1e-10.
    torch.testing.assert_close(found.slopes, exact, rtol=0, atol=1e-10)
    torch.testing.assert_close(found.gradient, (exact[:, :, None] * u).mean(1), rtol=0, atol=1e-9)


def test_forward_bias_is_half_mu_times_the_curvature() -> None:
    """(f(x + mu u) - f(x)) / mu = grad f . u + mu/2 u^T H u, exactly, on a quadratic."""
    x, u, mu = randn(B, D), randn(B, Q, D, seed=3), 0.3
    exact = (u @ gradient(x)[:, :, None])[:, :, 0]
    bias = mu / 2 * torch.einsum("bqi,ij,bqj->bq", u, HESSIAN, u)
    torch.testing.assert_close(estimate("forward", quadratic, x, u, mu).slopes - exact, bias, rtol=0, atol=ROUNDING)


def test_coordinate_is_the_gradient_plus_half_mu_the_diagonal() -> None:
    x, mu = randn(B, D), 0.1
    expected = gradient(x) + mu / 2 * HESSIAN.diag()
    found = estimate("coordinate", quadratic, x, randn(B, 1, D, seed=3), mu)
    torch.testing.assert_close(found.gradient, expected, rtol=0, atol=ROUNDING)


def test_coordinate_ignores_the_directions() -> None:
    x = randn(B, D)
    first, second = (estimate("coordinate", quadratic, x, randn(B, 1, D, seed=s)) for s in (3, 4))
    assert torch.equal(first.gradient, second.gradient)


# Span


def test_span_is_the_orthogonal_projection() -> None:
    """Against P = U (U^T U)^-1 U^T, computed without an orthonormal basis."""
    u = randn(B, Q, D, seed=3)
    projector = torch.linalg.pinv(u) @ u  # (B, d, d)
    found = estimate("span", linear, randn(B, D), u).gradient
    torch.testing.assert_close(found, projector @ SLOPE, rtol=0, atol=ROUNDING)
    assert bool((found.norm(dim=1) < SLOPE.norm()).all())


def test_projecting_a_projection_changes_nothing() -> None:
    u = randn(B, Q, D, seed=3)
    once = estimate("span", linear, randn(B, D), u).gradient
    for row in range(B):
        fun = lambda x, g=once[row]: x @ g  # noqa: E731
        one = slice(row, row + 1)
        again = estimate("span", fun, randn(1, D), u[one]).gradient
        torch.testing.assert_close(again, once[one], rtol=0, atol=ROUNDING)


def test_span_of_as_many_directions_as_dimensions_is_the_gradient() -> None:
    found = estimate("span", linear, randn(B, D), randn(B, D, D, seed=3))
    torch.testing.assert_close(found.gradient, SLOPE.expand(B, D), rtol=0, atol=ROUNDING)


def test_span_of_one_direction_does_not_depend_on_its_length() -> None:
    x, u = randn(B, D), randn(B, 1, D, seed=3)
    short, long = estimate("span", linear, x, u), estimate("span", linear, x, 1000 * u)
    torch.testing.assert_close(short.gradient, long.gradient, rtol=0, atol=ROUNDING)
    unit = u[:, 0] / u[:, 0].norm(dim=1, keepdim=True)
    torch.testing.assert_close(short.gradient, (unit @ SLOPE)[:, None] * unit, rtol=0, atol=ROUNDING)  # eq. 2


def test_span_needs_no_more_directions_than_dimensions() -> None:
    with pytest.raises(ValueError, match=r"num_directions <= dim, got 7 > 6\. Lower num_directions\."):
        ESTIMATORS["span"].num_queries(7, D)


def test_orthonormal_basis_starts_along_the_first_direction() -> None:
    u = randn(B, Q, D, seed=3)
    basis = orthonormalise(u)
    identity = torch.eye(Q, dtype=torch.float64).expand(B, Q, Q)
    torch.testing.assert_close(basis @ basis.mT, identity, rtol=0, atol=1e-12)  # QR is orthogonal to ~ d eps
    torch.testing.assert_close(cosine(basis[:, 0], u[:, 0]).abs(), torch.ones(B, dtype=torch.float64))


@pytest.mark.parametrize("d", [2, 5, 16, 17])
def test_orthonormal_basis_is_zero_where_directions_are_collinear(d: int) -> None:
    """Rank 1 of q = 2: what the second direction adds is rounding error, no direction of the span."""
    u = randn(B, 1, d, seed=3) * torch.tensor([[1.0], [-3.7]], dtype=torch.float64)
    basis = orthonormalise(u)
    gram = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64).expand(B, 2, 2)
    torch.testing.assert_close(basis @ basis.mT, gram, rtol=0, atol=1e-12)


def test_zero_direction_stays_zero() -> None:
    assert torch.equal(orthonormalise(torch.zeros(1, 1, D)), torch.zeros(1, 1, D))
    assert cosine(torch.zeros(1, D), torch.ones(1, D)).item() == 0


# Moments over Gaussian directions (mu -> 0 is exact on a linear function)


def standard_error(samples: Tensor) -> float:
    return (samples.std() / math.sqrt(len(samples))).item()


@pytest.mark.parametrize("name", ["forward", "central"])
@pytest.mark.parametrize("q", [1, 4])
def test_second_moment_of_the_gaussian_estimate(name: str, q: int) -> None:
    """E|g|^2 = (1 + (d + 1)/q) |grad|^2, (d + 2) |grad|^2 for one direction; within 5 standard errors (p < 1e-6)."""
    n = 20_000
    found = estimate(name, linear, torch.zeros(n, D, dtype=torch.float64), randn(n, q, D, seed=5))
    ratio = found.gradient.square().sum(1) / SLOPE.square().sum()
    assert abs(ratio.mean().item() - (1 + (D + 1) / q)) < 5 * standard_error(ratio)


@pytest.mark.parametrize("name", ["forward", "central"])
def test_gaussian_estimate_is_unbiased(name: str) -> None:
    """Each coordinate of the mean within 5 standard errors (p < 1e-6 each)."""
    n = 20_000
    found = estimate(name, linear, torch.zeros(n, D, dtype=torch.float64), randn(n, Q, D, seed=5)).gradient
    error = found.std(dim=0) / math.sqrt(n)
    assert bool(((found.mean(0) - SLOPE).abs() < 5 * error).all())


@pytest.mark.parametrize(("d", "q"), [(60, 20), (200, 20), (60, 100)])
def test_mean_cosine_of_the_gaussian_estimate(d: int, q: int) -> None:
    """About sqrt(q / (q + d + 1)): right to first order in 1/q, hence the tolerance 1/q besides 5 standard errors."""
    n = 2_000
    a = randn(d, seed=6)
    found = estimate("forward", lambda x: x @ a, torch.zeros(n, d, dtype=torch.float64), randn(n, q, d, seed=7))
    cos = cosine(found.gradient, a.expand(n, d))
    expected = math.sqrt(q / (q + d + 1))
    assert abs(cos.mean().item() - expected) < expected / q + 5 * standard_error(cos)


@pytest.mark.parametrize(("name", "factor"), [("forward", 1.0), ("central", 0.5)])
@pytest.mark.parametrize("mu", [1e-3, 1e-1])
def test_additive_noise_makes_the_variance_grow_as_one_over_mu_squared(name: str, factor: float, mu: float) -> None:
    """f = 0 with noise s in the probes: E|g|^2 = s^2 d / mu^2 for forward (f(x) known), half of it for central.

    Within 5 standard errors.
    """
    n, s = 20_000, 0.1
    u = randn(n, 1, D, seed=8)
    estimator = {"forward": forward, "central": central}[name]
    noise = s * randn(n, estimator.num_queries(1, D), seed=9)
    g = estimator.combine(noise, torch.zeros(n, dtype=torch.float64), u, mu).gradient
    squares = g.square().sum(1)
    assert abs(squares.mean().item() - factor * s**2 * D / mu**2) < 5 * standard_error(squares)


def test_query_counts() -> None:
    """(q, d) = (3, 7), f(x) not counted."""
    assert [e.num_queries(3, 7) for e in (forward, central, coordinate, span)] == [3, 6, 7, 3]
