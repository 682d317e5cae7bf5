"""Plan which moments of which estimators are measured, and hold what was found."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

QUANTITIES = {
    "error": "E|g - ∇f|² / |∇f|², variance and squared bias",
    "second": "E|g|² / |∇f|²",
    "added": "E|g - g₀|² / |∇f|² with g₀ from exact slopes: what truncation and noise add",
    "bias": "(E g - ∇f) / |∇f| along the direction of its closed form",
    "cosine": "mean cos(g, ∇f)",
    "cosine_square": "mean cos²(g, ∇f)",
    "best_mu": "the μ of least added error, from a fit of A μᵏ + N / μ² to it (k = 4 if central, else 2)",
}
PANELS = {
    "directions": "error against the number q of directions, μ → 0",
    "cosine": "cosine against the dimension d, μ → 0",
    "bias": "bias against μ",
    "infinite": "second moment against μ, one direction: is the variance infinite?",
    "smoothing": "added error against μ: where truncation meets noise",
    "noise": "error against the noise s",
}
SMALL = 1e-5
"""The mu that stands for mu -> 0. Truncation (in the closed forms of moments) adds 1e-5 at most, rounding 1e-10."""


@dataclass(frozen=True)
class Measurement:
    """Holds one measured number beside its closed form.

    Attributes:
        panel: Key of PANELS.
        estimator: Key of ESTIMATORS.
        sampler: Key of SAMPLERS; "-" for the estimator that samples nothing.
        d: Dimension.
        q: Number of directions.
        mu: Smoothing; for "best_mu" the predicted one.
        s: Standard deviation of additive noise on every query, f(x) included.
        quantity: Key of QUANTITIES.
        measured: Mean over the trials.
        standard_error: Standard error of `measured`.
        predicted: The closed form.
        values: Floating type of f's values.
        exact: Whether the closed form is exact; else it is the leading order.
    """

    panel: str
    estimator: str
    sampler: str
    d: int
    q: int
    mu: float
    s: float = 0.0
    quantity: str = "error"
    measured: float = math.nan
    standard_error: float = math.nan
    predicted: float = math.nan
    values: str = "float64"
    exact: bool = True


def plan() -> Iterator[Measurement]:
    """Yield what is measured, in order; the measurements are still missing."""
    iid, mus = ("gaussian", "sphere", "rademacher"), np.geomspace(1e-3, 1, 13).tolist()
    for estimator, sampler in (*product(("forward", "central"), (*iid, "coordinate")), ("span", "gaussian")):
        for q, quantity in product((1, 2, 4, 8, 12, 16, 32, 64), ("error", "second", "cosine_square")):
            # Central differences are the same as mu -> 0, which two points show. There are no more axes than d.
            if (estimator != "central" or q in (2, 8)) and ((sampler in iid and estimator != "span") or q <= 16):
                yield Measurement("directions", estimator, sampler, 16, q, SMALL, quantity=quantity)
    yield Measurement("directions", "coordinate", "-", 16, 16, SMALL, quantity="error")
    for (estimator, sampler), q, d in product(
        (("forward", "gaussian"), ("forward", "sphere"), ("span", "gaussian")), (1, 20), (32, 64, 128, 256, 512)
    ):
        yield Measurement("cosine", estimator, sampler, d, q, SMALL, quantity="cosine")
    one_sided = (("coordinate", "-"), ("forward", "coordinate"))
    for (estimator, sampler), mu in product((*one_sided, *product(["central"], (*iid, "coordinate"))), mus[::2]):
        yield Measurement("bias", estimator, sampler, 16, 4, mu, quantity="bias")
    for estimator, s, values in (
        *(("forward", s, "float64") for s in (0.0, 1e-4, 1e-2)),
        ("central", 1e-2, "float64"),
        ("forward", 0.0, "float32"),
    ):
        for mu in np.geomspace(1e-6, 1, 13).tolist():
            yield Measurement("infinite", estimator, "gaussian", 16, 1, mu, s, "second", values=values)
    for estimator, sampler, s in (
        *(("forward", "gaussian", s) for s in (1e-4, 1e-3, 1e-2)),
        ("coordinate", "-", 1e-3),
        ("span", "gaussian", 1e-3),
        ("central", "gaussian", 1e-3),
    ):
        for mu in mus:
            yield Measurement("smoothing", estimator, sampler, 16, 4, mu, s, "added")
    for (estimator, sampler, q), s in product(
        (("forward", "gaussian", 16), ("central", "gaussian", 8), ("coordinate", "-", 16), ("span", "gaussian", 8)),
        np.geomspace(1e-4, 1, 9).tolist(),
    ):
        yield Measurement("noise", estimator, sampler, 16, q, 0.03, s)
