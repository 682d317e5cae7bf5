"""Linear algebra on batches of directions (B, q, d)."""

from __future__ import annotations

import torch
from torch import Tensor


def unit(u: Tensor) -> Tensor:
    """Return u / |u| over the last dimension; 0 stays 0."""
    norm = torch.linalg.vector_norm(u, dim=-1, keepdim=True)
    return u / norm.clamp_min(torch.finfo(u.dtype).tiny)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Return the cosine between a and b over the last dimension, (B, d) x (B, d) -> (B,); 0 where one of them is 0."""
    return (unit(a) * unit(b)).sum(-1)


def sharpen(g: Tensor, sharpness: float | Tensor) -> Tensor:
    """Return the vector of all g_i (|g_i| / max |g|)^(p - 1), scaled to length 1; 0 stays 0.

    Args:
        g: The vectors, (B, d).
        sharpness: p >= 1, a number or (B, 1). 1 keeps the direction of g; infinity would keep its largest entry.
    """
    largest = g.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(g.dtype).tiny)
    share = g.abs() / largest
    if isinstance(sharpness, Tensor) or sharpness != 2.0:
        power = torch.as_tensor(sharpness - 1, dtype=g.dtype, device=g.device)
        share = torch.exp(torch.xlogy(power, share))  # `**` has other bits in another batch
    return unit(g * share)


def orthonormalise(u: Tensor) -> Tensor:
    """Return an orthonormal basis of the span of the directions (B, q, d), row by row; q > d raises ValueError.

    This is Gram-Schmidt with each vector projected and normalised twice, from operations that give a row the same bits
    in every batch; LAPACK's QR does not, and its threads cost more than they save on such small matrices. The first
    basis vector has the first direction; one that depends linearly on the earlier ones is 0.

    Reference: Giraud et al. (2005), "Rounding error analysis of the classical Gram-Schmidt orthogonalization process",
    Numer. Math. 101 (twice is enough).
    """
    q, d = u.shape[1:]
    if q == 1:
        return unit(u)
    if q > d:
        raise ValueError(f"estimator 'span' needs num_directions <= dim, got {q} > {d}. Lower num_directions.")
    basis = torch.zeros_like(u)
    tolerance = torch.finfo(u.dtype).eps ** (2 / 3)
    for i in range(q):
        v = unit(u[:, i])
        done = basis[:, :i]
        for _ in range(2 if i else 0):
            along = (done * v.unsqueeze(1)).sum(-1, keepdim=True)  # (B, i, d) x (B, 1, d) -> (B, i, 1)
            v = v - (along * done).sum(1)
            rest = torch.linalg.vector_norm(v, dim=-1, keepdim=True)  # of a unit vector: rounding error if tiny
            v = torch.where(rest > tolerance, v / rest, 0.0)
        basis[:, i] = v
    return basis
