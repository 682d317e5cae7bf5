"""Guided evolution strategies: directions stretched towards the span of recent gradient estimates."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zo_gym.base import Estimate, Generators, Sampler, State
from zo_gym.directions import orthonormalise
from zo_gym.rng import normal

TRACE = 1e-3
"""Length of the noise added to a surrogate of length 1: gives a direction to zero and collinear ones."""


def guided(alpha: float = 0.5, num_surrogates: int = 2) -> Sampler:
    """u = sqrt(alpha) xi + sqrt((1 - alpha) d / k) U zeta, xi ~ N(0, I_d), zeta ~ N(0, I_k), U a basis of k surrogates.

    The surrogates are the last k gradient estimates. (Under sgd the last move is a multiple of the last estimate, so
    a pair of both, as learned methods use it, would span one dimension only.) Until k estimates exist, and where they
    are collinear, random directions fill the basis, so U always has rank k.

    Deviation from the source: u is sqrt(d) / sigma times as long, so that E|u|^2 = d as for every sampler here;
    with estimator `central` the estimate is d / beta times theirs, which the learning rate absorbs.

    Args:
        alpha: Share of the variance that is isotropic, in (0, 1].
        num_surrogates: k, capped at d. Memory O(k d) per row.

    Raises:
        ValueError: An argument is out of its range.

    Reference: Maheswaranathan et al. (2019), "Guided evolutionary strategies", eq. 3 and 4.
    """
    if not 0 < alpha <= 1:
        raise ValueError(f"alpha must be in (0, 1], got {alpha}.")
    if num_surrogates < 1:
        raise ValueError(f"num_surrogates must be >= 1, got {num_surrogates}.")

    def init(x: Tensor) -> State:
        k = min(num_surrogates, x.shape[1])
        return x.new_zeros(len(x), k, x.shape[1])

    def sample(surrogates: State, x: Tensor, q: int, generators: Generators) -> tuple[Tensor, State]:
        d, k = x.shape[1], surrogates.shape[1]
        draws = normal(generators, (q + k, d), like=x)
        xi, filler = draws[:, :q], draws[:, q:]
        scale = torch.linalg.vector_norm(surrogates, dim=-1, keepdim=True)
        basis = orthonormalise(surrogates / scale.clamp_min(torch.finfo(x.dtype).tiny) + TRACE / math.sqrt(d) * filler)
        zeta = normal(generators, (q, k), like=x)
        # (B, q, 1) x (B, 1, d), summed over k: a matrix product would round differently from batch to batch.
        inside = torch.zeros_like(xi)
        for j in range(k):
            inside = inside + zeta[:, :, j : j + 1] * basis[:, j : j + 1]
        return math.sqrt(alpha) * xi + math.sqrt((1 - alpha) * d / k) * inside, surrogates

    def observe(surrogates: State, estimate: Estimate, move: Tensor) -> State:
        return torch.cat([estimate.gradient[:, None, :], surrogates[:, :-1]], dim=1)

    return Sampler(init, sample, observe)
