"""Functions with known answers: a quadratic, Rosenbrock's valley, and convex logistic regression.

`instance` seeds what a problem draws when it is built. `dtype` is the type of x and f, `device` where f is evaluated.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zo_gym.batch_invariant import linear_map, random_rotation, squared_norm
from zo_gym.checks import check_at_least, check_integer
from zo_gym.problem import Problem, in_chunks, single_problem
from zo_gym.rng import random_start


def quadratic(
    *,
    dim: int = 10,
    condition: float = 100.0,
    instance: int = 0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Problem:
    """Make f(x) = 1/2 (x - x*)^T H (x - x*), x* ~ N(0, I), H = Q^T diag(lambda) Q; the minimum is 0 at x*.

    The eigenvalues are spaced evenly on a log scale from 1 to `condition` >= 1, which must be 1 if dim is 1; Q is a
    random rotation. Starts ~ N(0, I) / sqrt(d). dim >= 1.
    """
    d = check_integer("dim", dim, 1)
    condition = check_at_least("condition", condition, 1.0)
    if d == 1 and condition != 1.0:
        raise ValueError(f"condition must be 1 when dim is 1, got {condition:g}. Raise dim, or pass condition=1.")
    generator = torch.Generator().manual_seed(check_integer("instance", instance, 0))
    optimum = torch.randn(d, generator=generator, dtype=torch.float64)
    eigenvalues = condition ** torch.linspace(0.0, 1.0, d, dtype=torch.float64)
    root = (eigenvalues / 2).sqrt()[:, None] * random_rotation(d, generator)  # f = ||root (x - x*)||^2
    product = linear_map(root.to(device, dtype))
    centre = optimum.to(device, dtype)
    return single_problem(
        name="quadratic",
        dim=d,
        fun=lambda x: squared_norm(product.apply(x - centre)),
        initial=lambda generator: random_start(d, generator).to(device, dtype),
        gradient=lambda x: product.adjoint(product.apply(x - centre)).mul_(2.0),
        minimum=0.0,
        dtype=dtype,
        device=torch.device(device),
    )


def rosenbrock(*, dim: int = 10, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu") -> Problem:
    """Make f(x) = sum_i 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2; the minimum is 0 at (1, ..., 1).

    Starts are uniform in [-2, 2]^d. dim >= 2.

    Reference:
        Rosenbrock (1960), "An automatic method for finding the greatest or least value of a function", in the chained
        form of De Jong (1975).
    """
    d = check_integer("dim", dim, 2)

    def fun(x: Tensor) -> Tensor:  # (m, d) -> (m,)
        bend = x[:, 1:] - x[:, :-1].square()
        return squared_norm(bend).mul_(100.0) + squared_norm(1.0 - x[:, :-1])

    def gradient(x: Tensor) -> Tensor:  # (m, d) -> (m, d)
        head = x[:, :-1]
        bend = x[:, 1:] - head.square()
        slope = torch.zeros_like(x)
        slope[:, :-1] = -400.0 * head * bend - 2.0 * (1.0 - head)
        slope[:, 1:] += 200.0 * bend
        return slope

    return single_problem(
        name="rosenbrock",
        dim=d,
        fun=fun,
        initial=lambda generator: uniform_start(d, generator, 2.0).to(device, dtype),
        gradient=gradient,
        minimum=0.0,
        dtype=dtype,
        device=torch.device(device),
    )


def logistic(
    *,
    dim: int = 10,
    samples: int = 200,
    l2: float = 0.01,
    instance: int = 0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Problem:
    """Make the convex f(w) = (1/n) sum_i log(1 + exp(-y_i w . a_i)) + l2/2 |w|^2 on synthetic data.

    a_i ~ N(0, I) in R^d, and y_i is +1 with probability 1 / (1 + exp(-w' . a_i)), else -1, for one w' ~ N(0, I). Starts
    ~ N(0, I) / sqrt(d). The minimum has no closed form; f is l2-strongly convex. dim >= 1, samples = n >= 1, l2 >= 0.
    """
    d, n = check_integer("dim", dim, 1), check_integer("samples", samples, 1)
    half_l2 = check_at_least("l2", l2, 0.0) / 2
    generator = torch.Generator().manual_seed(check_integer("instance", instance, 0))
    a = torch.randn(n, d, generator=generator, dtype=torch.float64)
    chance = torch.sigmoid(a @ torch.randn(d, generator=generator, dtype=torch.float64))
    y = torch.where(torch.rand(n, generator=generator, dtype=torch.float64) < chance, 1.0, -1.0)
    product = linear_map((-y[:, None] * a).to(device, dtype))

    def fun(w: Tensor) -> Tensor:  # (m, d) -> (m,)
        z = product.apply(w)
        loss = z.abs().neg_().exp_().log1p_().add_(z.clamp_min_(0.0))  # log(1 + e^z) without overflow
        return squared_norm(loss.sqrt_()).div_(n) + squared_norm(w).mul_(half_l2)

    def gradient(w: Tensor) -> Tensor:  # (m, d) -> (m, d)
        return product.adjoint(torch.sigmoid(product.apply(w))).div_(n) + 2.0 * half_l2 * w

    return single_problem(
        name="logistic",
        dim=d,
        fun=in_chunks(fun, n),
        initial=lambda generator: random_start(d, generator).to(device, dtype),
        gradient=in_chunks(gradient, n),
        dtype=dtype,
        device=torch.device(device),
    )


def uniform_start(dim: int, generator: torch.Generator, radius: float) -> Tensor:
    """Draw from U[-radius, radius]^d, shape (d,), float64."""
    unit = torch.rand(dim, generator=generator, dtype=torch.float64, device=generator.device)
    return (2.0 * unit - 1.0) * radius
