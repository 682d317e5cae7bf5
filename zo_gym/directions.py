"""Linear algebra on batches of directions (B, q, d)."""

from __future__ import annotations

import torch
from torch import Tensor

ALIGNMENT = 16
"""Elements: 64 bytes of float32, the widest vector registers."""


def unit(u: Tensor) -> Tensor:
    """u / |u| over the last dimension; 0 stays 0."""
    norm = torch.linalg.vector_norm(u, dim=-1, keepdim=True)
    return u / norm.clamp_min(torch.finfo(u.dtype).tiny)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """cos of the angle between a and b over the last dimension, (B, d) x (B, d) -> (B,); 0 where one of them is 0."""
    return (unit(a) * unit(b)).sum(-1)


def orthonormalise(u: Tensor) -> Tensor:
    """An orthonormal basis of the span of the directions (B, q, d), row by row; q <= d.

    The first basis vector is +- the first direction. A zero direction stays zero where q = 1.

    Raises:
        ValueError: q > d.
    """
    q, d = u.shape[1:]
    if q == 1:
        return unit(u)
    if q > d:
        raise ValueError(f"estimator 'span' needs num_directions <= dim, got {q} > {d}. Lower num_directions.")
    # Zeros at the end put every row's matrix at the same memory alignment, which LAPACK's rounding depends on.
    padded = torch.nn.functional.pad(u, (0, -d % ALIGNMENT))
    basis, _ = torch.linalg.qr(padded.mT)  # (B, d + zeros, q)
    return basis[:, :d].mT.contiguous()
