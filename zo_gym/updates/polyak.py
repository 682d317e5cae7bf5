"""The Polyak step: it reaches the lower bound of f if f is linear."""

from __future__ import annotations

import torch
from torch import Tensor

from zo_gym.base import Estimate, State, UpdateRule
from zo_gym.checks import check_number, check_positive


def polyak(learning_rate: float, lower_bound: float = 0.0) -> UpdateRule:
    """Step to x' = x - s g / |g| with s = max(learning_rate, (f(x) - lower_bound) / slope along g / |g|).

    Far from the least value the length follows f, close to it the floor keeps x moving. With the true gradient of a
    convex f that attains the bound, no step leads away from a minimiser. An estimate that misses most of the gradient
    has too small a slope, and its steps are too long: this rule is for good directions, such as learned ones.

    Args:
        learning_rate: The floor > 0, a length in units of x.
        lower_bound: A lower bound of f, in units of f; 0 suits losses and norms.

    Deviation from the source: it has no floor.

    Reference: Polyak (1987), "Introduction to optimization", Optimization Software, section 5.3.
    """
    floor, least = check_positive("learning_rate", learning_rate), check_number("lower_bound", lower_bound)

    def propose(state: State, x: Tensor, fx: Tensor, estimate: Estimate) -> tuple[Tensor, State]:
        g, tiny = estimate.gradient, torch.finfo(x.dtype).tiny
        norm = torch.linalg.vector_norm(g, dim=1).clamp_min(tiny)
        slope = estimate.gain / norm
        length = torch.where(slope > tiny, (fx - least) / slope.clamp_min(tiny), 0.0).clamp_min(floor)
        return x - (length / norm).unsqueeze(1) * g, state

    return UpdateRule(lambda x: (), propose)
