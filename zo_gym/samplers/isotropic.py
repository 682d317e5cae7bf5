"""Samplers that prefer no direction. All satisfy E[u u^T] = I, so `forward` and `central` are unbiased."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from zo_gym.base import Sampler
from zo_gym.directions import unit
from zo_gym.problem import Generators
from zo_gym.rng import normal

Draw = Callable[[Tensor, int, Generators], Tensor]
"""Draws, at x (B, d), q and generators, directions (B, q, d)."""


def _stateless(draw: Draw) -> Sampler:
    return Sampler(
        init=lambda x: (),
        sample=lambda state, x, q, generators: (draw(x, q, generators), state),
        observe=lambda state, step: state,
    )


def _draw_gaussian(x: Tensor, q: int, generators: Generators) -> Tensor:
    return normal(generators, (q, x.shape[1]), like=x)


def _draw_sphere(x: Tensor, q: int, generators: Generators) -> Tensor:
    return math.sqrt(x.shape[1]) * unit(_draw_gaussian(x, q, generators))


def _draw_rademacher(x: Tensor, q: int, generators: Generators) -> Tensor:
    bits = [torch.randint(2, (q, x.shape[1]), generator=g, device=x.device) for g in generators]
    return (2 * torch.stack(bits) - 1).to(x.dtype)


def _draw_coordinate(x: Tensor, q: int, generators: Generators) -> Tensor:
    d = x.shape[1]
    rounds = -(-q // d)  # of whole permutations: no axis comes twice before every axis has come once
    axes = [torch.cat([torch.randperm(d, generator=g, device=x.device) for _ in range(rounds)])[:q] for g in generators]
    return math.sqrt(d) * torch.nn.functional.one_hot(torch.stack(axes), d).to(x.dtype)


def gaussian() -> Sampler:
    """Draw u ~ N(0, I).

    Reference: Nesterov and Spokoiny (2017), "Random gradient-free minimization of convex functions".
    """
    return _stateless(_draw_gaussian)


def sphere() -> Sampler:
    """Draw u uniformly on the sphere of radius sqrt(d), so that E[u u^T] = I.

    Reference: Duchi, Bartlett and Wainwright (2012), "Randomized smoothing for stochastic optimization", SIAM J. Optim.
    22, arXiv:1103.4296.
    """
    return _stateless(_draw_sphere)


def rademacher() -> Sampler:
    """Draw every u_i = +1 or -1 with equal chance, as in SPSA.

    Reference: Spall (1992), "Multivariate stochastic approximation using a simultaneous perturbation gradient
    approximation", IEEE Trans. Autom. Control 37.
    """
    return _stateless(_draw_rademacher)


def coordinate() -> Sampler:
    """Draw u = sqrt(d) e_i with i uniform; the q axes of one step are distinct as long as q <= d."""
    return _stateless(_draw_coordinate)
