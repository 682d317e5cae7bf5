"""The cosine gate of Algorithm 2: when to stop sampling at random and follow the policy.

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
    """About what |rho| averages for the true gradient against q Gaussian directions: sqrt(q / (q + d + 1))."""
    return math.sqrt(num_directions / (num_directions + dim + 1))


def open_gate(threshold: float, dim: int, num_directions: int) -> Gate:
    """Always open: the policy from the first step on; rho is never measured."""

    def init(rows: int, device: torch.device) -> State:
        return torch.ones(rows, dtype=torch.bool, device=device)

    return Gate(init, is_open=lambda state: state, update=lambda state, rho: state)


def _latch(threshold: float) -> Gate:
    def init(rows: int, device: torch.device) -> State:
        return torch.zeros(rows, dtype=torch.bool, device=device)

    def update(state: State, rho: Tensor) -> State:
        return state | (rho >= threshold)  # NaN, not measured, leaves the state as it is

    return Gate(init, is_open=lambda state: state, update=update)


def paper(threshold: float, dim: int, num_directions: int) -> Gate:
    """Opens for good once rho >= threshold (Algorithm 2): a one-way latch on a scale that depends on d and q."""
    return _latch(threshold)


def calibrated(threshold: float, dim: int, num_directions: int) -> Gate:
    """The latch with rho measured in units of `perfect_rho`, so that one threshold means the same at every d and q."""
    return _latch(threshold * perfect_rho(dim, num_directions))


def hysteresis(
    threshold: float, dim: int, num_directions: int, *, release: float = 0.5, memory: float = 0.5, period: int = 50
) -> Gate:
    """Opens on a running mean of calibrated rho, looks again every `period` policy steps, and shuts where it fell.

    A look is one random step (q + 2 queries) that also probes the policy.

    Args:
        threshold: Opens at mean rho / perfect_rho >= threshold.
        dim: d.
        num_directions: q.
        release: Shuts at mean rho / perfect_rho < release * threshold.
        memory: Weight of the past in the running mean, in [0, 1); it starts at 0, so luck alone does not open it.
        period: Policy steps between looks.
    """
    perfect = perfect_rho(dim, num_directions)

    def init(rows: int, device: torch.device) -> State:
        mean = torch.zeros(rows, dtype=torch.float64, device=device)
        trusted = torch.zeros(rows, dtype=torch.bool, device=device)
        since = torch.zeros(rows, dtype=torch.int64, device=device)  # policy steps since the last look
        return mean, trusted, since

    def is_open(state: State) -> Tensor:
        _, trusted, since = state
        return trusted & (since < period)

    def update(state: State, rho: Tensor) -> State:
        mean, trusted, since = state
        looked = ~rho.isnan()
        score = rho.nan_to_num() / perfect
        mean = torch.where(looked, memory * mean + (1 - memory) * score, mean)
        trusted = torch.where(trusted, mean >= release * threshold, mean >= threshold)
        return mean, trusted, torch.where(looked, 0, since + 1)

    return Gate(init, is_open, update)


GATES: dict[str, Callable[[float, int, int], Gate]] = {
    "open": open_gate,
    "paper": paper,
    "calibrated": calibrated,
    "hysteresis": hysteresis,
}
"""(threshold, d, q) -> gate."""
