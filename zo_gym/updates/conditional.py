"""Steps towards the minimiser of a model of f, where a composite term gives that a formula."""

from __future__ import annotations

import torch
from torch import Tensor

from zo_gym.base import Estimate, State, UpdateRule
from zo_gym.checks import check_positive
from zo_gym.updates.diminishing import diminishing, step_length

FIRST_STEPS = 100
"""The number of steps that go towards the minimiser of the model."""
STRETCH = 1.5
"""Their length, in lengths of the steps of `diminishing`."""
LIFT = 0.2
"""The height by which the model of the black-box part is lifted, in step length times |g|: a minimiser that only just
reaches its lower bound would be approached for ever. Chosen, as the two above, on MNIST attacks of the split
"validation"."""


def conditional(learning_rate: float) -> UpdateRule:
    """Step for 100 steps to x' = x + min(1, 1.5 s_k / |v - x|) (v - x), then as `diminishing`, with the same s_k.

    v minimises, in the box, the linear model of the black-box part, cut off at its lower bound, plus the composite term
    (`zo_gym.composite.term.CompositeTerm.minimise_model`). It moves no coordinate beyond its bounds, and only those
    whose slope outweighs the term, so with a good g few steps lead far. Where g is noise, so is v: then subgradients
    are better. Where no composite term is taken exactly, the rule is `diminishing`.

    Args:
        learning_rate: s_0 > 0, a length in units of x.

    References: Bredies, Lorenz and Maass (2009), "A generalized conditional gradient method and its connection to an
    iterative shrinkage method", Comput. Optim. Appl. 42; Asi and Duchi (2019), "The importance of better models in
    stochastic optimization", PNAS 116, arXiv:1903.08619 (the cut-off model).
    """
    longest = check_positive("learning_rate", learning_rate)
    later = diminishing(longest)

    def propose(state: State, x: Tensor, fx: Tensor, estimate: Estimate) -> tuple[Tensor, State]:
        target, counted = later.propose(state, x, fx, estimate)
        first = state < FIRST_STEPS
        if estimate.minimise_model is None or not first.any():
            return target, counted
        length = STRETCH * step_length(longest, state)
        way = estimate.minimise_model(LIFT * length * torch.linalg.vector_norm(estimate.gradient, dim=1)) - x
        distance = torch.linalg.vector_norm(way, dim=1).clamp_min(torch.finfo(x.dtype).tiny)
        share = (length / distance).clamp_max(1.0)
        goes = first & ~distance.isnan()
        return torch.where(goes.unsqueeze(1), x + share.unsqueeze(1) * way, target), counted

    return UpdateRule(later.init, propose)
