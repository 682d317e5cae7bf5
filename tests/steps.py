"""Estimates and steps made by hand, for tests of the parts that read them."""

from __future__ import annotations

import torch
from torch import Tensor

from zo_gym.base import Estimate, Iterate, Step


def estimate_of(g: Tensor) -> Estimate:
    """Return an estimate that is g (B, d), as if its slope along itself had been measured."""
    return Estimate(gradient=g, slopes=g[:, :1], gain=g.square().sum(1))


def step_of(g: Tensor, move: Tensor, change: Tensor | None = None) -> Step:
    """Return a step from 0 with the estimate g that made this move (B, d), by which f changed so much (B,)."""
    change = (g * move).sum(1) if change is None else change
    return Step(
        iterate=Iterate(x=move, fx=change, best_x=move, best_f=change, rule_state=()),
        estimate=estimate_of(g),
        directions=torch.nn.functional.normalize(g).unsqueeze(1),
        black_box_gradient=g,
        proposed_step=move,
        change=change,
    )
