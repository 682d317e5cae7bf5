"""Sharpened steps: the larger a coordinate of g is, the larger its share of the step."""

from __future__ import annotations

from torch import Tensor

from zo_gym.base import Estimate, State, UpdateRule
from zo_gym.checks import check_at_least
from zo_gym.directions import sharpen


def sharpened(rule: UpdateRule, sharpness: float) -> UpdateRule:
    """Return the rule that receives, instead of g, its projection on the sharpened direction `sharpen(g, p)`.

    It suits a penalty on |x - x0|_1, which makes many small changes costlier than a few large ones. Predictions of the
    gradient elsewhere (`Estimate.gradient_at`) are withheld from the rule.

    Args:
        rule: An update rule.
        sharpness: p >= 1, else ValueError; 1 returns the rule itself.
    """
    p = check_at_least("sharpness", sharpness, 1.0)

    def aim(estimate: Estimate) -> Estimate:
        v = sharpen(estimate.gradient, p)
        slope = (estimate.gradient * v).sum(1)
        return estimate._replace(gradient=slope.unsqueeze(1) * v, gain=slope.square(), gradient_at=None)

    def propose(state: State, x: Tensor, fx: Tensor, estimate: Estimate) -> tuple[Tensor, State]:
        return rule.propose(state, x, fx, aim(estimate))

    judge = rule.judge
    if p == 1:
        return rule
    if judge is None:
        return UpdateRule(rule.init, propose)
    return UpdateRule(rule.init, propose, lambda state, fx, f_new, estimate: judge(state, fx, f_new, aim(estimate)))
