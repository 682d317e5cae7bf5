"""The closed forms of bias, variance and cosine against exact enumeration and quadrature, and against measurements."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.theory import figure as figure_module
from benchmarks.theory.closed_forms import (
    Target,
    best_smoothing,
    closed_form,
    cosine_square,
    example,
    mean_cosine,
    rounding,
)
from benchmarks.theory.figure import draw_estimators, estimators_figure, measurement_table, to_csv
from benchmarks.theory.measure import FLOAT32_STEP, best_mu, measure, predict
from benchmarks.theory.panels import SHOWN
from benchmarks.theory.plan import PANELS, QUANTITIES, SMALL, Measurement, plan
from zo_gym.estimators import ESTIMATORS

D = 3
EXACT = 1e-10
"""Relative. Sums of up to 1e6 float64 terms of either sign lose about 1e-12; every effect tested is above 1e-3."""


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


GENERAL = Target(vector(0.9, -0.4, 0.7), vector(1.3, -0.6, 0.8), vector(0.5, 0.9, -0.3), vector(0.4, 1.1, -0.7))
"""Nothing vanishes and nothing is orthogonal: every term of the closed forms counts."""


# Every distribution of the directions as nodes u (N, q, d) with weights (N,) that integrate the moments exactly


def gaussian_nodes(q: int) -> tuple[Tensor, Tensor]:
    """Gauss-Hermite in every coordinate: 5 nodes integrate degree 9 in each exactly, and T(u)^2 |u|^2 has 8."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    u = torch.tensor(list(product(nodes, repeat=D)), dtype=torch.float64)
    w = torch.tensor([math.prod(ws) for ws in product(weights / weights.sum(), repeat=D)], dtype=torch.float64)
    return independent(u, w, q)


def ball(radius: float) -> tuple[Tensor, Tensor]:
    """The sphere in 3 dimensions: Gauss-Legendre in z times 12 equal angles, exact to degree 11."""
    z, weights = np.polynomial.legendre.leggauss(8)
    angle = np.arange(12) * 2 * math.pi / 12
    u = [(math.sqrt(1 - h * h) * math.cos(p), math.sqrt(1 - h * h) * math.sin(p), h) for h in z for p in angle]
    w = np.repeat(weights / weights.sum() / 12, 12)
    return radius * torch.tensor(u, dtype=torch.float64), torch.from_numpy(w)


def sphere_nodes(q: int) -> tuple[Tensor, Tensor]:
    return independent(*ball(math.sqrt(D)), q)


def rademacher_nodes(q: int) -> tuple[Tensor, Tensor]:
    u = torch.tensor(list(product((-1.0, 1.0), repeat=D)), dtype=torch.float64)
    return independent(u, torch.full((len(u),), 1 / len(u), dtype=torch.float64), q)


def independent(u: Tensor, w: Tensor, q: int) -> tuple[Tensor, Tensor]:
    """q independent draws: all q-tuples of the nodes (N, d)."""
    chosen = torch.cartesian_prod(*[torch.arange(len(u))] * q).view(-1, q)
    return u[chosen], w[chosen].prod(1)


