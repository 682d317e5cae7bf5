"""Steps whose length depends on their number alone, not on the slope: the subgradient method's."""

from __future__ import annotations

import torch
from torch import Tensor

from zo_gym.base import Estimate, State, UpdateRule
from zo_gym.checks import check_positive

HOLD, POWER = 10.0, 0.6
"""The k-th step is learning_rate / (1 + k / HOLD)^POWER long: powers from 1/2 to 1 make sums of lengths diverge, and of
their squares not."""


def diminished(longest: float, steps: Tensor) -> Tensor:
    """The length of the next step after so many (B,), (B,)."""
    return longest * torch.exp(-POWER * torch.log1p(steps / HOLD))  # a power has other bits in another batch


def diminishing(learning_rate: float) -> UpdateRule:
    """x' = x - s_k g / |g|, s_k = learning_rate / (1 + k / 10)^0.6; every move is kept.

    For f with kinks at its minimum, as those of a hinge and a norm: there slopes do not vanish, so steps in proportion
    to them do not settle, and a rule that rejects what does not lower f comes to rest on the first kink.

    Args:
        learning_rate: Length of the first step, in units of x.

    Reference: Shor (1985), "Minimization methods for non-differentiable functions", section 2.
    """
    longest = check_positive("learning_rate", learning_rate)

    def propose(state: State, x: Tensor, fx: Tensor, estimate: Estimate) -> tuple[Tensor, State]:
        g = estimate.gradient
        norm = torch.linalg.vector_norm(g, dim=1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
        return x - diminished(longest, state).unsqueeze(1) * g / norm, state + 1

    return UpdateRule(lambda x: x.new_zeros(len(x)), propose)
