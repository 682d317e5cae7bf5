"""Bounds as a composite term: nothing is added to f, and no step and no probe leaves the box."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zo_gym.composite.term import RowTerm
from zo_gym.space import Box


def box_term(box: Box) -> RowTerm:
    """Return the term of a box in which all rows lie."""
    lower, upper = box

    def subgradient(x: Tensor, g: Tensor) -> Tensor:
        lowest = torch.where(x >= upper, 0.0, -math.inf).to(x)  # at a bound no step along -slope may leave the box
        highest = torch.where(x <= lower, 0.0, math.inf).to(x)
        return g.clamp(lowest, highest)

    def reflect(x: Tensor, directions: Tensor, smoothing: float) -> Tensor:
        probes = x.unsqueeze(1) + smoothing * directions
        return torch.where((probes < lower) | (probes > upper), -directions, directions)

    return RowTerm(
        value=None,
        subgradient=subgradient,
        project_step=lambda x, target, g: box.inside(target),
        minimise_model=None,
        inside=box.inside,
        reflect=reflect,
    )
