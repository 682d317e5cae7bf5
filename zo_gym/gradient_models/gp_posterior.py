"""The Gaussian process behind the gradient models: it predicts grad f at x from measured slopes.

f is modelled as a draw from a Gaussian process, so that every slope y_i = h_i . grad f(z_i) is a linear observation of
it, and grad f at x given the slopes is Gaussian with the mean m and the covariance P below.

With the kernel k(x, x') = a l^2 exp(-|x - x'|^2 / 2 l^2), delta = z_i - z_j and D = diag(noise variance of each y_i):

    K_ij = a e^(-|delta|^2 / 2 l^2) (h_i . h_j - (h_i . delta)(h_j . delta) / l^2)
    c_i  = a e^(-|x - z_i|^2 / 2 l^2) (h_i - (x - z_i) (h_i . (x - z_i)) / l^2)           C = [c_1 ... c_r], (d, r)
    m    = C (K + D)^-1 y
    P    = a I - C (K + D)^-1 C^T

References: Solak et al. (2003), "Derivative observations in Gaussian process models of dynamic systems", NeurIPS (K);
MacKay (1992), "Bayesian interpolation", Neural Computation 4 (a).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from zo_gym.gradient_models.slope_window import SlopeWindow, empty_window, move_to, row_products, weighted_sum

LENGTH_SCALE = 3.0
"""The length scale l, in root mean square distances of the stored slopes from x; see `condition`."""
LINEAR_RANGE = 100.0
"""The least length scale, in units of mu: f is all but linear over mu, also before the first move."""


class GaussianProcess(NamedTuple):
    """The state of a Gaussian process: what its rows have observed."""

    window: SlopeWindow
    """The slopes that grad f is conditioned on."""
    amplitude: Tensor
    """a, the prior variance of each coordinate of grad f, (B,); 0 until a slope is known."""
    reevaluations: Tensor
    """The sum of the squared re-evaluation differences (`Step.reevaluation_difference`) and their number, (B, 2)."""


class Columns(NamedTuple):
    """The columns c_i at one x, divided by a."""

    x: Tensor
    """x relative to the origin of the window, (B, d)."""
    axis_weights: Tensor
    """e^(-|x - z_i|^2 / 2 l^2), (B, r): the share of h_i in c_i."""
    offset_weights: Tensor
    """e^(...) h_i . (x - z_i) / l^2, (B, r): the share of x - z_i that is subtracted."""


class Posterior(NamedTuple):
    """grad f at one x given the slopes, in units of a."""

    columns: Columns
    """C at x."""
    square_length: Tensor
    """l^2, (B, 1)."""
    factor: Tensor
    """The Cholesky factor of K + D, (B, r, r)."""


def no_observations(x: Tensor, size: int) -> GaussianProcess:
    """Return the process before its first slope, for rows x (B, d) that store up to `size` slopes."""
    return GaussianProcess(empty_window(x, size), x.new_zeros(len(x)), x.new_zeros(len(x), 2))


def add_reevaluation(process: GaussianProcess, difference: Tensor | None) -> GaussianProcess:
    """Take note of a re-evaluation difference (B,), which shows how noisy f is; None changes nothing."""
    if difference is None:
        return process
    seen = torch.stack([difference.square(), torch.ones_like(difference)], dim=1)
    return process._replace(reevaluations=process.reevaluations + seen)


def relative_noise(process: GaussianProcess, variance: float | None, rounding: Tensor | float = 0.0) -> Tensor:
    """Compute D / a, (B, r), from the noise variance of f and from rounding.

    Args:
        process: The process.
        variance: The variance of the noise of f; None: estimated from re-evaluations, 0 without any.
        rounding: The variance of the rounding error of f, (B,): after a move of 1e-12 the slope is nothing else.
    """
    window = process.window
    eps, tiny = torch.finfo(window.values.dtype).eps, torch.finfo(window.values.dtype).tiny
    if variance is None:  # Var(difference) = 2 s^2
        one = process.reevaluations[:, 0] / process.reevaluations[:, 1].clamp_min(1) / 2
    else:
        one = torch.full_like(process.amplitude, variance)
    of_slopes = 2 * (one + rounding).unsqueeze(1) / window.lengths.square().clamp_min(tiny)
    ratio = (of_slopes / process.amplitude.clamp_min(tiny).unsqueeze(1)).clamp_max(1 / eps)
    return torch.where(window.filled, ratio + eps**0.6, 1.0)


def initialise_amplitude(process: GaussianProcess, values: Tensor) -> GaussianProcess:
    """Set a to the mean square of the slopes (B, r) in the rows where it is still 0."""
    guess = values.square().sum(1) / process.window.filled.sum(1).clamp_min(1)
    return process._replace(amplitude=torch.where(process.amplitude > 0, process.amplitude, guess))


def likely_amplitude(at: Posterior, values: Tensor, weights: Tensor, noise: Tensor) -> Tensor:
    """Compute the next a, (B,), by MacKay's fixed-point iteration: a = w^T K w / gamma.

    gamma is the effective number of slopes, those that exceed their noise; w = (K + D)^-1 y.
    """
    inverse = torch.cholesky_inverse(at.factor).diagonal(dim1=1, dim2=2)
    gamma = (1 - inverse * noise).sum(1)
    explained = (weights * values).sum(1) - (weights.square() * noise).sum(1)
    return explained / gamma.clamp_min(torch.finfo(values.dtype).eps)


def condition(
    window: SlopeWindow, x: Tensor, noise: Tensor, smoothing: float, length_scale: float | Tensor = LENGTH_SCALE
) -> Posterior:
    """Condition grad f at x (B, d) on the slopes.

    l^2 = (length_scale rms)^2 + (LINEAR_RANGE mu)^2, rms the root mean square distance of the stored slopes from x.

    Args:
        window: The slopes.
        x: Where grad f is wanted.
        noise: D / a, (B, r).
        smoothing: mu.
        length_scale: A number, or one for each row, (B, 1).
    """
    window = move_to(window, x)
    squares = _squares(window)
    known = window.filled.sum(1, keepdim=True).clamp_min(1)
    spread = torch.where(window.filled, squares, 0.0).sum(1, keepdim=True) / known
    l2 = length_scale**2 * spread + (LINEAR_RANGE * smoothing) ** 2  # (B, 1)
    wide = l2.unsqueeze(2)
    # axis_dot_offset^T is h_j . (z_j - z_i) = -h_j . delta
    curved = window.axis_dot_axis + window.axis_dot_offset * window.axis_dot_offset.mT / wide
    gram = torch.exp(-window.square_distances / (2 * wide)) * curved
    factor = torch.linalg.cholesky_ex(gram + torch.diag_embed(noise)).L
    return Posterior(_columns(window, squares, l2), l2, factor)


def columns_at(window: SlopeWindow, x: Tensor, square_length: Tensor) -> Columns:
    """Compute the columns at x (B, d). Time O(r d) per row."""
    window = move_to(window, x)
    return _columns(window, _squares(window), square_length)


def _squares(window: SlopeWindow) -> Tensor:
    """Compute |x - z_i|^2 at the window's position, (B, r)."""
    here = window.position.square().sum(1, keepdim=True)
    return (window.point_squares + here - 2 * window.point_dot_position).clamp_min(0.0)


