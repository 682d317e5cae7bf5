"""Non-convex binary classification, the first experiment of Anonymous (2022), section 4.3.

    f(w) = (1/n) sum_i (y_i - 1 / (1 + exp(-w . x_i)))^2,    x0 ~ N(0, I) / sqrt(d)

The labels are y in {-1, +1} as the paper prints them, although the model's output lies in (0, 1): the negative class is
never fitted better than (-1 - 0)^2 = 1. `labels="01"` is the usual least squares instead. No intercept is added.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from zo_gym.batch_invariant import linear_map, squared_norm
from zo_gym.datasets import load_breast_cancer, load_libsvm
from zo_gym.problem import Problem, in_chunks, single_problem
from zo_gym.registry import lookup
from zo_gym.rng import random_start

NEGATIVE_LABEL = {"pm1": -1.0, "01": 0.0}
"""The option `labels` -> the number that codes the negative class."""


def breast_cancer(
    *, labels: str = "pm1", dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> Problem:
    """Make the problem on Wisconsin breast cancer (569 x 30, standardised, bundled with scikit-learn); +1 is benign.

    For the options see `classification`.
    """
    features, targets = load_breast_cancer()
    return classification("breast_cancer", features, targets, labels=labels, dtype=dtype, device=device)


def libsvm(
    name: str, *, labels: str = "pm1", dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> Problem:
    """Make the problem on a LIBSVM set: heart_scale (d = 13), german.numer_scale (24) or a9a (123).

    For the options see `classification`, for the errors `zo_gym.datasets.locate`.
    """
    features, targets = load_libsvm(name)
    return classification(name, features.toarray(), targets, labels=labels, dtype=dtype, device=device)


def classification(
    name: str,
    features: np.ndarray,
    targets: np.ndarray,
    *,
    labels: str = "pm1",
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Problem:
    """Make the paper's objective on any data.

    Examples that occur more than once are evaluated once and weighted, which changes f by rounding only.

    Args:
        name: The name that figures use.
        features: x_i as rows, (n, d).
        targets: Classes in {-1, +1}, (n,).
        labels: "pm1" for y in {-1, +1} as printed in the paper, "01" for y in {0, 1}.
        dtype: Type of w and f.
        device: Where f is evaluated.

    Raises:
        ValueError: `labels` is unknown, or a target is neither -1 nor +1.
    """
    negative = lookup(NEGATIVE_LABEL, labels, "labels option")
    strange = targets[np.abs(targets) != 1]
    if strange.size:
        raise ValueError(f"targets must be -1 or +1, got {strange[0]}. Map the classes to -1 and +1 first.")
    n, d = features.shape
    rows = np.column_stack([features, targets])
    keys = rows.view(np.dtype((np.void, rows.itemsize * (d + 1)))).ravel()  # bytes: several times quicker
    _, first, counts = np.unique(keys, return_index=True, return_counts=True)
    examples = rows[first]
    minus_x = torch.as_tensor(-examples[:, :-1]).to(device, dtype)
    y = torch.as_tensor(np.where(examples[:, -1] > 0, 1.0, negative)).to(device, dtype)
    root_weight = torch.as_tensor(np.sqrt(counts / n)).to(device, dtype)
    product = linear_map(minus_x)

    def sigmoid(w: Tensor) -> Tensor:  # (m, d) -> (m, n)
        return product.apply(w).exp_().add_(1.0).reciprocal_()

    def fun(w: Tensor) -> Tensor:  # (m, d) -> (m,)
        return squared_norm(sigmoid(w).sub_(y).mul_(root_weight))

    def gradient(w: Tensor) -> Tensor:  # (m, d) -> (m, d); df/dw = 2 sum_i weight_i (s - y) s (1 - s) x_i
        s = sigmoid(w)
        return product.adjoint((s - y) * s * (1.0 - s) * root_weight.square()).mul_(-2.0)

    return single_problem(
        name=name,
        dim=d,
        fun=in_chunks(fun, len(y)),
        initial=lambda generator: random_start(d, generator).to(device, dtype),
        gradient=in_chunks(gradient, len(y)),
        dtype=dtype,
        device=torch.device(device),
    )
