"""Steps whose length depends on their number alone: along -g, or towards the minimiser of a model of f."""

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
FIRST_STEPS = 100
"""The number of steps of `conditional_gradient` that go towards the minimiser of the model."""
STRETCH = 1.5
"""Their length, in lengths of the steps of `diminishing`."""
LIFT = 0.2
"""The height by which the model of the black-box part is lifted, in step length times |g|: a minimiser that only just
reaches its lower bound would be approached for ever. Chosen, as the two above, on validation attacks."""


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


def conditional_gradient(learning_rate: float) -> UpdateRule:
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
