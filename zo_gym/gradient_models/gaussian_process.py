"""The Gaussian process behind `belief` and `prior_belief`: what remembered slopes say of grad f at x.

f is taken for a draw from a Gaussian process, so every slope y_i = h_i . grad f(z_i) is a linear observation of it, and
the belief about grad f at x is Gaussian with the mean m and the covariance P below.

With the kernel k(x, x') = a l^2 exp(-|x - x'|^2 / 2 l^2), delta = z_i - z_j and D = diag(noise variance of each y_i):

    K_ij = a e^(-|delta|^2 / 2 l^2) (h_i . h_j - (h_i . delta)(h_j . delta) / l^2)
    c_i  = a e^(-|x - z_i|^2 / 2 l^2) (h_i - (x - z_i) (h_i . (x - z_i)) / l^2)           C = [c_1 ... c_r], (d, r)
    m    = C (K + D)^-1 y
    P    = a I - C (K + D)^-1 C^T

Reference: Solak et al. (2003), "Derivative observations in Gaussian process models of dynamic systems" (K); MacKay
(1992), "Bayesian interpolation" (a).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from zo_gym.gradient_models.slope_window import Slopes, combined, dots, no_slopes, seen_from

REACH, LINEAR = 3.0, 100.0
"""l^2 = (REACH rms)^2 + (LINEAR mu)^2, rms the root mean square distance of the remembered slopes from x: f is all but
linear over mu, also before the first move."""


class Belief(NamedTuple):
    """What a row carries."""

    slopes: Slopes
    """What the belief is conditioned on."""
    amplitude: Tensor
    """a, the prior variance of each coordinate of grad f, (B,); 0 until a slope is known."""
    echoes: Tensor
    """Sum of the squared differences of f(x) asked twice, and how many there were, (B, 2)."""


class Kernel(NamedTuple):
    """The columns c_i at one x, without a."""

    x: Tensor
    """(B, d), from the origin of the remembered points."""
    straight: Tensor
    """e^(-|x - z_i|^2 / 2 l^2), (B, r): how much of h_i is in c_i."""
    bent: Tensor
    """e^(...) h_i . (x - z_i) / l^2, (B, r): how much of x - z_i is taken off it."""


class Posterior(NamedTuple):
    """The belief at one x, in units of a."""

    here: Kernel
    """At x."""
    square_length: Tensor
    """l^2, (B, 1)."""
    factor: Tensor
    """Cholesky factor of K + D, (B, r, r)."""


def no_belief(x: Tensor, size: int) -> Belief:
    """Before the first slope, for rows x (B, d) that remember `size` of them."""
    return Belief(no_slopes(x, size), x.new_zeros(len(x)), x.new_zeros(len(x), 2))


def heard(belief: Belief, echo: Tensor | None) -> Belief:
    """The belief with what f(x) asked twice tells of the noise: echo (B,), or None."""
    if echo is None:
        return belief
    return belief._replace(echoes=belief.echoes + torch.stack([echo.square(), torch.ones_like(echo)], dim=1))


def relative_noise(belief: Belief, variance: float | None, rounding: Tensor | float = 0.0) -> Tensor:
    """D / a, (B, r): of the noise of f, whose variance is given or else told by echoes, and of rounding.

    `rounding`, (B,), is the variance of what is rounded off f: after a move of 1e-12 the slope is nothing else.
    """
    values, eps = belief.slopes.values, torch.finfo(belief.slopes.values.dtype).eps
    tiny = torch.finfo(values.dtype).tiny
    if variance is None:  # Var(echo) = 2 s^2
        one = belief.echoes[:, 0] / belief.echoes[:, 1].clamp_min(1) / 2
    else:
        one = torch.full_like(belief.amplitude, variance)
    of_slopes = 2 * (one + rounding).unsqueeze(1) / belief.slopes.lengths.square().clamp_min(tiny)
    ratio = (of_slopes / belief.amplitude.clamp_min(tiny).unsqueeze(1)).clamp_max(1 / eps)
    return torch.where(belief.slopes.full, ratio + eps**0.6, 1.0)


def first_amplitude(belief: Belief, values: Tensor) -> Belief:
    """The belief with a set to the mean square of the slopes (B, r) where nothing better is known."""
    guess = values.square().sum(1) / belief.slopes.full.sum(1).clamp_min(1)
    return belief._replace(amplitude=torch.where(belief.amplitude > 0, belief.amplitude, guess))


def likely_amplitude(at: Posterior, values: Tensor, weights: Tensor, noise: Tensor) -> Tensor:
    """The next a, (B,): MacKay's fixed point w^T K w / gamma, gamma the number of slopes that tell more than noise."""
    inverse = torch.cholesky_inverse(at.factor).diagonal(dim1=1, dim2=2)
    gamma = (1 - inverse * noise).sum(1)
    explained = (weights * values).sum(1) - (weights.square() * noise).sum(1)
    return explained / gamma.clamp_min(torch.finfo(values.dtype).eps)


