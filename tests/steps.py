"""Estimates and steps made by hand, for tests of the parts that are fed with them."""

from __future__ import annotations

import torch
from torch import Tensor

from zo_gym.base import Estimate, Iterate, Step


def estimate_of(g: Tensor) -> Estimate:
    """An estimate that is g (B, d), as if its slope along itself had been measured."""
    return Estimate(g, g[:, :1], g.square().sum(1))


def step_of(g: Tensor, move: Tensor, change: Tensor | None = None) -> Step:
    """A step with the estimate g that made this move (B, d), by which f changed so much (B,)."""
    lost = (g * move).sum(1) if change is None else change
    at = Iterate(move, lost, move, lost, ())
    return Step(at, estimate_of(g), torch.nn.functional.normalize(g).unsqueeze(1), g, move, lost, None, None, None)