def coordinate_nodes(q: int) -> tuple[Tensor, Tensor]:
    """Whole permutations, cut after q axes."""
    rounds = -(-q // D)
    orders = [sum(order, ())[:q] for order in product(permutations(range(D)), repeat=rounds)]
    u = math.sqrt(D) * torch.eye(D, dtype=torch.float64)[torch.tensor(orders)]
    return u, torch.full((len(u),), 1 / len(u), dtype=torch.float64)


def basis_nodes(q: int) -> tuple[Tensor, Tensor]:
    """A random rotation's first q rows: v_1 on the sphere, v_2 on the circle across it (12 angles), v_3 = v_1 x v_2."""
    first, w = ball(1.0)
    helper = torch.where(first[:, :1].abs() < 0.9, vector(1, 0, 0), vector(0, 1, 0))
    across = torch.linalg.cross(first, helper)
    across = across / across.norm(dim=1, keepdim=True)
    other = torch.linalg.cross(first, across)
    angles = torch.arange(12, dtype=torch.float64) * 2 * math.pi / 12
    second = torch.cos(angles)[:, None, None] * across + torch.sin(angles)[:, None, None] * other  # (12, N, 3)
    first = first.expand_as(second)
    frame = torch.stack([first, second, torch.linalg.cross(first, second)], dim=2)[:, :, :q]
    return frame.reshape(-1, q, D), w.repeat(12) / 12


NODES = {
    "gaussian": gaussian_nodes,
    "sphere": sphere_nodes,
    "rademacher": rademacher_nodes,
    "coordinate": coordinate_nodes,
}
CASES = [
    *product(("forward", "central"), ("gaussian", "sphere", "rademacher"), (1, 2)),
    *product(("forward", "central"), ("coordinate",), (1, 2, 3, 4, 5)),
    *product(("span",), ("basis",), (1, 2, 3)),
    ("coordinate", "-", 2),
]


def enumerated(estimator: str, sampler: str, q: int, mu: float, s: float) -> tuple[Tensor, float, float]:
    """E g, E|g|^2 and E|g - g_0|^2 over all nodes and, where s > 0, all signs +-s of the queries' errors.

    Only the errors' mean and variance enter second moments, so signs stand for any noise.
    """
    if estimator == "span":
        u, w = basis_nodes(q)
    else:
        u, w = gaussian_nodes(1) if estimator == "coordinate" else NODES[sampler](q)
    method, n = ESTIMATORS[estimator], len(u)
    if estimator == "coordinate":
        assert method.prepare is not None
        u = method.prepare(u)
    points = method.points(torch.zeros(n, D, dtype=torch.float64), u, mu)
    values, zeros = GENERAL(points), torch.zeros(n, dtype=torch.float64)
    exact = method.combine(points @ GENERAL.slope, zeros, u, mu).gradient
    patterns = list(product((-1, 1) if s else (0,), repeat=points.shape[1] + 1))
    signs = s * torch.tensor(patterns, dtype=torch.float64)
    mean, second, added = torch.zeros(D, dtype=torch.float64), 0.0, 0.0
    for sign in signs:
        g = method.combine(values + sign[1:], zeros + sign[0], u, mu).gradient
        mean += w @ g / len(signs)
        second += (w @ g.square().sum(1)).item() / len(signs)
        added += (w @ (g - exact).square().sum(1)).item() / len(signs)
    return mean, second, added


@pytest.mark.parametrize(("estimator", "sampler", "q"), CASES)
@pytest.mark.parametrize(("mu", "s"), [(0.3, 0.0), (0.7, 0.2)])
def test_closed_forms_equal_the_sum_over_all_outcomes(
    estimator: str, sampler: str, q: int, mu: float, s: float
) -> None:
    found = closed_form(GENERAL, estimator, "gaussian" if sampler == "basis" else sampler, q, mu, s)
    mean, second, added = enumerated(estimator, sampler, q, mu, s)
    torch.testing.assert_close(found.mean, mean, rtol=EXACT, atol=EXACT)
    assert found.second == pytest.approx(second, rel=EXACT)
    assert found.added == pytest.approx(added, rel=EXACT)
    aa = GENERAL.slope.square().sum().item()
    assert found.error(GENERAL) == pytest.approx((second - 2 * (GENERAL.slope @ mean).item() + aa) / aa, rel=EXACT)


def test_a_target_is_the_polynomial_it_says() -> None:
    """Against the dense Hessian."""
    hessian = torch.diag(GENERAL.diagonal) + torch.outer(GENERAL.spike, GENERAL.spike)
    h = vector(0.3, -1.2, 0.5)
    expected = GENERAL.slope @ h + h @ hessian @ h / 2 + (GENERAL.third * h**3).sum() / 6
    assert GENERAL(h).item() == pytest.approx(expected.item(), rel=1e-13)
    torch.testing.assert_close(GENERAL.curvatures, hessian.diagonal())
    assert GENERAL.off_diagonal == pytest.approx(
        hessian.square().sum().item() - hessian.diagonal().square().sum().item(), rel=1e-13
    )


def test_the_examples_gradient_is_a_unit_vector_and_its_third_derivatives_are_orthogonal_to_the_rest() -> None:
    for d in (3, 16, 100):
        target = example(d)
        assert target.slope.norm().item() == pytest.approx(1, rel=1e-12)
        assert target.third.norm().item() == pytest.approx(math.sqrt(d), rel=1e-12)
        assert abs((target.third @ target.slope).item()) < 1e-12 * d
        assert abs((target.third @ target.curvatures).item()) < 1e-12 * d


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [("gaussian", "1 + (d + 1) / q"), ("sphere", "1 + (d - 1) / q"), ("rademacher", "1 + (d - 1) / q")],
)
def test_the_textbook_second_moments_are_the_limit(sampler: str, expected: str) -> None:
    """Truncation is of order mu^2 d^3 = 1e-9 here; for q = 1 the Gaussian's is the familiar d + 2."""
    for d, q in ((10, 1), (10, 7)):
        limit = {"1 + (d + 1) / q": 1 + (d + 1) / q, "1 + (d - 1) / q": 1 + (d - 1) / q}[expected]
        assert closed_form(example(d), "forward", sampler, q, 1e-6).second == pytest.approx(limit, rel=1e-7)
        assert closed_form(example(d), "central", sampler, q, 1e-6).second == pytest.approx(limit, rel=1e-7)


