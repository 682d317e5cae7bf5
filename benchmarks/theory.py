"""The bias, variance and cosine of every estimator, measured, each number beside its closed form.

What the slides state about (f(x + mu v) - f(x)) / mu v, as numbers: six panels, drawn by `benchmarks.theory_figure`.
The function and the closed forms are those of `benchmarks.theory_forms`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, product

import numpy as np
import torch
from torch import Tensor

from benchmarks.theory_forms import best_smoothing, closed_form, cosine_square, example, mean_cosine, rounding
from zo_gym.checks import check_integer
from zo_gym.directions import cosine
from zo_gym.estimators import ESTIMATORS
from zo_gym.rng import make_generator, seed_sequence
from zo_gym.samplers import SAMPLERS

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
LEVEL = 768.0
"""f(x) where f answers in float32: the middle of the binade from 512 to 1024."""
STEP = 512 * torch.finfo(torch.float32).eps
"""The distance of neighbouring float32 numbers there, 6.1e-5."""
FLOATS = 2**21
"""Most numbers in one draw of directions; where q d is large, fewer trials fit."""


@dataclass(frozen=True)
class Row:
    """One measured number and what the closed form says.

    Attributes:
        panel: Key of PANELS.
        estimator: Key of ESTIMATORS.
        sampler: Key of SAMPLERS; "-" for the estimator that samples nothing.
        d: Dimension.
        q: Directions.
        mu: Smoothing; of "best_mu" the predicted one.
        s: Standard deviation of additive noise on every query, f(x) included.
        quantity: Key of QUANTITIES.
        measured: Mean over the trials.
        standard_error: Of `measured`.
        predicted: The closed form.
        values: dtype in which f answers.
        exact: Is the closed form exact, or the leading order?
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


def plan() -> Iterator[Row]:
    """What is measured, in order; the measurements are still missing."""
    iid, mus = ("gaussian", "sphere", "rademacher"), np.geomspace(1e-3, 1, 13).tolist()
    for estimator, sampler in (*product(("forward", "central"), (*iid, "coordinate")), ("span", "gaussian")):
        for q, quantity in product((1, 2, 4, 8, 12, 16, 32, 64), ("error", "second", "cosine_square")):
            # Central differences are the same as mu -> 0: two points show it. No more axes than d.
            if (estimator != "central" or q in (2, 8)) and ((sampler in iid and estimator != "span") or q <= 16):
                yield Row("directions", estimator, sampler, 16, q, SMALL, quantity=quantity)
    yield Row("directions", "coordinate", "-", 16, 16, SMALL, quantity="error")
    for (estimator, sampler), q, d in product(
        (("forward", "gaussian"), ("forward", "sphere"), ("span", "gaussian")), (1, 20), (32, 64, 128, 256, 512)
    ):
        yield Row("cosine", estimator, sampler, d, q, SMALL, quantity="cosine")
    one_sided = (("coordinate", "-"), ("forward", "coordinate"))
    for (estimator, sampler), mu in product((*one_sided, *product(["central"], (*iid, "coordinate"))), mus[::2]):
        yield Row("bias", estimator, sampler, 16, 4, mu, quantity="bias")
    for estimator, s, values in (
        *(("forward", s, "float64") for s in (0.0, 1e-4, 1e-2)),
        ("central", 1e-2, "float64"),
        ("forward", 0.0, "float32"),
    ):
        for mu in np.geomspace(1e-6, 1, 13).tolist():
            yield Row("infinite", estimator, "gaussian", 16, 1, mu, s, "second", values=values)
    for estimator, sampler, s in (
        *(("forward", "gaussian", s) for s in (1e-4, 1e-3, 1e-2)),
        ("coordinate", "-", 1e-3),
        ("span", "gaussian", 1e-3),
        ("central", "gaussian", 1e-3),
    ):
        for mu in mus:
            yield Row("smoothing", estimator, sampler, 16, 4, mu, s, "added")
    for (estimator, sampler, q), s in product(
        (("forward", "gaussian", 16), ("central", "gaussian", 8), ("coordinate", "-", 16), ("span", "gaussian", 8)),
        np.geomspace(1e-4, 1, 9).tolist(),
    ):
        yield Row("noise", estimator, sampler, 16, q, 0.03, s)


def predict(row: Row) -> tuple[float, bool]:
    """The closed form of the row's quantity, and whether it is exact."""
    if row.quantity == "cosine":
        return mean_cosine(row.estimator, row.sampler, row.d, row.q)
    if row.quantity == "cosine_square":
        return cosine_square(row.estimator, row.sampler, row.d, row.q)
    target = example(row.d)
    if row.quantity == "best_mu":
        return best_smoothing(target, row.estimator, row.sampler, row.q, row.s), True
    forms = closed_form(target, row.estimator, row.sampler, row.q, row.mu, row.s)
    if row.quantity == "second":
        rounded = row.values == "float32"
        return forms.second + (rounding(row.d, row.mu, STEP) if rounded else 0.0), not rounded
    if row.quantity == "bias":
        return torch.linalg.vector_norm(forms.mean - target.slope).item(), True
    return (forms.added if row.quantity == "added" else forms.error(target)), True


