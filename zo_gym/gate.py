"""The gates of Algorithm 2: they decide when to stop sampling at random and follow the policy.

rho (eq. 3) is the cosine of the policy's one-direction estimate and a random q-direction estimate, measured at the
same x. Even the true gradient scores only about sqrt(q / (q + d + 1)), since the random estimate itself is noisy.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from zo_gym.base import Gate, State


def perfect_rho(dim: int, num_directions: int) -> float:
    """Return about the mean |rho| of the true gradient against q Gaussian directions: sqrt(q / (q + d + 1))."""
    return math.sqrt(num_directions / (num_directions + dim + 1))


def open_gate(threshold: float, dim: int, num_directions: int) -> Gate:
    """Return the gate that is always open: the policy is followed from the first step on; rho is never measured."""
    return _latch(threshold, opened=True)


def _latch(threshold: float, *, opened: bool = False) -> Gate:
    def init(rows: int, device: torch.device) -> State:
        return torch.full((rows,), opened, dtype=torch.bool, device=device)

    def update(state: State, rho: Tensor) -> State:
        return state | (rho >= threshold)  # NaN, not measured, leaves the state as it is

    return Gate(init, is_open=lambda state: state, update=update)


def paper(threshold: float, dim: int, num_directions: int) -> Gate:
    """Return the gate that opens for good once rho >= threshold (Algorithm 2), on a scale that depends on d and q."""
    return _latch(threshold)


def calibrated(threshold: float, dim: int, num_directions: int) -> Gate:
    """Return the gate `paper` with rho in units of `perfect_rho`: a threshold means the same at every d and q."""
    return _latch(threshold * perfect_rho(dim, num_directions))


def hysteresis(
    threshold: float, dim: int, num_directions: int, *, release: float = 0.5, memory: float = 0.5, period: int = 50
) -> Gate:
    """Return a gate that opens on a running mean of calibrated rho, and shuts when the mean falls.

    After every `period` policy steps an open gate measures rho again, by one random step (q + 2 queries).

    Args:
        threshold: The gate opens at mean rho / perfect_rho >= threshold.
        dim: d.
        num_directions: q.
        release: It shuts at mean rho / perfect_rho < release * threshold.
        memory: The weight of the past in the running mean, in [0, 1); it starts at 0: one lucky rho opens no gate.
        period: The policy steps between two measurements.
    """
    perfect = perfect_rho(dim, num_directions)

    def init(rows: int, device: torch.device) -> State:
        mean = torch.zeros(rows, dtype=torch.float64, device=device)
        opened = torch.zeros(rows, dtype=torch.bool, device=device)
        since = torch.zeros(rows, dtype=torch.int64, device=device)  # policy steps since the last measurement
        return mean, opened, since

    def is_open(state: State) -> Tensor:
        _, opened, since = state
        return opened & (since < period)

    def update(state: State, rho: Tensor) -> State:
        mean, opened, since = state
        measured = ~rho.isnan()
        score = rho.nan_to_num() / perfect
        mean = torch.where(measured, memory * mean + (1 - memory) * score, mean)
        opened = torch.where(opened, mean >= release * threshold, mean >= threshold)
        return mean, opened, torch.where(measured, 0, since + 1)

    return Gate(init, is_open, update)


GATES: dict[str, Callable[[float, int, int], Gate]] = {
    "open": open_gate,
    "paper": paper,
    "calibrated": calibrated,
    "hysteresis": hysteresis,
}
"""Makes a gate by name, from (threshold, d, q)."""
