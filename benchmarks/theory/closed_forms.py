"""Compute bias, variance and cosine of every estimator in closed form; `benchmarks.theory.measure` measures them.

f(h) = a.h + h'Hh/2 + sum_i t_i h_i^3 / 6 around a point with gradient a and Hessian H. A slope along u with step mu is

    forward  delta = a.u + mu/2 u'Hu + mu^2/6 T(u) + (e - e_0)/mu        T(u) = sum_i t_i u_i^3
    central  delta = a.u             + mu^2/6 T(u) + (e_+ - e_-)/(2 mu)

where every query carries its own error e of variance s^2; e_0, that of f(x), is shared by all q directions.

**Is the variance infinite, as the slides say?** For a smooth f without noise it is not: for one Gaussian direction
E|g|^2 -> (d + 2)|a|^2 as mu -> 0. Additive noise adds 2 s^2 d / mu^2, which is unbounded. Rounding the values of f to
multiples of r acts as noise of s = r / sqrt(12) while mu |a| > r; below, it grows as r / mu only (`rounding`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from zo_gym.directions import orthonormalise


@dataclass(frozen=True)
class Target:
    """Computes f(h) = a.h + h'Hh/2 + sum_i t_i h_i^3 / 6 with H = diag(D) + w w', so that a value costs O(d).

    Attributes:
        slope: a, (d,).
        diagonal: D, (d,).
        spike: w, (d,).
        third: t, (d,).
    """

    slope: Tensor
    diagonal: Tensor
    spike: Tensor
    third: Tensor

    def __call__(self, h: Tensor) -> Tensor:
        """Compute the values (...) at points (..., d)."""
        squares = h * h
        curvature = squares @ self.diagonal + (h @ self.spike).square()
        return h @ self.slope + curvature / 2 + (squares * h) @ self.third / 6

    @property
    def curvatures(self) -> Tensor:
        """Return the diagonal of H, (d,)."""
        return self.diagonal + self.spike.square()

    @property
    def off_diagonal(self) -> float:
        """Return the sum of H_ij^2 over i != j, where H_ij = w_i w_j."""
        squares = self.spike.square()
        return (squares.sum().square() - squares.square().sum()).item()


@cache
def example(d: int) -> Target:
    """Return the function of the figure: |a| = 1, tr H about 1.5 d, |t|^2 = d, t orthogonal to a and diag H; d >= 3."""
    i = torch.arange(1, d + 1, dtype=torch.float64)
    target = Target((2 + torch.cos(i)) / (2 + torch.cos(i)).norm(), 1 + torch.sin(i) / 2, torch.cos(3 * i), i)
    basis = orthonormalise(torch.stack([target.slope, target.curvatures])[None])[0]
    t = torch.cos(2 * i + 1)
    t = t - (basis @ t) @ basis
    return replace(target, third=math.sqrt(d) * t / t.norm())


class Forms(NamedTuple):
    """Holds the moments of an estimate g; g_0 is the estimate from exact slopes a.u along the same directions."""

    mean: Tensor
    """E g, (d,)."""
    second: float
    """E|g|^2."""
    added: float
    """E|g - g_0|^2, the part that truncation and noise add."""

    def error(self, target: Target) -> float:
        """Return E|g - a|^2, bias and variance together, over |a|^2."""
        a = target.slope
        return (self.second - 2 * (a @ self.mean).item()) / (a @ a).item() + 1


class _Weights(NamedTuple):
    """Holds factors in E[p(u) |u|^2] for the polynomials p of a slope, u with E uu' = I, independent and symmetric."""

    linear: float  # E (a.u)^2 |u|^2 = linear |a|^2
    curved: float  # E (u'Hu)^2 |u|^2
    fourth: float  # E u_i^4, so that E T(u) u = fourth t
    crossed: float  # E (a.u) T(u) |u|^2 = crossed a.t
    cubed: float  # E T(u)^2 |u|^2 = cubed |t|^2