def test_curvature_biases_one_sided_axes_only() -> None:
    """On a quadratic: mu/2 H_ii on the axes, mu sqrt(d)/2 H_ii on random axes of length sqrt(d), nothing else."""
    target = replace(GENERAL, third=torch.zeros_like(GENERAL.third))
    for sampler in ("gaussian", "sphere", "rademacher"):
        assert torch.equal(closed_form(target, "forward", sampler, 2, 0.5).mean, target.slope)
    for estimator, sampler, factor in (("coordinate", "-", 1.0), ("forward", "coordinate", math.sqrt(D))):
        bias = closed_form(target, estimator, sampler, 2, 0.5).mean - target.slope
        torch.testing.assert_close(bias, factor * 0.25 * target.curvatures)


def test_without_a_closed_form_the_pair_is_named() -> None:
    for estimator, sampler in (("forward", "guided"), ("span", "rademacher")):
        with pytest.raises(ValueError, match=f"No closed form for estimator '{estimator}' with sampler '{sampler}'"):
            closed_form(GENERAL, estimator, sampler, 1, 0.1)


# Cosines


@pytest.mark.parametrize(
    ("estimator", "d", "q", "expected"),
    [
        ("span", 2, 1, 2 / math.pi),  # mean of |cos| over the circle
        ("span", 3, 1, 1 / 2),  # Archimedes: |z| is uniform
        ("span", 3, 2, math.pi / 4),  # sin of the angle to the plane's normal
        ("forward", 2, 1, 2 / math.pi),
        ("forward", 3, 1, 1 / 2),
        ("coordinate", 5, 5, 1.0),
    ],
)
def test_mean_cosines_that_geometry_tells(estimator: str, d: int, q: int, expected: float) -> None:
    value, exact = mean_cosine(estimator, "gaussian", d, q)
    assert exact
    assert value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("d", "q"), [(5, 3), (12, 8), (4, 30)])
def test_cosines_of_the_gaussian_estimate_against_plain_numpy(d: int, q: int) -> None:
    """g = U'Ua / q with U (q, d) normal, written out; within 5 standard errors (p < 1e-6)."""
    u = np.random.default_rng(0).standard_normal((20_000, q, d))
    g = (u * u[:, :, :1]).mean(1)  # a is the first axis
    cos = g[:, 0] / np.linalg.norm(g, axis=1)
    for sample, (form, exact) in (
        (cos, mean_cosine("forward", "gaussian", d, q)),
        (cos**2, cosine_square("forward", "gaussian", d, q)),
    ):
        assert exact
        assert abs(sample.mean() - form) < 5 * sample.std() / math.sqrt(len(sample))


