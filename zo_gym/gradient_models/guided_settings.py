"""The settings of the Gaussian process behind a learned guess: every number of `zo_gym.gradient_models.guided_gp`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

from zo_gym.checks import check_at_least, check_attributes, check_integer, check_positive


@dataclass(frozen=True)
class GuidedGPSettings:
    """The settings of `guided_gp`.

    The first group describes the problem, the second switches parts off for ablations. All further numbers were chosen
    once, on attacks on MNIST images of the split "validation" (the results are of other images), and serve every
    problem; a is the prior variance of a coordinate of the residual gradient.

    Attributes:
        shape: The image behind x, (H, W), over which h^2 is spread to make the prior variances; None: all are equal.
        smoothing: mu of the forward differences, in units of x.
        noise_std: The standard deviation of the noise of f; None: estimated from re-evaluations, 0 without any.
        sharpness: p >= 1 of the direction probed before a move along it, as in `zo_gym.updates.sharpened`.
        refresh_distance: How far x moves, in units of x, before the guess, which costs time, is computed again.

        memory: False: predict kappa h alone, without the residual, as long as the guess is in use.
        gate: False: the guess stays in use, however few of the slopes it explains.
        estimate_penalty: Where no composite term is declared and the guess is in use: model f as a black-box part that
            is never negative plus c |x - x0|_1, x0 the start, in the box [0, 1]^d, and estimate c >= 0 from the run's
            slopes; see `zo_gym.composite.l1_penalty_estimate`. The guess is then of the black-box part's gradient.

        rank: r, the slopes stored, rounded up to a multiple of 8; few, since old ones are of another place.
        length_scale: l in root mean square distances of the stored slopes from x; larger than that of `gp`, since what
            a guess leaves unexplained changes more slowly than the gradient itself.
        flat: An optimality gap of the black-box part, in units of f, up to which its gradient is taken to be 0.
        prior_floor: The share of the prior variances that is the same in every coordinate, before scaling to mean 1.
        prior_blur: The standard deviation over which h^2 is spread, in widths of the image.
        slope_decay: The weight of a slope in the fit of kappa, relative to the slope after it.
        kappa_prior: The weight in that fit of an average slope for which kappa is 1, relative to the newest slope.
        slope_variance: The variance of every slope about the residual in its middle, in units of a.
        curvature_variance: The further variance of a slope over an interval of `curvature_length` or more, in units of
            a, since f is curved; over shorter intervals it falls with the fourth power of the length.
        curvature_length: See above; in units of sqrt(w) x.
        averaging: The weight of the past in running means of squared slopes.
        first_steps: The number of steps, since the start or the last change of use, after which every step probes.
        least_probe_rate: The least share of steps that probe where the model is most uncertain.
        grace_steps: The number of steps with the guess before it may be dropped.
        drop_share: The explained share of the squared slopes along moves below which the guess is dropped.
        look_period: The number of steps from one probe along a dropped guess to the next.
        return_ratio: A dropped guess's squared slope, in mean squared slopes along random directions, that restores it.

    Raises:
        TypeError, ValueError: An argument is not as described.
    """

    shape: tuple[int, ...] | None = None
    smoothing: float = 0.01
    noise_std: float | None = None
    sharpness: float = 1.0
    refresh_distance: float = 0.0

    memory: bool = True
    gate: bool = True
    estimate_penalty: bool = False

    rank: int = 24
    length_scale: float = 10.0
    flat: float = 1e-5
    prior_floor: float = 0.5
    prior_blur: float = 1 / 18
    slope_decay: float = 0.97
    kappa_prior: float = 0.03
    slope_variance: float = 1e-3
    curvature_variance: float = 0.15
    curvature_length: float = 1.0
    averaging: float = 0.9
    first_steps: int = 25
    least_probe_rate: float = 0.1
    grace_steps: int = 4
    drop_share: float = 0.1
    look_period: int = 10
    return_ratio: float = 4.0

    def __post_init__(self) -> None:
        """Check the numbers that users choose, and store them as plain ints and floats."""
        not_negative = partial(check_at_least, least=0.0)
        check_attributes(self, noise_std=not_negative, refresh_distance=not_negative, smoothing=check_positive)
        check_attributes(self, rank=partial(check_integer, least=1), sharpness=partial(check_at_least, least=1.0))

    @property
    def num_slopes(self) -> int:
        """Return `rank` rounded up to a multiple of 8, which keeps a row's bits the same in every batch."""
        return 8 * math.ceil(self.rank / 8)

    @property
    def noise_variance(self) -> float | None:
        """Return the square of `noise_std`."""
        return None if self.noise_std is None else self.noise_std**2
