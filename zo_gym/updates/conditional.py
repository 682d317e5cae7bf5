"""Steps towards the point where a model of f is least, where the known part of f makes that a formula."""

from __future__ import annotations

import torch
from torch import Tensor

from zo_gym.base import Estimate, State, UpdateRule
from zo_gym.checks import check_positive
from zo_gym.updates.diminishing import diminished, diminishing

FIRST, STRETCH, BEYOND = 100, 1.5, 0.2
"""Steps that go towards the vertex; how much longer they are than those of `diminishing`; and the share of length times
|g| that the model is lifted by, since a vertex that only just reaches the least value is approached for ever."""


def conditional(learning_rate: float) -> UpdateRule:
    """The first 100 steps: x' = x + min(1, 1.5 s_k / |v - x|) (v - x); the others as `diminishing`, with the same s_k.

    v is the vertex: where the linear model of the unknown part, cut off at the least it can be, plus the known part is
    least in the box (`zo_gym.composite.term.CompositeTerm.minimise_model`). It asks no more of a coordinate than its bounds allow, and leaves
    alone what is not worth its price, so with a good g few steps lead far. Where g is noise, so is v: subgradients do
    the rest. Without a known part that is taken exactly, it is `diminishing`.

    Args:
        learning_rate: s_0, in units of x.

    Reference: Bredies, Lorenz and Maass (2009), "A generalized conditional gradient method and its connection to an
    iterative shrinkage method"; Asi and Duchi (2019), "The importance of better models in stochastic optimization" (the
    model that is cut off).
    """
    longest = check_positive("learning_rate", learning_rate)
    later = diminishing(longest)

    def propose(state: State, x: Tensor, fx: Tensor, estimate: Estimate) -> tuple[Tensor, State]:
        target, counted = later.propose(state, x, fx, estimate)
        first = state < FIRST
        if estimate.minimise_model is None or not first.any():
            return target, counted
        length = STRETCH * diminished(longest, state)
        way = estimate.minimise_model(BEYOND * length * torch.linalg.vector_norm(estimate.gradient, dim=1)) - x
        distance = torch.linalg.vector_norm(way, dim=1).clamp_min(torch.finfo(x.dtype).tiny)
        share = (length / distance).clamp_max(1.0)
        goes = first & ~distance.isnan()
        return torch.where(goes.unsqueeze(1), x + share.unsqueeze(1) * way, target), counted

    return UpdateRule(later.init, propose)
