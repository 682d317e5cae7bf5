"""Gradient belief: what all slopes of the last steps together say of grad f here, and where they say nothing.

f is taken for a draw from a Gaussian process, so every slope y_i = h_i . grad f(z_i) that a run paid for is a linear
observation of it, and the belief about grad f at x is Gaussian with the mean m and the covariance P below. Probes tell
slopes, and so does every move, kept or rejected: (f(x + s) - f(x)) / |s| is the slope along s at the middle of s.

With the kernel k(x, x') = a l^2 exp(-|x - x'|^2 / 2 l^2), delta = z_i - z_j and D = diag(noise variance of each y_i):

    K_ij = a e^(-|delta|^2 / 2 l^2) (h_i . h_j - (h_i . delta)(h_j . delta) / l^2)
    c_i  = a e^(-|x - z_i|^2 / 2 l^2) (h_i - (x - z_i) (h_i . (x - z_i)) / l^2)           C = [c_1 ... c_r], (d, r)
    m    = C (K + D)^-1 y
    P    = a I - C (K + D)^-1 C^T
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from zo_gym.base import Estimate, Generators, Sampler, State, Step
from zo_gym.checks import check_at_least, check_integer, check_positive
from zo_gym.directions import unit
from zo_gym.rng import normal
from zo_gym.samplers.slope_window import Slopes, no_slopes, remember

REACH, LINEAR = 3.0, 100.0
"""l^2 = (REACH rms)^2 + (LINEAR mu)^2, rms the root mean square distance of the remembered slopes from x: f is all but
linear over mu, also before the first move."""
PER_DIM, MOST, MOST_LARGE, LARGE = 2.5, 256, 32, 10_000
"""Slopes remembered by default: 2.5 d, at most 256; at most 32 where d > 10,000."""


class Belief(NamedTuple):
    """What a row carries."""

    slopes: Slopes
    """What the belief is conditioned on."""
    amplitude: Tensor
    """a, the prior variance of each coordinate of grad f, (B,); 0 until a slope is known."""
    echoes: Tensor
    """Sum of the squared differences of f(x) asked twice, and how many there were, (B, 2)."""


class Posterior(NamedTuple):
    """The belief at one x, in units of a."""

    away: Tensor
    """x - z_i, (B, r, d)."""
    straight: Tensor
    """e^(-|x - z_i|^2 / 2 l^2), (B, r): how much of h_i is in c_i."""
    bent: Tensor
    """e^(...) h_i . (x - z_i) / l^2, (B, r): how much of x - z_i is taken off it."""
    factor: Tensor
    """Cholesky factor of K + D, (B, r, r)."""


def belief(rank: int | None = None, smoothing: float = 0.01, noise_std: float | None = None) -> Sampler:
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
            memory and so its bits the same in every batch. None: 2.5 d, at most 256, and at most 32 where d > 10,000.
        smoothing: mu of the forward differences. Tells where a slope was measured and how noisy it is.
        noise_std: Standard deviation s of the noise of f: D_i = 2 s^2 / length^2, mu being a probe's length. None:
            from f(x) asked twice, where `reevaluate` does that; 0 where it does not.

    Raises:
        TypeError, ValueError: An argument is not as described.

    Reference: Mueller, von Rohr and Trimpe (2021), "Local policy search with Bayesian optimization" (gradient belief of
    a Gaussian process from values; theirs chooses probes by the trace of P and has fixed kernels); Solak et al.
    (2003), "Derivative observations in Gaussian process models of dynamic systems" (K); MacKay (1992), "Bayesian
    interpolation" (a).
    """
    size = None if rank is None else 8 * math.ceil(check_integer("rank", rank, 1) / 8)
    mu = check_positive("smoothing", smoothing)
    variance = None if noise_std is None else check_at_least("noise_std", noise_std, 0.0) ** 2

    def init(x: Tensor) -> State:
        slopes = no_slopes(x, default_rank(x.shape[1]) if size is None else size)
        return Belief(slopes, x.new_zeros(len(x)), x.new_zeros(len(x), 2))

    def condition(state: Belief, x: Tensor) -> tuple[Posterior, Tensor]:
        noise = _relative_noise(state, variance)
        return _posterior(state.slopes, x, noise, (LINEAR * mu) ** 2), noise

    def sample(state: State, x: Tensor, q: int, generators: Generators) -> tuple[Tensor, State]:
        z = normal(generators, (q, x.shape[1]), like=x)
        at, _ = condition(state, x)
        unsure = torch.stack([_times_covariance(at, state.slopes, z[:, i]) for i in range(q)], dim=1)
        return math.sqrt(x.shape[1]) * unit(unsure), state

    def refine(state: State, x: Tensor, directions: Tensor, estimate: Estimate) -> tuple[Tensor, State]:
        if estimate.slopes is estimate.gradient:  # of all axes: see `coordinate`
            return estimate.gradient, state
        slopes = state.slopes
        for i in range(directions.shape[1]):
            slopes = remember(slopes, x, mu * directions[:, i], mu * estimate.slopes[:, i])
        known = slopes.full.sum(1).clamp_min(1)
        guess = slopes.values.square().sum(1) / known
        state = state._replace(slopes=slopes, amplitude=torch.where(state.amplitude > 0, state.amplitude, guess))
        at, noise = condition(state, x)
        weights = _solve(at, slopes.values)
        amplitude = _likely_amplitude(at, slopes.values, weights, noise)
        return _combine(at, slopes, weights), state._replace(amplitude=amplitude)

    def observe(state: State, step: Step) -> State:
        exact = (step.unknown == step.estimate.gradient).all(1)
        slopes = remember(state.slopes, step.iterate.x - step.move, step.trial, step.change, exact)
        echoes = state.echoes
        if step.echo is not None:
            echoes = echoes + torch.stack([step.echo.square(), torch.ones_like(step.echo)], dim=1)
        return state._replace(slopes=slopes, echoes=echoes)

    return Sampler(init, sample, observe, refine=refine)


