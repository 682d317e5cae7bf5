"""Gradient belief: what all slopes of the last steps together say of grad f here, and where they say nothing.

The belief is that of `zo_gym.gradient_models.gaussian_process`. Probes tell slopes, and so does every move, kept or rejected:
(f(x + s) - f(x)) / |s| is the slope along s at the middle of s.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from zo_gym.base import Estimate, GradientModel, State, Step
from zo_gym.checks import check_at_least, check_integer, check_positive
from zo_gym.directions import unit
from zo_gym.gradient_models.gaussian_process import (
    REACH,
    Belief,
    Posterior,
    combine,
    first_amplitude,
    heard,
    kernel,
    likely_amplitude,
    no_belief,
    posterior,
    relative_noise,
    solve,
    times_covariance,
)
from zo_gym.gradient_models.slope_window import remember, seen_from
from zo_gym.problem import Generators
from zo_gym.rng import normal

PER_DIM, MOST, MOST_LARGE, LARGE = 2.5, 256, 32, 10_000
"""Slopes remembered by default: 2.5 d, at most 256; at most 32 where d > 10,000."""
CLIFF = 100.0
"""A rise so many times steeper than all remembered slopes says nothing of where the run stands."""
DIGITS = 10.0
"""How many units in the last place f is taken to be off by."""
FAR_PER_DIM, FAR_REACH = 5.0, 6.0
"""Of the belief that is asked away from where the run stands."""


class Remembering(NamedTuple):
    """What a row carries."""

    belief: Belief
    weights: Tensor
    """(K + D)^-1 y of the last step, (B, r)."""
    square_length: Tensor
    """Its l^2, (B, 1)."""
    rounding: Tensor
    """Variance of what is rounded off f where the run stands, (B,)."""


def gp(
    rank: int | None = None,
    smoothing: float = 0.01,
    noise_std: float | None = None,
    *,
    per_dim: float = PER_DIM,
    reach: float = REACH,
) -> GradientModel:
    """g = m, the posterior mean of grad f; u = sqrt(d) P z / |P z|, z ~ N(0, I): probes where the belief knows least.

    `refine` replaces the step's own estimate by m, so that the step goes along what all remembered slopes say. Of all u
    the largest eigenvector of P lengthens E|m|^2 most; P z is one power iteration towards it from a random z. The start
    is isotropic: P = a I until a slope is known.

    Nothing is in units of f or x: l follows mu and the spread of the remembered points, a is the most likely value, one
    step of MacKay's iteration at a time, so that f and 1000 f, or x and 1000 x with 1000 mu, probe alike.

    The slopes must be along the directions: `coordinate` ignores them, and its estimate, which is complete, is then
    left as it is and not remembered. With `composite` the belief is about the unknown part, and f's change along a move
    tells nothing exact of that: moves are remembered only where g is the unknown part's gradient alone.

    Time per step and row O(r d + r^3), memory O(r d + r^2).

    Args:
        rank: r, how many slopes are remembered, rounded up to a multiple of 8, which keeps a row's matrices aligned in
            memory and so its bits the same in every batch. None: `per_dim` d, at most 256, and at most 32 where
            d > 10,000.
        smoothing: mu of the forward differences. Tells where a slope was measured and how noisy it is.
        noise_std: Standard deviation s of the noise of f: D_i = 2 s^2 / length^2, mu being a probe's length. None:
            from f(x) asked twice, where `reevaluate` does that; 0 where it does not.
        per_dim: Slopes remembered for each dimension where `rank` is None.
        reach: l in units of the root mean square distance of the remembered slopes.

    Raises:
        TypeError, ValueError: An argument is not as described.

    Reference: Mueller, von Rohr and Trimpe (2021), "Local policy search with Bayesian optimization" (gradient belief of
    a Gaussian process from values; theirs chooses probes by the trace of P and has fixed kernels).
    """
    size = None if rank is None else 8 * math.ceil(check_integer("rank", rank, 1) / 8)
    mu = check_positive("smoothing", smoothing)
    variance = None if noise_std is None else check_at_least("noise_std", noise_std, 0.0) ** 2
    each, far = check_positive("per_dim", per_dim), check_positive("reach", reach)

    def init(x: Tensor) -> State:
        held = default_rank(x.shape[1], each) if size is None else size
        return Remembering(no_belief(x, held), x.new_zeros(len(x), held), x.new_ones(len(x), 1), x.new_zeros(len(x)))

    def condition(state: Belief, x: Tensor, rounding: Tensor) -> tuple[Posterior, Tensor]:
        noise = relative_noise(state, variance, rounding)
        return posterior(state.slopes, x, noise, mu, far), noise

    def probe(state: State, x: Tensor, q: int, generators: Generators) -> tuple[Tensor, State]:
        z = normal(generators, (q, x.shape[1]), like=x)
        now = state.belief._replace(slopes=seen_from(state.belief.slopes, x))
        at, _ = condition(now, x, state.rounding)
        unsure = torch.stack([times_covariance(at, now.slopes, z[:, i]) for i in range(q)], dim=1)
        return math.sqrt(x.shape[1]) * unit(unsure), state._replace(belief=now)

    def correct(state: State, x: Tensor, directions: Tensor, estimate: Estimate) -> tuple[Tensor, State]:
        if estimate.slopes is estimate.gradient:  # of all axes: see `coordinate`
            return estimate.gradient, state
        slopes = seen_from(state.belief.slopes, x)
        for i in range(directions.shape[1]):
            slopes = remember(slopes, mu * directions[:, i], mu * estimate.slopes[:, i])
        now = first_amplitude(state.belief._replace(slopes=slopes), slopes.values)
        at, noise = condition(now, x, state.rounding)
        weights = solve(at, slopes.values)
        amplitude = likely_amplitude(at, slopes.values, weights, noise)
        now = now._replace(amplitude=amplitude)
        told = state._replace(belief=now, weights=weights, square_length=at.square_length)
        return combine(at.here, slopes, weights), told

    def gradient_at(state: State, x: Tensor) -> Tensor:
        slopes = state.belief.slopes
        return combine(kernel(slopes, x, state.square_length), slopes, state.weights)

    def observe(state: State, step: Step) -> State:
        exact = (step.black_box_gradient == step.estimate.gradient).all(1)
        slopes = state.belief.slopes
        steepest = slopes.values.abs().amax(1) * torch.linalg.vector_norm(step.proposed_step, dim=1)
        near = (step.change <= CLIFF * steepest) | (steepest == 0)
        slopes = remember(slopes, step.proposed_step, step.change, exact & near, step.iterate.x)
        lost = DIGITS * torch.finfo(slopes.values.dtype).eps * step.iterate.fx
        return state._replace(
            belief=heard(state.belief._replace(slopes=slopes), step.reevaluation_difference), rounding=lost.square()
        )

    return GradientModel(init, probe, correct, observe, gradient_at=gradient_at)


def gp_wide(smoothing: float = 0.01, noise_std: float | None = None) -> GradientModel:
    """The belief for `trust_region` steps, which ask it away from x: 5 d slopes, and l twice as far.

    Args: as of `belief`.

    Raises:
        TypeError, ValueError: An argument is not as described.
    """
    return gp(None, smoothing, noise_std, per_dim=FAR_PER_DIM, reach=FAR_REACH)


def default_rank(d: int, per_dim: float = PER_DIM) -> int:
    """r where it is not given."""
    return min(8 * math.ceil(per_dim * d / 8), MOST if d <= LARGE else MOST_LARGE)