def test_the_gates_scale_is_the_mean_cosine_to_first_order() -> None:
    """sqrt(q / (q + d + 1)) against the exact mean: the difference is of order 1/q."""
    for d, q in ((24, 20), (123, 20), (784, 20), (60, 100)):
        assert math.sqrt(q / (q + d + 1)) == pytest.approx(mean_cosine("forward", "gaussian", d, q)[0], rel=1 / q)


def test_the_square_cosine_on_random_axes_is_enumerated() -> None:
    a = GENERAL.slope
    for q in (1, 2, 3):
        u, w = coordinate_nodes(q)
        g = (u @ a)[:, :, None] * u
        cos = (g.mean(1) @ a) / (g.mean(1).norm(dim=1) * a.norm())
        assert (w @ cos**2).item() == pytest.approx(cosine_square("forward", "coordinate", D, q)[0], rel=EXACT)


# Rounding and the best mu


@pytest.mark.parametrize("sigma", [0.02, 0.2, 1.0, 4.0])
def test_the_rounding_series_equals_its_integral(sigma: float) -> None:
    """E p(1 - p) (n^2 + d - 1) by the trapezoidal rule with 4e6 points; kinks leave about (h sigma)^2 = 1e-11."""
    d, step = 7, 0.5
    n = np.linspace(-12, 12, 4_000_001)
    p = (sigma * n) % 1.0
    density = np.exp(-(n**2) / 2) / math.sqrt(2 * math.pi)
    expected = (p * (1 - p) * (n**2 + d - 1) * density).sum() * (n[1] - n[0]) / sigma**2
    assert rounding(d, sigma * step, step) == pytest.approx(expected, rel=1e-7)


def test_rounding_is_white_noise_above_the_step_and_grows_as_one_over_mu_below() -> None:
    d, step = 16, 1e-3
    white = 2 * (step**2 / 12) * d / (5 * step) ** 2
    assert rounding(d, 5 * step, step) == pytest.approx(white, rel=1e-9)
    mu = step / 1000
    total = d + 2 + rounding(d, mu, step)
    # Below one step z^2 + p(1 - p) = |z|, up to |z| > 1, of which there are none.
    assert total == pytest.approx(math.sqrt(2 / math.pi) * (d + 1) * step / mu, rel=1e-9)


@pytest.mark.parametrize(
    ("estimator", "sampler", "root"),
    [
        ("forward", "gaussian", 2),
        ("forward", "sphere", 2),
        ("forward", "rademacher", 2),
        ("forward", "coordinate", 2),
        ("coordinate", "-", 2),
        ("span", "gaussian", 2),
        ("central", "gaussian", 3),
        ("central", "rademacher", 3),
    ],
)
def test_the_best_mu_is_where_the_added_error_is_least(estimator: str, sampler: str, root: int) -> None:
    """On a fine grid; one-sided differences on a quadratic, central ones with third derivatives."""
    target = example(8)
    if estimator != "central":
        target = replace(target, third=torch.zeros_like(target.third))
    best = best_smoothing(target, estimator, sampler, 4, 1e-3)
    grid = best * np.geomspace(0.5, 2, 2001)  # neighbours are 0.07 % apart
    added = [closed_form(target, estimator, sampler, 4, mu, 1e-3).added for mu in grid.tolist()]
    assert grid[int(np.argmin(added))] == pytest.approx(best, rel=1e-3)
    assert best_smoothing(target, estimator, sampler, 4, 8e-3) == pytest.approx(best * 8 ** (1 / root), rel=1e-9)


def test_the_best_mu_of_independent_directions_does_not_depend_on_their_number() -> None:
    first, other = (best_smoothing(example(8), "forward", "gaussian", q, 1e-2) for q in (1, 50))
    assert first == pytest.approx(other, rel=1e-12)


# The measurements

TRIALS = 2_000


@pytest.fixture(scope="module")
def rows() -> list[Measurement]:
    return measure(seed=3, trials=TRIALS)


