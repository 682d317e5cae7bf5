"""Matrix products whose row i has the same bits in every batch, and the sums that go with them.

A row of a vector environment must equal the scalar environment exactly, so f(X)[i] must equal f(X[i:i+1])[0] bit for
bit. On the CPU that rules out much of the obvious code:

* BLAS uses another order of summation in the last (rows mod 4) rows, and where a row does not start on a cache line, so
  every operand of a `LinearMap` is padded with zeros: rows to a multiple of 4, columns to whole lines;
* sigmoid, softplus and fused multiply-adds round otherwise in a vector's tail; exp, log1p, sin and + - x / do not;
* a lone long row is summed in pieces, one a thread, but its 2-norm is not, so sums of non-negative terms are 2-norms
  here; and the norm, too, depends on whether the row lies contiguous in memory.

Nothing of this is promised on other devices.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from zo_gym.problem import Objective

_BLAS_ROWS = 4
"""The rows that BLAS kernels compute together."""
_LONG, _BLOCK = 256, 64
"""On some processors BLAS splits a sum of more than 256 terms otherwise where it computes more than 64 rows."""
LINE = 16
"""The elements of a cache line of 64 bytes in float32; two lines in float64."""
_SPARSE_DENSITY = 0.2
"""The share of non-zeros below which the sparse product is the faster one."""


class LinearMap(NamedTuple):
    """A matrix A (n, d) as two batched functions; both return fresh memory that the caller may overwrite."""

    apply: Objective
    """Computes A w, w (m, d) -> (m, n), batch-invariant."""
    adjoint: Objective
    """Computes A^T r, r (m, n) -> (m, d), batch-invariant."""


def linear_map(matrix: Tensor) -> LinearMap:
    """Return A as a `LinearMap`, dense or sparse, whichever is quicker for its share of non-zeros."""
    if torch.count_nonzero(matrix) < _SPARSE_DENSITY * matrix.numel():
        rows, columns = _csr(matrix), _csr(matrix.T)
        return LinearMap(lambda w: _sparse_product(rows, w), lambda r: _sparse_product(columns, r))
    n, d = matrix.shape
    forward, backward = padded(matrix.T.contiguous()), padded(matrix)
    return LinearMap(lambda w: padded_product(w, forward)[:, :n], lambda r: padded_product(r, backward)[:, :d])


def squared_norm(rows: Tensor) -> Tensor:
    """Sum the squares of each row, (m, n) -> (m,), batch-invariant."""
    return norm(rows).square_()


def norm(rows: Tensor) -> Tensor:
    """Compute the Euclidean norm of each row, (m, n) -> (m,), batch-invariant."""
    lengths: Tensor = torch.linalg.vector_norm(rows if rows.stride(-1) == 1 else rows.contiguous(), dim=-1)
    return lengths


def random_rotation(dim: int, generator: torch.Generator) -> Tensor:
    """Draw an orthogonal matrix (dim, dim), float64, from the Haar measure.

    Reference: Mezzadri (2007), "How to generate random matrices from the classical compact groups", Notices AMS 54,
    arXiv:math-ph/0609050 (the signs).
    """
    q, r = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64))
    rotation: Tensor = q * r.diagonal().sign()  # the signs make the factorisation unique, hence Q uniform
    return rotation


def padded(right: Tensor) -> Tensor:
    """Copy the right factor (k, n) of products with zeros below and to the right, both to whole cache lines."""
    return _pad(right, LINE)


def padded_product(left: Tensor, right: Tensor) -> Tensor:
    """Multiply (m, k) x (k, n) -> (m, n padded to whole lines), batch-invariant; `right` is what `padded` returned."""
    rows = _pad(left, _BLAS_ROWS)
    if right.shape[0] <= _LONG or len(rows) <= _BLOCK:
        product: Tensor = torch.mm(rows, right)
    else:
        product = torch.cat([torch.mm(part, right) for part in torch.split(rows, _BLOCK)])
    return product[: left.shape[0]]


def _pad(matrix: Tensor, rows: int) -> Tensor:
    """Copy a matrix with zeros below and to the right: a multiple of `rows` by a multiple of `LINE`."""
    copy: Tensor = pad(matrix, (0, -matrix.shape[1] % LINE, 0, -matrix.shape[0] % rows))
    return copy


def _sparse_product(matrix: Tensor, vectors: Tensor) -> Tensor:
    """Multiply a CSR matrix (n, k) with vectors (m, k); (m, n), contiguous."""
    m = len(vectors)
    # Some processors let MKL take another kernel where the columns are a multiple of 4: one column more avoids it.
    columns = vectors.T.contiguous() if m % _BLAS_ROWS else pad(vectors.T, (0, 1))
    product: Tensor = torch.mm(matrix, columns)[:, :m]
    return product.T.contiguous()


def _csr(matrix: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says once that its CSR layout is in beta
        csr = matrix.to_sparse_csr()
        # 32-bit indices: MKL takes them as they are and would convert 64-bit ones at every product
        narrow: Tensor = torch.sparse_csr_tensor(
            csr.crow_indices().int(), csr.col_indices().int(), csr.values(), csr.shape, device=matrix.device
        )
        return narrow