def _columns(window: SlopeWindow, squares: Tensor, square_length: Tensor) -> Columns:
    weights = torch.exp(-squares / (2 * square_length))
    return Columns(
        window.position, weights, weights * (window.axis_dot_position - window.axis_dot_point) / square_length
    )


def solve(at: Posterior, values: Tensor) -> Tensor:
    """Compute (K + D)^-1 values, (B, r)."""
    return torch.cholesky_solve(values.unsqueeze(2), at.factor).squeeze(2)


def combine(at: Columns, window: SlopeWindow, weights: Tensor) -> Tensor:
    """Compute C w for w (B, r); (B, d)."""
    bent = weights * at.offset_weights
    whole = weighted_sum(weights * at.axis_weights, window.axes) + weighted_sum(bent, window.points)
    return whole[:, : at.x.shape[1]] - bent.sum(1, keepdim=True) * at.x


def times_covariance(at: Posterior, window: SlopeWindow, z: Tensor) -> Tensor:
    """Compute P z / a for z (B, d)."""
    x, axis_weights, offset_weights = at.columns
    ahead = (x * z).sum(1, keepdim=True) - row_products(window.points, z)  # (x - z_i) . z, (B, r)
    across = axis_weights * row_products(window.axes, z) - offset_weights * ahead  # C^T z
    return z - combine(at.columns, window, solve(at, across))
