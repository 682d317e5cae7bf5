"""A gradient model that needs no training: a Gaussian process on the slopes of the last steps.

The process is that of `zo_gym.gradient_models.gp_posterior`. Probes measure slopes, and so does every proposed step
s, accepted or rejected: (f(x + s) - f(x)) / |s| is the slope along s at the middle of s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from zo_gym.base import Estimate, GradientModel, Step
from zo_gym.checks import check_at_least, check_attributes, check_integer, check_positive
from zo_gym.directions import unit
from zo_gym.gradient_models.gp_posterior import (
    LENGTH_SCALE,
    GaussianProcess,
    Posterior,
    add_reevaluation,
    columns_at,
    combine,
    condition,
    initialise_amplitude,
    likely_amplitude,
    no_observations,
    relative_noise,
    solve,
    times_covariance,
)
from zo_gym.gradient_models.slope_window import add_slope, move_to
from zo_gym.problem import Generators
from zo_gym.rng import normal

MOST_SLOPES, MOST_SLOPES_LARGE, LARGE = 256, 32, 10_000
"""At most 256 slopes are stored by default, and at most 32 where d > 10,000: memory is O(r d), time O(r d + r^3)."""
STEEPEST_RISE = 100.0
"""A rise of f steeper than this many times the steepest stored slope is not stored: it is of another place."""
ROUNDING_UNITS = 10.0
"""The assumed rounding error of f, in units in the last place of f(x)."""


@dataclass(frozen=True)
class GPSettings:
    """The settings of the Gaussian process on slopes; the defaults were chosen on quadratics and classification losses.

    Attributes:
        rank: r, how many slopes are stored, rounded up to a multiple of 8, which keeps a row's matrices aligned in
            memory and so its bits the same in every batch. None: `slopes_per_dim` d, at most 256 (32 if d > 10,000).
        smoothing: mu of the forward differences, in units of x: where a slope was measured, and how noisy it is.
        noise_std: The standard deviation s of the noise of f: D_i = 2 s^2 / length^2, mu being a probe's length. None:
            estimated from re-evaluations of f(x), where `reevaluate` makes them; 0 where it does not.
        slopes_per_dim: Slopes stored for each dimension where `rank` is None.
        length_scale: l in root mean square distances of the stored slopes from x.

    Raises:
        TypeError, ValueError: An argument is not as described.
    """

    rank: int | None = None
    smoothing: float = 0.01
    noise_std: float | None = None
    slopes_per_dim: float = 2.5
    length_scale: float = LENGTH_SCALE

    def __post_init__(self) -> None:
        """Check the numbers, and store them as plain ints and floats."""
        check_attributes(self, rank=partial(check_integer, least=1), noise_std=partial(check_at_least, least=0.0))
        check_attributes(self, **dict.fromkeys(("smoothing", "slopes_per_dim", "length_scale"), check_positive))

    def num_slopes(self, dim: int) -> int:
        """Return r at dimension d."""
        if self.rank is not None:
            return 8 * math.ceil(self.rank / 8)
        most = MOST_SLOPES if dim <= LARGE else MOST_SLOPES_LARGE
        return min(8 * math.ceil(self.slopes_per_dim * dim / 8), most)


STANDARD, WIDE = GPSettings(), GPSettings(slopes_per_dim=5.0, length_scale=6.0)
"""The settings of `gp`, and of `gp_wide`, which predicts away from x: twice the slopes, twice the length scale."""


class GPState(NamedTuple):
    """The state of the model `gp`."""

    process: GaussianProcess
    """The process, and the slopes that it is conditioned on."""
    weights: Tensor
    """(K + D)^-1 y of the last step, (B, r)."""
    square_length: Tensor
    """l^2 of the last step, (B, 1)."""
    rounding: Tensor
    """The variance of the rounding error of f at the current x, (B,)."""


def gp(settings: GPSettings = STANDARD, smoothing: float | None = None) -> GradientModel:
    """Predict g = m, the posterior mean of grad f, and probe where it is most uncertain: u = sqrt(d) P z / |P z|.

    z ~ N(0, I). `correct` replaces the step's own estimate by m, so that the step follows all stored slopes. Of all u
    the largest eigenvector of P lengthens E|m|^2 most; P z is one power iteration towards it from a random z. The start
    is isotropic: P = a I until a slope is known.

    No constant is in units of f or x: l follows mu and the spread of the stored points, a is the most likely value, one
    step of MacKay's iteration at a time, so that f and 1000 f, or x and 1000 x with 1000 mu, are probed alike.

    The slopes must be along the directions: the estimator `coordinate` ignores them, and its estimate, which is
    complete, is then left as it is and not stored. Where a composite term is taken exactly, g is of the black-box part,
    and a move, along which f changes by the term as well, is stored only where the term left g as it was.

    `smoothing` is the mu of the run where it is not the settings' own.

    Time per step and row O(r d + r^3), memory O(r d + r^2).

    Reference: Mueller, von Rohr and Trimpe (2021), "Local policy search with Bayesian optimization", NeurIPS. Theirs
    conditions on values of f, chooses probes by the trace of P, and has fixed kernels.
    """
    settings = settings if smoothing is None else replace(settings, smoothing=smoothing)
    return GradientModel(
        init=partial(_init, settings),
        probe=partial(_probe, settings),
        correct=partial(_correct, settings),
        observe=_observe,
        gradient_at=_gradient_at,
    )


def gp_wide(settings: GPSettings = WIDE, smoothing: float | None = None) -> GradientModel:
    """Return the same model as `gp`, with settings for `trust_region` steps, which predict away from x."""
    return gp(settings, smoothing)


def _init(settings: GPSettings, x: Tensor) -> GPState:
    size = settings.num_slopes(x.shape[1])
    return GPState(no_observations(x, size), x.new_zeros(len(x), size), x.new_ones(len(x), 1), x.new_zeros(len(x)))


def _condition(settings: GPSettings, process: GaussianProcess, x: Tensor, rounding: Tensor) -> tuple[Posterior, Tensor]:
    """Return grad f at x (B, d) given the slopes, and D / a (B, r)."""
    variance = None if settings.noise_std is None else settings.noise_std**2
    noise = relative_noise(process, variance, rounding)
    return condition(process.window, x, noise, settings.smoothing, settings.length_scale), noise


def _probe(settings: GPSettings, state: GPState, x: Tensor, q: int, generators: Generators) -> tuple[Tensor, GPState]:
    z = normal(generators, (q, x.shape[1]), like=x)
    process = state.process._replace(window=move_to(state.process.window, x))
    at, _ = _condition(settings, process, x, state.rounding)
    uncertain = torch.stack([times_covariance(at, process.window, z[:, i]) for i in range(q)], dim=1)
    return math.sqrt(x.shape[1]) * unit(uncertain), state._replace(process=process)


def _correct(
    settings: GPSettings, state: GPState, x: Tensor, directions: Tensor, estimate: Estimate
) -> tuple[Tensor, GPState]:
    mu = settings.smoothing
    window = move_to(state.process.window, x)
    for i in range(directions.shape[1]):
        window = add_slope(window, mu * directions[:, i], mu * estimate.slopes[:, i])
    process = initialise_amplitude(state.process._replace(window=window), window.values)
    at, noise = _condition(settings, process, x, state.rounding)
    weights = solve(at, window.values)
    process = process._replace(amplitude=likely_amplitude(at, window.values, weights, noise))
    after = state._replace(process=process, weights=weights, square_length=at.square_length)
    return combine(at.columns, window, weights), after


def _gradient_at(state: GPState, x: Tensor) -> Tensor:
    window = state.process.window
    return combine(columns_at(window, x, state.square_length), window, state.weights)


def _observe(state: GPState, step: Step) -> GPState:
    of_f = (step.black_box_gradient == step.estimate.gradient).all(1)
    window = state.process.window
    steepest = window.values.abs().amax(1) * torch.linalg.vector_norm(step.proposed_step, dim=1)
    near = (step.change <= STEEPEST_RISE * steepest) | (steepest == 0)
    window = add_slope(window, step.proposed_step, step.change, of_f & near, step.iterate.x)
    rounding = ROUNDING_UNITS * torch.finfo(window.values.dtype).eps * step.iterate.fx
    process = add_reevaluation(state.process._replace(window=window), step.reevaluation_difference)
    return state._replace(process=process, rounding=rounding.square())
