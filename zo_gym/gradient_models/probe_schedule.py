"""When a guided run probes, and whether it goes on with its guess: judged by the slopes along its moves."""

from __future__ import annotations

import torch
from torch import Tensor

from zo_gym.gradient_models.guided_state import Guided

ALONE = 25
"""Steps after which every one probes first."""
LEAST = 0.1
"""Of steps, the share that probes where least is known at the least."""
GRACE, SHUT = 4, 0.1
"""Steps with a guess before it may be given up, and the share explained below which it is."""
PERIOD, OPEN = 10, 4.0
"""Steps without the guess between two looks at it; squared slope along it, over that along a random direction, above
which it is taken up again."""


def explores(state: Guided) -> Tensor:
    """Does this step probe where least is known? (B,) bool."""
    return ~state.on | due(state) | state.stuck


def due(state: Guided) -> Tensor:
    """Is a probe owed? (B,) bool. Ten tenths may add up to less than 1."""
    return state.debt > 1 - LEAST / 2


def looks(state: Guided) -> Tensor:
    """Does this step probe along the guess, as it is not in use, or has just led nowhere? (B,) bool."""
    return torch.where(state.on, state.stuck, state.clock % PERIOD == PERIOD - 1)


def explained(state: Guided) -> Tensor:
    """The share of slopes that the guess explains, from 0 to 1, (B,); 1 before any was measured."""
    measured, missed = state.along.unbind(1)
    tiny = torch.finfo(measured.dtype).tiny
    return torch.where(measured > tiny, 1 - missed / measured.clamp_min(tiny), 1.0).clamp_min(0.0)


def owed(state: Guided) -> Tensor:
    """The debt after a step, (B,): a probe pays it off, steps without one add to it."""
    d, size = state.guess.shape[1], state.guesses.shape[1]
    whole = d * state.random  # |grad f|^2, as random directions show it
    lacks = torch.where(whole > 0, 1 - state.mean.square().sum(1) / whole.clamp_min(torch.finfo(whole.dtype).tiny), 0.0)
    rate = (min(1.0, size / d) * lacks).clamp_min(LEAST)
    return torch.where(due(state), state.debt - 1, state.debt + rate)


def given_up(state: Guided) -> Tensor:
    """Rows whose guess explains too little of the slopes along moves, (B,) bool."""
    return state.on & (state.clock > GRACE) & (explained(state) < SHUT)


def taken_up(state: Guided, slopes: Tensor) -> Tensor:
    """Rows without the guess that have looked at it and found it useful, (B,) bool; slopes (B, 0 to 2) of the step."""
    if slopes.shape[1] < 2:
        return torch.zeros_like(state.on)
    return ~state.on & (slopes[:, 1].square() > OPEN * state.random)
