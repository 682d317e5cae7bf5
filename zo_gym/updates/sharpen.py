"""Sharpened steps: the larger a coordinate of g, the more of the move it gets."""

from __future__ import annotations

import torch
from torch import Tensor

from zo_gym.base import Estimate, State, UpdateRule
from zo_gym.checks import check_at_least
from zo_gym.directions import unit


def sharpen(g: Tensor, sharpness: float | Tensor) -> Tensor:
    """g_i (|g_i| / max |g|)^(p - 1), scaled to length 1; 0 stays 0.

    Args:
        g: (B, d).
        sharpness: p >= 1, a number or (B, 1). 1 leaves the direction of g; infinity would leave its largest coordinate.
    """
    largest = g.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(g.dtype).tiny)
    return unit(g * (g.abs() / largest) ** (sharpness - 1))


def sharpened(rule: UpdateRule, sharpness: float) -> UpdateRule:
    """The rule, fed with the projection of g on its sharpened direction.

    It suits a penalty on |x - x0|_1, which makes many small changes dearer than a few large ones.

    Args:
        rule: Any.
        sharpness: p >= 1; 1 is the rule itself.

    Raises:
        ValueError: p < 1.
    """
    p = check_at_least("sharpness", sharpness, 1.0)

    def aim(estimate: Estimate) -> Estimate:
        v = sharpen(estimate.gradient, p)
        slope = (estimate.gradient * v).sum(1)
        return estimate._replace(gradient=slope.unsqueeze(1) * v, gain=slope.square())

    def propose(state: State, x: Tensor, fx: Tensor, estimate: Estimate) -> tuple[Tensor, State]:
        return rule.propose(state, x, fx, aim(estimate))

    judge = rule.judge
    if p == 1:
        return rule
    if judge is None:
        return UpdateRule(rule.init, propose)
    return UpdateRule(rule.init, propose, lambda state, fx, f_new, estimate: judge(state, fx, f_new, aim(estimate)))
