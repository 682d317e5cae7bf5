"""The Polyak step: as long as the distance to the least value that f can have, if f were linear."""

from __future__ import annotations

import torch
from torch import Tensor

from zo_gym.base import Estimate, State, UpdateRule
from zo_gym.checks import check_number, check_positive


def polyak(learning_rate: float, lower_bound: float = 0.0) -> UpdateRule:
    """x' = x - s g / |g| with s = max(learning_rate, (f(x) - lower_bound) / slope), the slope measured along g / |g|.

    Far from the least value the step follows f, close to it the floor keeps x moving. A convex f with this least value
    and its true gradient would never get farther from a minimiser; an estimate that misses most of the gradient has
    too small a slope, and its steps are too long: this rule is for directions that are good, as a learned one is.

    Args:
        learning_rate: The floor, a length in units of x.
        lower_bound: What f cannot be less than; 0 suits losses and norms.

    Reference: Polyak (1987), "Introduction to optimization", section 5.3; the floor is this package's.
    """
    floor, least = check_positive("learning_rate", learning_rate), check_number("lower_bound", lower_bound)

    def propose(state: State, x: Tensor, fx: Tensor, estimate: Estimate) -> tuple[Tensor, State]:
        g, tiny = estimate.gradient, torch.finfo(x.dtype).tiny
        norm = torch.linalg.vector_norm(g, dim=1).clamp_min(tiny)
        slope = estimate.gain / norm
        length = torch.where(slope > tiny, (fx - least) / slope.clamp_min(tiny), 0.0).clamp_min(floor)
        return x - (length / norm).unsqueeze(1) * g, state

    return UpdateRule(lambda x: (), propose)