def test_every_exact_closed_form_is_measured(rows: list[Measurement]) -> None:
    """Within 5 standard errors (p < 1e-6 each). Numbers without spread: 1e-7 for rounding and for mu = 1e-5, not 0."""
    exact = [row for row in rows if row.exact]
    assert len(exact) > 300
    for row in exact:
        assert abs(row.measured - row.predicted) < 5 * row.standard_error + 1e-7 * abs(row.predicted), row


def test_leading_orders_are_near(rows: list[Measurement]) -> None:
    """What is called leading order is off by O(1/d): 2/d allowed, besides 5 standard errors."""
    about = [row for row in rows if not row.exact and row.values == "float64"]
    assert {row.quantity for row in about} == {"cosine", "cosine_square"}
    for row in about:
        assert abs(row.measured - row.predicted) < 5 * row.standard_error + 2 / row.d * row.predicted, row


def test_values_in_single_precision_behave_as_the_rounding_says(rows: list[Measurement]) -> None:
    """Within 5 standard errors, and far above d + 2 = 18 at the smallest mu."""
    single = [row for row in rows if row.values == "float32"]
    for row in single:
        assert abs(row.measured - row.predicted) < 5 * row.standard_error, row
    least = min(single, key=lambda row: row.mu)
    assert least.mu < FLOAT32_STEP / 50
    assert least.measured > 10 * 18


def test_the_second_moment_is_bounded_without_noise_and_unbounded_with_it(rows: list[Measurement]) -> None:
    of = {(row.estimator, row.s, row.values): row for row in reversed(rows) if row.panel == "infinite"}
    assert all(row.mu == pytest.approx(1e-6) for row in of.values())
    assert of["forward", 0.0, "float64"].measured < 2 * 18
    assert of["forward", 1e-2, "float64"].measured > 1e8 * 18
    assert of["central", 1e-2, "float64"].measured > 1e7 * 18


def test_the_measured_minimum_lies_where_the_closed_form_puts_it(rows: list[Measurement]) -> None:
    """The grid's least measured point is a neighbour of the predicted one: they stand 1.8 times apart."""
    best = [row for row in rows if row.quantity == "best_mu"]
    assert len(best) == 6
    for row in best:
        curve = [r for r in rows if r.quantity == "added" and (r.estimator, r.s) == (row.estimator, row.s)]
        least = min(curve, key=lambda r: r.measured)
        assert 1 / 1.8 < least.mu / row.predicted < 1.8
        assert row.standard_error < 0.02 * row.measured  # the comparison with the closed form means something


def test_a_wrong_curve_gives_another_minimum(rows: list[Measurement]) -> None:
    """The fit looks at what was measured: with truncation 16 times as large the minimum is at half the mu."""
    curve = [r for r in rows if (r.quantity, r.estimator, r.s) == ("added", "forward", 1e-3)]
    noise = 2 * 1e-6 * 16 / 4
    bent = [replace(r, measured=16 * r.measured - 15 * noise / r.mu**2) for r in curve]
    assert best_mu(bent).measured == pytest.approx(best_mu(curve).measured / 2, rel=0.05)


def test_everything_is_covered() -> None:
    planned = list(plan())
    assert {row.estimator for row in planned} == set(ESTIMATORS)
    assert {row.sampler for row in planned} == {"gaussian", "sphere", "rademacher", "coordinate", "-"}
    assert {row.panel for row in planned} == set(PANELS) == set(SHOWN)
    assert {row.quantity for row in planned} | {"best_mu"} == set(QUANTITIES)
    assert len({replace(row, measured=0.0, standard_error=0.0, predicted=0.0) for row in planned}) == len(planned)


def test_a_seed_gives_the_same_numbers() -> None:
    first, again, other = (measure(seed, 20) for seed in (0, 0, 1))
    assert first == again
    assert [row.predicted for row in first] == [row.predicted for row in other]
    changed = [a.measured != b.measured for a, b in zip(first, other, strict=True)]
    assert sum(changed) > 0.9 * len(changed)  # all but those of the axes, where nothing is random


