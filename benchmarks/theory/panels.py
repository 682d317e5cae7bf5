"""Choose which measurements are a line of which panel in the figure of the estimators, and how it looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.theory.plan import Measurement
from zo_gym.agents.plots import BLACK, GREEN, PURPLE, SKY
from zo_gym.envs.render import BLUE, GREY, ORANGE, VERMILLION


@dataclass(frozen=True)
class MeasuredCurve:
    """Describes one line of a panel: the measurements with these values.

    Attributes:
        label: Its name in the legend.
        colour: Colour of line and markers.
        marker: matplotlib's marker.
        estimator: Key of ESTIMATORS.
        sampler: Key of SAMPLERS, or "-".
        q: Number of directions; None for all.
        s: Standard deviation of the noise; None for all.
        values: Floating type of f's values.
        dashes: matplotlib's linestyle.
    """

    label: str
    colour: str
    marker: str
    estimator: str
    sampler: str = "gaussian"
    q: int | None = None
    s: float | None = None
    values: str = "float64"
    dashes: str = "-"

    def rows(self, rows: Sequence[Measurement], panel: str, quantity: str) -> list[Measurement]:
        """Return those of the panel's measurements that it consists of."""
        return [
            row
            for row in rows
            if (row.panel, row.quantity) == (panel, quantity)
            and (row.estimator, row.sampler, row.values) == (self.estimator, self.sampler, self.values)
            and self.q in (None, row.q)
            and self.s in (None, row.s)
        ]


@dataclass(frozen=True)
class MeasuredPanel:
    """Describes one pair of axes: `quantity` against the field `x` of its measurements, both logarithmic."""

    title: str
    x: str
    quantity: str
    xlabel: str
    ylabel: str
    ylim: tuple[float, float]
    legend: str
    curves: tuple[MeasuredCurve, ...]


SHOWN = {
    "directions": MeasuredPanel(
        "More directions (d = 16, μ → 0)",
        "q",
        "error",
        "directions q",
        "E|g - ∇f|² / |∇f|²",
        (0.03, 60),
        "lower left",
        (
            MeasuredCurve("forward, Gaussian: (d + 1)/q", BLUE, "o", "forward"),
            MeasuredCurve("forward, sphere: (d - 1)/q", ORANGE, "s", "forward", "sphere"),
            MeasuredCurve("forward, Rademacher: (d - 1)/q", BLACK, "x", "forward", "rademacher", dashes="--"),
            MeasuredCurve("forward, random axes: d/q - 1", PURPLE, "^", "forward", "coordinate"),
            MeasuredCurve("span: 1 - q/d", VERMILLION, "D", "span"),
        ),
    ),
    "cosine": MeasuredPanel(
        "Alignment in high dimension (μ → 0)",
        "d",
        "cosine",
        "dimension d",
        "mean cos(g, ∇f)",
        (0.025, 1.05),
        "lower left",
        (
            MeasuredCurve("span, q = 20", VERMILLION, "D", "span", q=20),
            MeasuredCurve("forward, Gaussian, q = 20", BLUE, "o", "forward", q=20),
            MeasuredCurve("span = forward, q = 1", SKY, "v", "forward", q=1),
        ),
    ),
    "bias": MeasuredPanel(
        "Bias: Hessian H, third derivatives t (d = 16)",
        "mu",
        "bias",
        "smoothing μ",
        "|E g - ∇f| / |∇f|",
        (1e-7, 40),
        "lower right",
        (
            MeasuredCurve("forward, random axes: μ√d/2 |diag H|", PURPLE, "^", "forward", "coordinate"),
            MeasuredCurve("coordinate: μ/2 |diag H|", GREY, "P", "coordinate", "-"),
            MeasuredCurve("central, random axes: μ²d/6 |t|", PURPLE, "v", "central", "coordinate", dashes="--"),
            MeasuredCurve("central, Gaussian: μ²/2 |t|", GREEN, "s", "central"),
            MeasuredCurve("central, Rademacher: μ²/6 |t|", BLACK, "x", "central", "rademacher", dashes="--"),
        ),
    ),
    "infinite": MeasuredPanel(
        "Is the variance infinite? (d = 16, q = 1)",
        "mu",
        "second",
        "smoothing μ",
        "E|g|² / |∇f|²",
        (5, 3e10),
        "upper right",
        (
            MeasuredCurve("forward, s = 10⁻²: + 2s²d/μ²", BLACK, "D", "forward", s=1e-2),
            MeasuredCurve("central, s = 10⁻²: + s²d/(2μ²)", GREEN, "s", "central", s=1e-2),
            MeasuredCurve("forward, s = 10⁻⁴: + 2s²d/μ²", SKY, "v", "forward", s=1e-4),
            MeasuredCurve("forward, f ≈ 768 in float32: ∝ 1/μ", ORANGE, "x", "forward", s=0.0, values="float32"),
            MeasuredCurve("forward, no noise: d + 2, bounded", BLUE, "o", "forward", s=0.0),
        ),
    ),
    "smoothing": MeasuredPanel(
        "The best μ (d = 16, q = 4)",
        "mu",
        "added",
        "smoothing μ",
        "error added by truncation and noise",
        (3e-4, 3e5),
        "upper center",
        (
            MeasuredCurve("forward, s = 10⁻²", BLACK, "D", "forward", s=1e-2),
            MeasuredCurve("forward, s = 10⁻³", BLUE, "o", "forward", s=1e-3),
            MeasuredCurve("forward, s = 10⁻⁴", SKY, "v", "forward", s=1e-4),
            MeasuredCurve("coordinate, s = 10⁻³", GREY, "P", "coordinate", "-"),
            MeasuredCurve("central, s = 10⁻³", GREEN, "s", "central", s=1e-3),
        ),
    ),
    "noise": MeasuredPanel(
        "Noise at μ = 0.03 (d = 16)",
        "s",
        "error",
        "noise s",
        "E|g - ∇f|² / |∇f|²",
        (3e-3, 3e5),
        "upper left",
        (
            MeasuredCurve("coordinate, 16 queries: + 2s²d/μ²", GREY, "P", "coordinate", "-"),
            MeasuredCurve("span, q = 8, 8 queries: + 2s²q/μ²", VERMILLION, "D", "span"),
            MeasuredCurve("forward, q = 16, 16 queries: + 2s²d/(qμ²)", BLUE, "o", "forward"),
            MeasuredCurve("central, q = 8, 16 queries: + s²d/(2qμ²)", GREEN, "s", "central"),
        ),
    ),
}
"""Key of PANELS -> what is drawn of it; the rest is in the CSV. H is the Hessian, t the third derivatives."""
