"""The fit of a guess, a penalty and a Gaussian process to the stored slopes of a guided run, and its prediction."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zo_gym.composite.l1_penalty_estimate import estimate_weight, penalty_term
from zo_gym.composite.term import RowTerm
from zo_gym.gradient_models.gp_posterior import (
    LENGTH_SCALE,
    Posterior,
    combine,
    condition,
    initialise_amplitude,
    likely_amplitude,
    relative_noise,
    solve,
)
from zo_gym.gradient_models.guided_settings import GuidedGPSettings
from zo_gym.gradient_models.guided_state import GuidedState, add_guided_slope, distance_gained


def spatial_prior(settings: GuidedGPSettings, guess: Tensor) -> Tensor:
    """Return w (B, d) for guesses h (B, d), with mean 1 in every row; 1 where there is no image (H, W) behind x."""
    shape = settings.shape
    if shape is None or len(shape) != 2:
        return torch.ones_like(guess)
    energy = _blur(guess.square().view(-1, 1, *shape), settings.prior_blur * shape[1]).flatten(1)
    mean = energy.mean(1, keepdim=True)
    w = torch.where(mean > 0, energy / mean.clamp_min(torch.finfo(mean.dtype).tiny), 1.0) + settings.prior_floor
    return w / (1 + settings.prior_floor)


def _blur(images: Tensor, std: float) -> Tensor:
    """Convolve images (B, 1, H, W) with a Gaussian of this standard deviation in pixels; they are 0 outside."""
    reach = math.ceil(3 * std)
    line = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    bell = torch.exp(-line.square() / (2 * std**2))
    bell = bell / bell.sum()
    across = torch.nn.functional.conv2d(images, bell.view(1, 1, 1, -1), padding=(0, reach))
    return torch.nn.functional.conv2d(across, bell.view(1, 1, -1, 1), padding=(reach, 0))


def penalty_change(settings: GuidedGPSettings, state: GuidedState, point: Tensor, interval: Tensor) -> Tensor:
    """Compute what the estimated penalty adds to f along an interval (B, d) from a point (B, d), (B,)."""
    if state.penalty is None:
        return torch.zeros_like(point[:, 0])
    return fit_factors(settings, state)[1].squeeze(1) * distance_gained(state.penalty, point, interval)


def fit_factors(settings: GuidedGPSettings, state: GuidedState) -> tuple[Tensor, Tensor]:
    """Fit the factor kappa of h and the weight c of the penalty to the stored slopes, (B, 1) each; 0 where unused.

    This is weighted least squares, recent slopes first, with one pseudo-observation each of kappa = 1 and of c = 0.
    """
    window, tiny = state.process.window, torch.finfo(state.guessed_slopes.dtype).tiny
    size = window.values.shape[1]
    place = torch.arange(size, device=window.num_stored.device)
    age = (window.num_stored.unsqueeze(1) - 1 - place) % size
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


def predict(settings: GuidedGPSettings, state: GuidedState, x: Tensor) -> tuple[GuidedState, Posterior]:
    """Predict the gradient at x (B, d) from the guess and all stored slopes: the state's mean."""
    kappa, c = fit_factors(settings, state)
    residuals = residual_slopes(state, kappa, c)
    state = state._replace(process=initialise_amplitude(state.process, residuals))
    noise = residual_noise(settings, state)
    scale = torch.where(state.in_use, settings.length_scale, LENGTH_SCALE).to(x).unsqueeze(1)
    window = state.process.window
    at = condition(window, state.root_weights * x, noise, settings.smoothing, scale)
    weights = solve(at, residuals)
    rest = state.root_weights * combine(at.columns, window, weights)
    if not settings.memory:
        rest = torch.where(state.in_use.unsqueeze(1), 0.0, rest)
    steep = (state.gap > settings.flat).unsqueeze(1)
    mean = torch.where(steep, kappa * state.guess + rest, 0.0)
    amplitude = likely_amplitude(at, residuals, weights, noise)
    return state._replace(mean=mean, process=state.process._replace(amplitude=amplitude)), at


def estimated_term(settings: GuidedGPSettings, state: GuidedState) -> RowTerm:
    """Return the estimated penalty as a composite term."""
    assert state.penalty is not None
    return penalty_term(state.penalty, fit_factors(settings, state)[1].squeeze(1), state.in_use)


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