def estimates(row: Row, trials: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """g, and g_0 from the exact slopes a.u of the same directions, (n, d) each; n <= trials, see FLOATS."""
    target, d, q, estimator = example(row.d), row.d, row.q, ESTIMATORS[row.estimator]
    n = max(1, min(trials, FLOATS // (q * d)))
    x = torch.zeros(n, d, dtype=torch.float64)
    sampler = SAMPLERS["gaussian" if row.sampler == "-" else row.sampler]()
    if row.sampler == "coordinate":  # distinct axes within a trial
        u = sampler.sample(sampler.init(x), x, q, [generator] * n)[0]
    else:
        u = sampler.sample(sampler.init(x[:1]), x[:1], n * q, [generator])[0].view(n, q, d)
    if estimator.prepare is not None:
        u = estimator.prepare(u)
    points = estimator.points(x, u, row.mu)

    def answers(at: Tensor) -> Tensor:
        exact = target(at) + (base if row.values == "float32" else 0.0)
        rounded = exact.to(getattr(torch, row.values)).to(torch.float64)
        noise = torch.randn(rounded.shape, generator=generator, dtype=torch.float64) if row.s > 0 else 0.0
        return rounded + row.s * noise

    base = LEVEL + STEP * torch.rand(n, 1, generator=generator, dtype=torch.float64)
    g = estimator.combine(answers(points), answers(x[:, None])[:, 0], u, row.mu).gradient
    return g, estimator.combine(points @ target.slope, torch.zeros(n, dtype=torch.float64), u, row.mu).gradient


def observe(row: Row, g: Tensor, g0: Tensor) -> Row:
    """The row with its quantity measured on these estimates (n, d)."""
    target = example(row.d)
    a = target.slope  # |a| = 1
    if row.quantity == "bias":
        # E g_0 = a, so the mean of g - g_0 is the bias, without the spread of g_0.
        shift = closed_form(target, row.estimator, row.sampler, row.q, row.mu, row.s).mean - a
        sample = (g - g0) @ (shift / torch.linalg.vector_norm(shift))
    elif row.quantity.startswith("cosine"):
        sample = cosine(g, a.expand_as(g)) ** (2 if row.quantity == "cosine_square" else 1)
    else:
        sample = (g - {"second": torch.zeros_like(a), "added": g0, "error": a}[row.quantity]).square().sum(1)
    error = sample.std().item() / math.sqrt(len(sample))
    predicted, exact = predict(row)
    return replace(row, measured=sample.mean().item(), standard_error=error, predicted=predicted, exact=exact)


def _setting(row: Row) -> tuple[str | float, ...]:
    return row.panel, row.estimator, row.sampler, row.d, row.q, row.mu, row.s, row.values


def best_mu(rows: Sequence[Row]) -> Row:
    """The mu of least added error of one curve: weighted least squares of A mu^k + N / mu^2, then (2N / kA)^(1/(k+2)).

    Args:
        rows: Quantity "added" against mu. Points within a factor of 5 of the predicted minimum are fitted.
    """
    order = 4 if rows[0].estimator == "central" else 2
    result = replace(rows[0], quantity="best_mu")
    predicted, exact = predict(result)
    near = [row for row in rows if 1 / 5 < row.mu / predicted < 5]
    mu, y, error = np.array([(row.mu, row.measured, row.standard_error) for row in near]).T
    basis = np.stack([mu**order, mu**-2.0], axis=1) / error[:, None]
    covariance = np.linalg.inv(basis.T @ basis)
    size = covariance @ basis.T @ (y / error)  # A, N
    measured = float((2 * size[1] / (order * size[0])) ** (1 / (order + 2)))
    by_log = np.array([-1.0, 1.0]) / size / (order + 2)  # d log mu* / d (A, N)
    spread = measured * math.sqrt(by_log @ covariance @ by_log)
    return replace(result, mu=predicted, measured=measured, standard_error=spread, predicted=predicted, exact=exact)


def measure(seed: int = 0, trials: int = 10_000) -> list[Row]:
    """Every number of the figure. About 20 seconds on one core.

    Args:
        seed: Of all directions and noise.
        trials: Estimates per number, at least 2; fewer where they would not fit FLOATS.

    Raises:
        TypeError, ValueError: `seed` or `trials` is not as described.
    """
    check_integer("trials", trials, 2)
    rows: list[Row] = []
    settings = [list(rows) for _, rows in groupby(plan(), _setting)]
    for group, child in zip(settings, seed_sequence(seed).spawn(len(settings)), strict=True):
        g, g0 = estimates(group[0], trials, make_generator(int(child.generate_state(1)[0])))
        rows += [observe(row, g, g0) for row in group]
    curves = groupby([row for row in rows if row.panel == "smoothing"], lambda row: (row.estimator, row.s))
    return rows + [best_mu(list(curve)) for _, curve in curves]