@pytest.mark.parametrize(
    ("options", "error"), [({"trials": 1}, ValueError), ({"trials": 2.5}, TypeError), ({"seed": -1}, ValueError)]
)
def test_bad_arguments_are_refused(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(options))):
        measure(**options)


# The outputs


def parsed(text: str) -> Iterator[Measurement]:
    kinds: dict[str, Callable[[str], Any]] = {
        "int": int,
        "float": float,
        "str": str,
        "bool": lambda word: {"True": True, "False": False}[word],
    }
    for line in csv.DictReader(text.splitlines()):
        yield Measurement(**{name: kinds[Measurement.__annotations__[name]](word) for name, word in line.items()})


def test_the_csv_holds_every_number_in_full(rows: list[Measurement]) -> None:
    assert list(parsed(to_csv(rows))) == rows


def test_the_table_has_a_line_per_row_and_says_which_forms_are_leading_orders(rows: list[Measurement]) -> None:
    lines = measurement_table(rows).splitlines()
    data = [line for line in lines if line.startswith("| ") and not line.startswith("| estimator")]
    assert len(data) == len(rows)
    assert all(line.count("|") == 10 for line in data)
    assert sum("about" in line for line in data) == sum(not row.exact for row in rows)
    first = rows[0]
    assert (first.estimator, first.sampler, first.q, first.mu) == ("forward", "gaussian", 1, SMALL)
    assert f"| forward | gaussian | 16 | 1 | 1e-05 | 0 | float64 | {first.measured:.5g} ±" in data[0]


@pytest.fixture(scope="module")
def figure(rows: list[Measurement]) -> Any:
    return draw_estimators(rows)


def test_the_figure_shows_measured_points_on_closed_forms(rows: list[Measurement], figure: Any) -> None:
    assert len(figure.axes) == len(SHOWN)
    for axis, (key, panel) in zip(figure.axes, SHOWN.items(), strict=True):
        assert len(axis.containers) == len(panel.curves)
        lines = [line for line in axis.get_lines() if len(line.get_xdata()) > 60]
        labels = [text.get_text() for text in axis.get_legend().get_texts()]
        assert labels[: len(panel.curves)] == [curve.label for curve in panel.curves]
        for curve, container in zip(panel.curves, axis.containers, strict=True):
            shown = curve.rows(rows, key, panel.quantity)
            marks = container.lines[0]
            assert list(marks.get_xdata()) == [getattr(row, panel.x) for row in shown]
            assert list(marks.get_ydata()) == [row.measured for row in shown]
            assert len(shown) >= 5
            assert panel.ylim[0] < shown[0].predicted < panel.ylim[1]
        assert len(lines) == (0 if panel.x == "q" else len(panel.curves))


def test_a_line_is_the_prediction_between_the_points(figure: Any) -> None:
    axis = figure.axes[list(SHOWN).index("infinite")]
    line = axis.get_lines()[0]  # forward, s = 1e-2
    middle = len(line.get_xdata()) // 3
    mu, y = line.get_xdata()[middle], line.get_ydata()[middle]
    assert y == pytest.approx(closed_form(example(16), "forward", "gaussian", 1, mu, 1e-2).second, rel=1e-12)


def test_the_files_are_written(rows: list[Measurement], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figure_module, "measure", lambda: rows)
    estimators_figure(tmp_path / "new")
    assert {path.name for path in (tmp_path / "new").iterdir()} == {
        f"estimators.{e}" for e in ("png", "pdf", "csv", "md")
    }
    assert (tmp_path / "new" / "estimators.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "new" / "estimators.pdf").read_bytes().startswith(b"%PDF")
    assert list(parsed((tmp_path / "new" / "estimators.csv").read_text(encoding="utf-8"))) == rows
    text = (tmp_path / "new" / "estimators.md").read_text(encoding="utf-8")
    assert text.startswith("# The gradient estimators")
    assert measurement_table(rows) in text


def test_predict_names_what_a_row_is(rows: list[Measurement]) -> None:
    for row in rows[::17]:
        assert predict(row) == (row.predicted, row.exact), asdict(row)