def posterior(slopes: Slopes, x: Tensor, noise: Tensor, smoothing: float, reach: float | Tensor = REACH) -> Posterior:
    """The belief at x (B, d), given D / a (B, r) and mu; `reach` may be of each row, (B, 1)."""
    slopes = seen_from(slopes, x)
    squares = _squares(slopes)
    known = slopes.full.sum(1, keepdim=True).clamp_min(1)
    spread = torch.where(slopes.full, squares, 0.0).sum(1, keepdim=True) / known
    l2 = reach**2 * spread + (LINEAR * smoothing) ** 2  # (B, 1)
    wide = l2.unsqueeze(2)
    # offsets^T is h_j . (z_j - z_i) = -h_j . delta
    gram = torch.exp(-slopes.squares / (2 * wide)) * (slopes.cosines + slopes.offsets * slopes.offsets.mT / wide)
    factor = torch.linalg.cholesky_ex(gram + torch.diag_embed(noise)).L
    return Posterior(_kernel(slopes, squares, l2), l2, factor)


def kernel(slopes: Slopes, x: Tensor, square_length: Tensor) -> Kernel:
    """The columns at x (B, d). Time O(r d) per row."""
    slopes = seen_from(slopes, x)
    return _kernel(slopes, _squares(slopes), square_length)


def _squares(slopes: Slopes) -> Tensor:
    """|x - z_i|^2 where the run stands, (B, r)."""
    return (slopes.norms + slopes.at.square().sum(1, keepdim=True) - 2 * slopes.near).clamp_min(0.0)


def _kernel(slopes: Slopes, squares: Tensor, square_length: Tensor) -> Kernel:
    straight = torch.exp(-squares / (2 * square_length))
    return Kernel(slopes.at, straight, straight * (slopes.ahead - slopes.heights) / square_length)


def solve(at: Posterior, values: Tensor) -> Tensor:
    """(K + D)^-1 values, (B, r)."""
    return torch.cholesky_solve(values.unsqueeze(2), at.factor).squeeze(2)


def combine(at: Kernel, slopes: Slopes, weights: Tensor) -> Tensor:
    """C w for w (B, r) -> (B, d)."""
    bent = weights * at.bent
    return (
        combined(weights * at.straight, slopes.axes) + combined(bent, slopes.points) - bent.sum(1, keepdim=True) * at.x
    )


def times_covariance(at: Posterior, slopes: Slopes, z: Tensor) -> Tensor:
    """P z / a for z (B, d)."""
    x, straight, bent = at.here
    ahead = (x * z).sum(1, keepdim=True) - dots(slopes.points, z)  # (x - z_i) . z, (B, r)
    across = straight * dots(slopes.axes, z) - bent * ahead  # C^T z
    return z - combine(at.here, slopes, solve(at, across))