def default_rank(d: int) -> int:
    """r where it is not given."""
    return min(8 * math.ceil(PER_DIM * d / 8), MOST if d <= LARGE else MOST_LARGE)


def _relative_noise(state: Belief, variance: float | None) -> Tensor:
    """D / a, (B, r): of what is known of the noise, and of rounding."""
    values, eps = state.slopes.values, torch.finfo(state.slopes.values.dtype).eps
    tiny = torch.finfo(values.dtype).tiny
    if variance is None:  # Var(echo) = 2 s^2
        one = state.echoes[:, 0] / state.echoes[:, 1].clamp_min(1) / 2
    else:
        one = torch.full_like(state.amplitude, variance)
    of_slopes = 2 * one.unsqueeze(1) / state.slopes.lengths.square().clamp_min(tiny)
    ratio = (of_slopes / state.amplitude.clamp_min(tiny).unsqueeze(1)).clamp_max(1 / eps)
    return torch.where(state.slopes.full, ratio + eps**0.6, 1.0)


def _likely_amplitude(at: Posterior, values: Tensor, weights: Tensor, noise: Tensor) -> Tensor:
    """The next a, (B,): MacKay's fixed point w^T K w / gamma, gamma the number of slopes that tell more than noise."""
    inverse = torch.cholesky_inverse(at.factor).diagonal(dim1=1, dim2=2)
    gamma = (1 - inverse * noise).sum(1)
    explained = (weights * values).sum(1) - (weights.square() * noise).sum(1)
    return explained / gamma.clamp_min(torch.finfo(values.dtype).eps)


def _posterior(slopes: Slopes, x: Tensor, noise: Tensor, least: float) -> Posterior:
    """The belief at x (B, d), given D / a (B, r) and the least l^2."""
    away = x.unsqueeze(1) - slopes.points  # (B, r, d)
    squares = away.square().sum(-1)
    known = slopes.full.sum(1, keepdim=True).clamp_min(1)
    spread = torch.where(slopes.full, squares, 0.0).sum(1, keepdim=True) / known
    l2 = REACH**2 * spread + least  # (B, 1)
    straight = torch.exp(-squares / (2 * l2))
    bent = straight * (away * slopes.axes).sum(-1) / l2
    l2 = l2.unsqueeze(2)
    # offsets^T is h_j . (z_j - z_i) = -h_j . delta
    gram = torch.exp(-slopes.squares / (2 * l2)) * (slopes.cosines + slopes.offsets * slopes.offsets.mT / l2)
    return Posterior(away, straight, bent, torch.linalg.cholesky_ex(gram + torch.diag_embed(noise)).L)


def _solve(at: Posterior, values: Tensor) -> Tensor:
    """(K + D)^-1 values, (B, r)."""
    return torch.cholesky_solve(values.unsqueeze(2), at.factor).squeeze(2)


def _combine(at: Posterior, slopes: Slopes, weights: Tensor) -> Tensor:
    """C w for w (B, r) -> (B, d)."""
    straight, bent = (weights * at.straight).unsqueeze(2), (weights * at.bent).unsqueeze(2)
    return (straight * slopes.axes - bent * at.away).sum(1)


def _times_covariance(at: Posterior, slopes: Slopes, z: Tensor) -> Tensor:
    """P z / a for z (B, d)."""
    z_row = z.unsqueeze(1)
    across = at.straight * (slopes.axes * z_row).sum(-1) - at.bent * (at.away * z_row).sum(-1)  # C^T z, (B, r)
    return z - _combine(at, slopes, _solve(at, across))
