"""The state of a guided run: the stored slopes, what the guess predicts of each, and how good the guess has been."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from zo_gym.composite.l1_penalty_estimate import L1PenaltyEstimate, distance, estimate_weight
from zo_gym.gradient_models.gaussian_process import GaussianProcess, relative_noise
from zo_gym.gradient_models.guided_settings import GuidedGPSettings
from zo_gym.gradient_models.slope_window import add_slope


class Measurement(NamedTuple):
    """The change of f measured along an interval."""

    start: Tensor
    """The point where the interval begins, (B, d)."""
    interval: Tensor
    """The interval, (B, d)."""
    change: Tensor
    """The change of the black-box part of f along it, (B,)."""
    valid: Tensor
    """Whether that measures a slope, (B,) bool."""


class GuidedState(NamedTuple):
    """The state of the model `guided_gp`; h is the guess, w_j a the prior variance of coordinate j of the residual."""

    instance: Tensor
    """The instance that each row faces, int64 (B,)."""
    in_use: Tensor
    """Whether the guess is in use, (B,) bool."""
    process: GaussianProcess
    """The Gaussian process of the residual, in the coordinates sqrt(w) x."""
    guessed_slopes: Tensor
    """h along the axis of each stored slope, (B, r)."""
    root_weights: Tensor
    """sqrt(w), (B, d)."""
    guess: Tensor
    """h where it was computed last, (B, d)."""
    guessed_at: Tensor
    """The point where that was, (B, d); infinite before."""
    mean: Tensor
    """The predicted grad f at x, of its black-box part where there is a composite term, (B, d)."""
    move: Measurement
    """The last proposed step. It is stored as a slope one step later, when the guess at its end is known."""
    accepted: Tensor
    """Whether that step was kept, (B,) bool."""
    gap: Tensor
    """The black-box part of f at x minus its lower bound, (B,); infinite where no bound is known."""
    move_squares: Tensor
    """The running means of the squared slopes along moves, and of the squares left unexplained by h, (B, 2)."""
    random_square: Tensor
    """The running mean of the squared slopes along the most uncertain directions, (B,)."""
    probing_credit: Tensor
    """The probes due: the next step probes where this has reached 1, (B,)."""
    stalled: Tensor
    """Whether the last step did not move, (B,) bool."""
    clock: Tensor
    """The steps since the guess was last taken up or dropped, int64 (B,)."""
    penalty: L1PenaltyEstimate | None
    """The estimate of a penalty; None where none is estimated."""


def update_mean_square(settings: GuidedGPSettings, mean: Tensor, slope: Tensor) -> Tensor:
    """Return the running mean of squares with one more slope in it; the first one counts in full."""
    share = settings.averaging
    return torch.where(mean == 0, slope.square(), share * mean + (1 - share) * slope.square())


def add_move(settings: GuidedGPSettings, state: GuidedState, guess: Tensor, x: Tensor) -> GuidedState:
    """Store the slope along the last move, and compare it with what the guess predicts.

    Args:
        settings: The settings.
        state: The state, which has not stored the move yet.
        guess: h in the middle of the move, (B, d).
        x: The current points, (B, d).
    """
    move = state.move
    length = torch.linalg.vector_norm(move.interval, dim=1)
    valid = move.valid & (length > 0)
    length = torch.where(valid, length, 1.0)
    slope, guessed = move.change / length, (guess * move.interval).sum(1) / length
    slope = slope - penalty_change(settings, state, move.start, move.interval) / length
    missed = slope - fit_factors(settings, state)[0].squeeze(1) * guessed
    squares = update_mean_square(settings, state.move_squares, torch.stack([slope, missed], dim=1))
    counts = valid & state.in_use & state.process.window.filled.any(1)  # before the first slope kappa is arbitrary
    state = state._replace(move_squares=torch.where(counts.unsqueeze(1), squares, state.move_squares))
    return add_guided_slope(state, guess, move._replace(valid=valid), x)


def add_guided_slope(
    state: GuidedState, guess: Tensor, measured: Measurement, end: Tensor | None = None
) -> GuidedState:
    """Store the slope along a move or probe, with what the guess and the penalty contribute to it.

    Args:
        state: The state.
        guess: h on the way, (B, d).
        measured: The move or probe; rows where it is not valid, or its interval 0, store nothing.
        end: The current points afterwards, (B, d); None: where the interval begins.
    """
    window, scaled = state.process.window, state.root_weights * measured.interval
    length = torch.linalg.vector_norm(scaled, dim=1)
    valid = measured.valid & (length > 0)
    length = torch.where(valid, length, 1.0)
    rows = torch.arange(len(scaled), device=scaled.device)
    place = window.next_place

    def replaced(old: Tensor, new: Tensor) -> Tensor:  # (B, r), (B,)
        return old.index_put((rows, place), torch.where(valid, new, old[rows, place]))

    penalty = state.penalty
    if penalty is not None:
        rate = _distance_gained(penalty, measured.start, measured.interval) / length
        penalty = penalty._replace(rates=replaced(penalty.rates, rate))
    position = None if end is None else state.root_weights * end
    window = add_slope(window, scaled, measured.change, valid, position)
    return state._replace(
        process=state.process._replace(window=window),
        guessed_slopes=replaced(state.guessed_slopes, (guess * measured.interval).sum(1) / length),
        penalty=penalty,
    )


def _distance_gained(penalty: L1PenaltyEstimate, point: Tensor, interval: Tensor) -> Tensor:
    """Compute by how much an interval (B, d) from a point (B, d) leads away from x0, in |x - x0|_1, (B,)."""
    return distance(penalty, point + interval) - distance(penalty, point)


def penalty_change(settings: GuidedGPSettings, state: GuidedState, point: Tensor, interval: Tensor) -> Tensor:
    """Compute what the estimated penalty adds to f along an interval (B, d) from a point (B, d), (B,)."""
    if state.penalty is None:
        return torch.zeros_like(point[:, 0])
    return fit_factors(settings, state)[1].squeeze(1) * _distance_gained(state.penalty, point, interval)


def fit_factors(settings: GuidedGPSettings, state: GuidedState) -> tuple[Tensor, Tensor]:
    """Fit the factor kappa of h and the weight c of the penalty to the stored slopes, (B, 1) each; 0 where unused.

    This is weighted least squares, recent slopes first, with one pseudo-observation each of kappa = 1 and of c = 0.
    """
    window, tiny = state.process.window, torch.finfo(state.guessed_slopes.dtype).tiny
    size = window.values.shape[1]
    place = torch.arange(size, device=window.count.device)
    age = (window.count.unsqueeze(1) - 1 - place) % size
    decay = settings.slope_decay ** place.to(window.values.dtype)  # a table: a power has other bits in another batch
    recent = torch.where(window.filled, decay[age], 0.0)
    count = window.filled.sum(1).clamp_min(1)
    guessed = state.guessed_slopes
    squares = guessed.square()
    prior = settings.kappa_prior * squares.sum(1) / count
    above = (recent * guessed * window.values).sum(1) + prior
    below = (recent * squares).sum(1) + prior
    c = torch.zeros_like(below)
    if state.penalty is not None:
        rates = state.penalty.rates
        both = (recent * guessed * rates).sum(1)
        own = (recent * rates.square()).sum(1) + settings.kappa_prior * rates.square().sum(1) / count
        measured = (recent * rates * window.values).sum(1)
        determinant = below * own - both.square()
        c = torch.where(determinant > tiny, (below * measured - both * above) / determinant.clamp_min(tiny), 0.0)
        c = torch.where(state.in_use, estimate_weight(state.penalty, c), 0.0)
        above = above - c * both
    kappa = torch.where(below > 0, above / below.clamp_min(tiny), 1.0)
    return torch.where(state.in_use, kappa, 0.0).unsqueeze(1), c.unsqueeze(1)


def residual_slopes(state: GuidedState, kappa: Tensor, c: Tensor) -> Tensor:
    """Subtract the guess and the penalty with these factors (B, 1) from the stored slopes, (B, r)."""
    rest = state.process.window.values - kappa * state.guessed_slopes
    if state.penalty is not None:
        rest = rest - c * state.penalty.rates
    return torch.where(state.process.window.filled, rest, 0.0)


def residual_noise(settings: GuidedGPSettings, state: GuidedState) -> Tensor:
    """Compute D / a of the residual slopes, (B, r)."""
    share = (state.process.window.lengths / settings.curvature_length).square().square().clamp_max(1.0)
    extra = settings.slope_variance + settings.curvature_variance * share
    noise = relative_noise(state.process, settings.noise_variance)
    return noise + torch.where(state.in_use.unsqueeze(1), extra, 0.0)