def _weights(sampler: str, target: Target) -> _Weights:
    """Compute the factors of `gaussian`, `sphere` and `rademacher`.

    Gaussian, p homogeneous of degree k: length and direction are independent, so E[p |u|^2] = (d + k) E p, and by
    Isserlis E (a.u)^2 = |a|^2, E (u'Hu)^2 = (tr H)^2 + 2 |H|^2, E (a.u) T = 3 a.t, E T^2 = 15 |t|^2. The sphere
    |u|^2 = d has the Gaussian's E p times d^(k/2) / (d (d + 2) ... (d + k - 2)). For signs u_i^2 = 1: u'Hu =
    tr H + sum_{i != j} H_ij u_i u_j and T(u) = t.u.
    """
    d = len(target.slope)
    diagonal, off = target.curvatures, target.off_diagonal
    trace = diagonal.sum().item()
    gaussian_square = trace**2 + 2 * (diagonal.square().sum().item() + off)
    if sampler == "gaussian":
        return _Weights(d + 2, (d + 4) * gaussian_square, 3, 3 * (d + 4), 15 * (d + 6))
    if sampler == "sphere":
        k = d / (d + 2)
        return _Weights(d, d * k * gaussian_square, 3 * k, 3 * d * k, 15 * d * d * k / (d + 4))
    return _Weights(d, d * (trace**2 + 2 * off), 1, d, d)


def closed_form(target: Target, estimator: str, sampler: str, q: int, mu: float, s: float = 0.0) -> Forms:
    """Compute the moments of g, exact on the target for every q, mu > 0 and s; f(x) is noisy too.

    Independent symmetric directions (gaussian, sphere, rademacher): g is a mean of q terms, so E|g|^2 = M/q +
    (1 - 1/q)|E g|^2 with M of one term; odd moments vanish, so H biases nothing and adds mu^2/4 E (u'Hu)^2 |u|^2 to M.
    Noise adds E|sum_i (e_i - e_0) u_i|^2 / (q mu)^2 = 2 s^2 d / (q mu^2): sharing e_0 costs nothing extra in the
    mean, because E u_i.u_j = 0. Central: a quarter of that variance a slope, s^2 d / (2 q mu^2).

    Raises:
        ValueError: No closed form for this pair is known here.
    """
    a, t, d = target.slope, target.third, len(target.slope)
    ahead = float(estimator != "central")  # the even term mu/2 u'Hu cancels in a central difference
    if estimator == "coordinate":
        return _on_axes(a, ahead * mu / 2 * target.curvatures + mu**2 / 6 * t, 1.0, 2 * d * s**2 / mu**2)
    if estimator == "span" and sampler in ("gaussian", "sphere"):
        return _on_span(target, q, mu, s)
    if estimator in ("forward", "central") and sampler == "coordinate":
        # u = sqrt(d) e_i: each axis n_i = whole rounds + chance r/d times, r = q mod d. E n_i = q/d.
        rounds, chance = q // d, q % d / d
        hits = (d / q) ** 2 * (rounds**2 + (2 * rounds + 1) * chance)  # (d/q)^2 E n_i^2, d/q where q <= d
        shift = ahead * mu / 2 * math.sqrt(d) * target.curvatures + mu**2 / 6 * d * t
        return _on_axes(a, shift, hits, s**2 / mu**2 * (d / q + hits if ahead else d / (2 * q)))
    if estimator not in ("forward", "central") or sampler not in ("gaussian", "sphere", "rademacher"):
        raise ValueError(f"No closed form for estimator {estimator!r} with sampler {sampler!r} is known here.")
    w, aa, at, tt = _weights(sampler, target), (a @ a).item(), (a @ t).item(), (t @ t).item()
    shift = mu**2 / 6 * w.fourth * t
    added = ahead * mu**2 / 4 * w.curved + mu**4 / 36 * w.cubed * tt
    once = w.linear * aa + mu**2 / 3 * w.crossed * at + added
    noise = s**2 * d / (q * mu**2) * (2 if ahead else 0.5)
    rest = 1 - 1 / q
    mean = a + shift
    second = once / q + rest * mean.square().sum().item() + noise
    return Forms(mean, second, added / q + rest * shift.square().sum().item() + noise)


def _on_axes(a: Tensor, shift: Tensor, hits: float, noise: float) -> Forms:
    """Compute the moments of g = a + shift on the axes that were probed, scaled to be right on average."""
    mean = a + shift
    squares = [hits * v.square().sum().item() + noise for v in (mean, shift)]
    return Forms(mean, squares[0], squares[1])


def _on_span(target: Target, q: int, mu: float, s: float) -> Forms:
    """Compute the moments of g = sum_i delta_i v_i, v a uniformly random orthonormal basis of q vectors.

    |g|^2 = sum_i delta_i^2. The unit sphere's moments are E (a.v)^2 = |a|^2 / d and the Gaussian's of degree 4 and 6
    over d (d + 2) ((d + 4)). Noise adds sum_i (e_i - e_0)^2 / mu^2, 2 q s^2 / mu^2 on average. The estimate is biased
    by design: E g = (q/d) a as mu -> 0.
    """
    a, t, d = target.slope, target.third, len(target.slope)
    unit_square = _weights("sphere", target).curved / d**3  # E (v'Hv)^2
    fourth = 3 / (d * (d + 2))
    added = mu**2 / 4 * unit_square + mu**4 / 36 * 5 * fourth / (d + 4) * (t @ t).item() + 2 * s**2 / mu**2
    second = (a @ a).item() / d + mu**2 / 3 * fourth * (a @ t).item() + added
    return Forms(q / d * a + q * mu**2 / 6 * fourth * t, q * second, q * added)


