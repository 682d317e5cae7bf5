"""Guided evolution strategies: directions stretched towards the span of recent gradient estimates."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from zo_gym.base import Sampler, State, Step
from zo_gym.checks import check_integer
from zo_gym.directions import orthonormalise
from zo_gym.problem import Generators
from zo_gym.registry import lookup
from zo_gym.rng import normal

Surrogates = Literal["estimates", "estimate-and-move"]

NOISE_LENGTH = 1e-3
"""The length of the noise added to a surrogate of length 1, so that zero and collinear surrogates get a direction."""


def guided_es(alpha: float = 0.5, num_surrogates: int = 2, surrogates: Surrogates = "estimates") -> Sampler:
    """Draw u = sqrt(alpha) xi + sqrt((1 - alpha) d / k) U zeta, where U is an orthonormal basis of k surrogates.

    xi ~ N(0, I_d) and zeta ~ N(0, I_k). Until k surrogates exist, and where they are collinear, random directions fill
    the basis, so that U always has rank k.

    Deviation from the source: u is sqrt(d) / sigma times theirs, so that E|u|^2 = d as for every sampler here. So
    mu = sigma / sqrt(d) probes the points that they probe; with estimator `central` the estimate is d / beta times
    theirs, so that our learning rate is theirs times beta / d.

    Args:
        alpha: The share of the variance that is isotropic, in (0, 1].
        num_surrogates: k, capped at d. Memory O(k d) per row.
        surrogates: "estimates": the last k gradient estimates. "estimate-and-move": of each step the estimate and the
            move, the newest k of them, so that k = 2 means the last g and the last x' - x, which learned optimisers
            read, too. Under plain sgd the two are collinear and half of the basis is random: there, on two
            classification problems (d = 13 and 24, 20 seeds, 5,000 queries), "estimates" ended lower by .001 to .007 in
            three of four cases and higher by .0002 in one; under Adam and momentum neither was better.

    Raises:
        TypeError, ValueError: An argument is not as described.

    Reference: Maheswaranathan et al. (2019), "Guided evolutionary strategies", ICML, arXiv:1806.10230, eq. 3 and 4.
    """
    if not 0 < alpha <= 1:
        raise ValueError(f"alpha must be in (0, 1], got {alpha}. The default is 0.5.")
    check_integer("num_surrogates", num_surrogates, 1)
    lookup(dict.fromkeys(get_args(Surrogates)), surrogates, "surrogates")

    def init(x: Tensor) -> State:
        k = min(num_surrogates, x.shape[1])
        return x.new_zeros(len(x), k, x.shape[1])

    def sample(stored: State, x: Tensor, q: int, generators: Generators) -> tuple[Tensor, State]:
        d, k = x.shape[1], stored.shape[1]
        draws = normal(generators, (q + k, d), like=x)
        xi, filler = draws[:, :q], draws[:, q:]
        scale = torch.linalg.vector_norm(stored, dim=-1, keepdim=True)
        basis = orthonormalise(
            stored / scale.clamp_min(torch.finfo(x.dtype).tiny) + NOISE_LENGTH / math.sqrt(d) * filler
        )
        zeta = normal(generators, (q, k), like=x)
        # (B, q, 1) x (B, 1, d), summed over k: a matrix product would round differently from batch to batch.
        inside = torch.zeros_like(xi)
        for j in range(k):
            inside = inside + zeta[:, :, j : j + 1] * basis[:, j : j + 1]
        return math.sqrt(alpha) * xi + math.sqrt((1 - alpha) * d / k) * inside, stored

    def observe(stored: State, step: Step) -> State:
        g = step.black_box_gradient
        latest = [g] if surrogates == "estimates" else [g, step.move]
        return torch.cat([torch.stack(latest, dim=1), stored], dim=1)[:, : stored.shape[1]]

    return Sampler(init, sample, observe)
