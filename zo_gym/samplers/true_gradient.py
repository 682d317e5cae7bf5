"""The direction of a perfect policy: a yardstick, not a method for a black box."""

from __future__ import annotations

import torch
from torch import Tensor

from zo_gym.base import Sampler, State
from zo_gym.directions import unit
from zo_gym.problem import Generators, Objective
from zo_gym.rng import normal


def true_gradient(gradient: Objective) -> Sampler:
    """Draw u_1 = grad f(x) / |grad f(x)|, and the other directions, if q > 1, from N(0, I).

    With the estimator `span` and q = 1 a step is gradient descent whose slope is still measured, at 2 queries a step:
    the most that any choice of one direction can give. Directions beyond the first cost queries and add nothing.

    Evaluations of the gradient are not queries: no budget pays for them, and no query count shows them.

    Args:
        gradient: Computes grad f at points (B, d); (B, d). For a problem of size 1: `problem.gradients`.
    """

    def sample(state: State, x: Tensor, q: int, generators: Generators) -> tuple[Tensor, State]:
        first = unit(gradient(x).detach().to(x)).unsqueeze(1)  # (B, 1, d)
        if q == 1:
            return first, state
        return torch.cat([first, normal(generators, (q - 1, x.shape[1]), like=x)], dim=1), state

    return Sampler(init=lambda x: (), sample=sample, observe=lambda state, step: state)