def best_smoothing(target: Target, estimator: str, sampler: str, q: int, s: float) -> float:
    """Compute the mu where truncation A mu^k and noise N / mu^2 add least: (2 N / (k A))^(1 / (k + 2)).

    k = 2 from the Hessian where differences are one-sided, so mu* goes as sqrt(s); k = 4 from t for central ones,
    cbrt(s). For one-sided differences t is left out, which is right for a quadratic and to leading order in general.
    """
    order = 4 if estimator == "central" else 2
    leading = target if order == 4 else replace(target, third=torch.zeros_like(target.third))
    truncation = closed_form(leading, estimator, sampler, q, 1.0).added
    noise = closed_form(leading, estimator, sampler, q, 1.0, s).added - truncation
    return (2 * noise / (order * truncation)) ** (1 / (order + 2))


def cosine_square(estimator: str, sampler: str, d: int, q: int) -> tuple[float, bool]:
    """Compute E cos(g, a)^2 as mu -> 0 without noise, and whether it is exact.

    Gaussian: let z = U a / |a| (q,). g = U'z / q has the component |z|^2 along a and, across it, a Gaussian vector of
    length^2 |z|^2 chi^2(d - 1): cos^2 = chi^2(q) / (chi^2(q) + chi^2(d - 1)), Beta(q/2, (d - 1)/2), of mean
    q / (q + d - 1). Sphere and rademacher: the same to leading order, exact for q = 1. A projection on q of d
    dimensions, random ones or axes: q/d; random ones give Beta(q/2, (d - q)/2).
    """
    if estimator == "coordinate":
        return 1.0, True
    if estimator == "span" or sampler == "coordinate":
        return min(q / d, 1.0), q <= d or q % d == 0
    return q / (q + d - 1), sampler == "gaussian" or q == 1


def mean_cosine(estimator: str, sampler: str, d: int, q: int) -> tuple[float, bool]:
    """Compute E cos(g, a) as mu -> 0 without noise, E sqrt(B) of the Beta of `cosine_square`, and whether it is exact.

    It is about sqrt(q / (q + d + 1)), the gate's scale (`zo_gym.gate`).
    """
    square, exact = cosine_square(estimator, sampler, d, q)
    if square == 1.0:
        return 1.0, exact
    alpha = q / 2
    total = alpha / square  # alpha + beta, as the mean is alpha / (alpha + beta)
    log = math.lgamma(alpha + 0.5) + math.lgamma(total) - math.lgamma(alpha) - math.lgamma(total + 0.5)
    # On one direction every isotropic estimate is that direction; on sampled axes cos depends on a.
    return math.exp(log), (exact and sampler in ("gaussian", "sphere")) or estimator == "coordinate"


def rounding(d: int, mu: float, step: float) -> float:
    """Compute what rounding the values of f to multiples of `step` adds to E|g|^2; forward, q = 1, Gaussian, |a| = 1.

    In units of `step` the exact difference is z = sigma n, n ~ N(0, 1), sigma = mu / step, up to O(mu^2). Where f(x)
    lies between two multiples is taken as uniform; then the rounded difference is z on average and has variance
    p(1 - p), p = z mod 1, and p(1 - p) = 1/6 - sum_k cos(2 pi k z) / (pi k)^2. With |u|^2 = n^2 + chi^2(d - 1):

        E|g|^2 = (d + 2) + (step / mu)^2 (d/6 - sum_k exp(-2 (pi k sigma)^2) (d - (2 pi k sigma)^2) / (pi k)^2).

    For sigma > 1 that is noise of variance step^2 / 12 on both values; for sigma -> 0 the whole is
    sqrt(2 / pi) (d + 1) step / mu: the difference seldom differs from 0, and then it is too large.
    """
    sigma = mu / step
    k = math.pi * torch.arange(1, 2 + int(3 / sigma), dtype=torch.float64)  # the rest is below exp(-2 (3 pi)^2)
    series = (torch.exp(-2 * (k * sigma) ** 2) * (d - (2 * k * sigma) ** 2) / k**2).sum().item()
    return (d / 6 - series) / sigma**2
