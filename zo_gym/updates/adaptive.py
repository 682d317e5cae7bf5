"""An update rule that finds its own step size: it accepts or rejects each move by the value it reached."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from zo_gym.base import Estimate, State, UpdateRule
from zo_gym.checks import check_positive

REJECTED, GOOD, POOR = 0.5, 1.15, 0.9
"""The factors of eta after a rejected move, after a good one, and after one that is neither."""
GOOD_RATIO = 0.4
"""Actual / predicted decrease above which a move is good."""


@cache
def _factors(dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor([REJECTED, POOR, GOOD], dtype=dtype, device=device)


def adaptive(learning_rate: float) -> UpdateRule:
    """Step to x' = x - eta g if that lowers f; adapt eta to how well the linear model predicted the decrease.

    With predicted = eta (grad f . g), which the step's own slopes measure, and actual = f(x) - f(x'):
    actual <= 0: the move is rejected and eta halves; actual / predicted > 0.4: eta grows by 15 %; else it shrinks by
    10 %. It needs no query beyond f(x'). Under noise a lucky value can be kept: see `reevaluate`.

    Args:
        learning_rate: The first eta > 0; a wrong one costs a handful of steps.
    """
    first = check_positive("learning_rate", learning_rate)

    def init(x: Tensor) -> State:
        return x.new_full((len(x), 1), first)

    def propose(eta: State, x: Tensor, fx: Tensor, estimate: Estimate) -> tuple[Tensor, State]:
        return x - eta * estimate.gradient, eta

    def judge(eta: State, fx: Tensor, f_new: Tensor, estimate: Estimate) -> tuple[Tensor, State]:
        actual = fx - f_new
        accepted = actual > 0
        good = actual > GOOD_RATIO * eta.squeeze(1) * estimate.gain
        # A good move is an accepted one (the gain is never negative), so the sum is the index of its factor.
        factor = _factors(eta.dtype, eta.device)[accepted.long() + (accepted & good).long()]
        return accepted, eta * factor.unsqueeze(1)

    return UpdateRule(init, propose, judge)
