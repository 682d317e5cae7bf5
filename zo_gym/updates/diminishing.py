"""Steps of the subgradient method, whose length depends on their number alone, not on the slope."""

from __future__ import annotations

import torch
from torch import Tensor

from zo_gym.base import Estimate, State, UpdateRule
from zo_gym.checks import check_positive

HOLD = 10.0
"""The number of steps over which the length stays about the same."""
POWER = 0.6
"""The power with which it then falls: from 1/2 to 1 the sum of the lengths diverges and that of their squares does not,
as convergence needs."""


def step_length(longest: float, steps: Tensor) -> Tensor:
    """Return the length of the next step after this many (B,), (B,): longest / (1 + steps / HOLD)^POWER."""
    return longest * torch.exp(-POWER * torch.log1p(steps / HOLD))  # a power has other bits in another batch


def diminishing(learning_rate: float) -> UpdateRule:
    """Step to x' = x - s_k g / |g| with s_k = learning_rate / (1 + k / 10)^0.6; every step is accepted.

    This suits f with kinks at its minimum, such as those of a hinge or a norm: slopes do not vanish there, so steps in
    proportion to them do not settle, and a rule that rejects every step that does not lower f stops at the first kink.

    Args:
        learning_rate: s_0 > 0, the length of the first step, in units of x.

    Reference: Shor (1985), "Minimization methods for non-differentiable functions", Springer, section 2.
    """
    longest = check_positive("learning_rate", learning_rate)

    def propose(state: State, x: Tensor, fx: Tensor, estimate: Estimate) -> tuple[Tensor, State]:
        g = estimate.gradient
        norm = torch.linalg.vector_norm(g, dim=1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
        return x - step_length(longest, state).unsqueeze(1) * g / norm, state + 1

    return UpdateRule(lambda x: x.new_zeros(len(x)), propose)
