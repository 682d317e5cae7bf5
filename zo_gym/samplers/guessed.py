"""Samplers whose first direction is a guess of the gradient: the last estimate, or the gradient itself."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zo_gym.base import Sampler, State, Step
from zo_gym.directions import unit
from zo_gym.problem import Generators, Objective
from zo_gym.rng import normal


def history() -> Sampler:
    """Draw u_1 = sqrt(d) g / |g| with g the last estimate, and u_2, ..., u_q ~ N(0, I).

    Gradients of neighbouring iterates resemble each other, so g is a guess of the next one. Together with the estimator
    `span`, which projects grad f on the span of the directions, this is History-PRGF: the slope along the last estimate
    is measured anew, and q - 1 random directions complete it.

    Until there is an estimate other than 0, u_1 is random, too. With q = 1 it always is: a prior on its own would keep
    x on one line for ever. (The authors do not count the prior: their q is ours minus 1.)

    Reference: Cheng et al. (2021), "On the convergence of prior-guided zeroth-order optimization algorithms", NeurIPS,
    arXiv:2107.10110.
    """

    def sample(last: State, x: Tensor, q: int, generators: Generators) -> tuple[Tensor, State]:
        u = normal(generators, (q, x.shape[1]), like=x)
        if q == 1:
            return u, last
        known = last.ne(0).any(1, keepdim=True)  # (B, 1)
        first = torch.where(known, math.sqrt(x.shape[1]) * unit(last), u[:, 0])
        return torch.cat([first.unsqueeze(1), u[:, 1:]], dim=1), last

    def observe(last: State, step: Step) -> State:
        return step.black_box_gradient.clone()

    return Sampler(torch.zeros_like, sample, observe)


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
