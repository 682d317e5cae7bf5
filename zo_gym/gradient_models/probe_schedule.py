"""Decides, by the slopes along moves, when a guided run probes, and when it drops or takes up its guess."""

from __future__ import annotations

import torch
from torch import Tensor

from zo_gym.gradient_models.guided_settings import GuidedGPSettings
from zo_gym.gradient_models.guided_state import GuidedState


def count_probes(settings: GuidedGPSettings, state: GuidedState) -> Tensor:
    """Return how many directions each row probes in this step, int64 (B,): 0, 1 or 2."""
    one = probes_uncertain(settings, state) | (state.clock >= settings.first_steps)
    return one.long() + probes_guess(settings, state).long()


def probes_uncertain(settings: GuidedGPSettings, state: GuidedState) -> Tensor:
    """Tell which rows probe where the model is most uncertain in this step, (B,) bool."""
    return ~state.in_use | has_credit(settings, state) | state.stalled


def has_credit(settings: GuidedGPSettings, state: GuidedState) -> Tensor:
    """Return True where the accumulated probing credit has reached one probe, (B,).

    The threshold is 1 - least_probe_rate / 2 because ten additions of 0.1 sum to slightly less than 1.
    """
    return state.probing_credit > 1 - settings.least_probe_rate / 2


def probes_guess(settings: GuidedGPSettings, state: GuidedState) -> Tensor:
    """Tell which rows probe along the guess in this step, (B,) bool.

    Rows that use the guess do so where its last move led nowhere, the others once in `look_period` steps.
    """
    period = settings.look_period
    return torch.where(state.in_use, state.stalled, state.clock % period == period - 1)


def explained_share(state: GuidedState) -> Tensor:
    """Compute the share of the squared slopes along moves that the guess explains, from 0 to 1, (B,).

    It is 1 before any slope was measured. It needs no scale and no query: it is near 1 for a guess that is good, or
    wrong in sign or length alone, and near 0 for one that is unrelated to the gradient.
    """
    measured, missed = state.move_squares.unbind(1)
    tiny = torch.finfo(measured.dtype).tiny
    return torch.where(measured > tiny, 1 - missed / measured.clamp_min(tiny), 1.0).clamp_min(0.0)


def update_credit(settings: GuidedGPSettings, state: GuidedState) -> Tensor:
    """Return the probing credit after a step, (B,): a probe costs 1, a step without one earns a share of 1.

    The share is |grad f|^2 that the prediction lacks, times min(1, r / d), what the stored slopes can hold of it, and
    no less than `least_probe_rate`. d times the mean squared slope along random directions estimates |grad f|^2.
    """
    d, size = state.guess.shape[1], state.guessed_slopes.shape[1]
    whole = d * state.random_square
    tiny = torch.finfo(whole.dtype).tiny
    lacking = torch.where(whole > 0, 1 - state.mean.square().sum(1) / whole.clamp_min(tiny), 0.0)
    rate = (min(1.0, size / d) * lacking).clamp_min(settings.least_probe_rate)
    return torch.where(has_credit(settings, state), state.probing_credit - 1, state.probing_credit + rate)


def drops_guess(settings: GuidedGPSettings, state: GuidedState) -> Tensor:
    """Tell which rows drop their guess, since it explains too little of the slopes along moves, (B,) bool."""
    late = state.clock > settings.grace_steps
    return state.in_use & late & (explained_share(state) < settings.drop_share)


def takes_up_guess(settings: GuidedGPSettings, state: GuidedState, slopes: Tensor) -> Tensor:
    """Tell which rows take up their guess again, as a probe along it was steep, (B,) bool.

    Args:
        settings: The settings.
        state: The state.
        slopes: The slopes of the step's probes, (B, 0 to 2); the second one is along the guess.
    """
    if slopes.shape[1] < 2:
        return torch.zeros_like(state.in_use)
    return ~state.in_use & (slopes[:, 1].square() > settings.return_ratio * state.random_square)
