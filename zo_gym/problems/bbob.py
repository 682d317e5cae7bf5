"""Ill-conditioned, ridged and multimodal functions in the manner of the BBOB suite.

Each function is h(z) with z = R (x - x*). `instance` seeds the shift x* ~ U[-4, 4]^d and the rotation R; the minimum is
0 at x*. Starts are uniform in [-4, 4]^d. Deviations from BBOB, for closed-form gradients and known curvature: one
rotation, no oscillation or asymmetry transforms, no boundary penalty, and a minimum of 0 instead of a random value.

Reference: Hansen, Finck, Ros and Auger (2009), "Real-Parameter Black-Box Optimization Benchmarking: Noiseless Functions
Definitions", f3, f10, f11, f12 and f13.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from zo_gym.batch_invariant import linear_map, norm, random_rotation, squared_norm
from zo_gym.checks import check_at_least, check_integer
from zo_gym.problem import Objective, Problem, single_problem
from zo_gym.problems.synthetic import uniform_start

Device = torch.device | str


WEIGHTS: dict[str, Callable[[int, float], Tensor]] = {
    "ellipsoid": lambda d, condition: condition ** torch.linspace(0.0, 1.0, d, dtype=torch.float64),
    "discus": lambda d, condition: torch.tensor([condition] + [1.0] * (d - 1), dtype=torch.float64),
    "bent_cigar": lambda d, condition: torch.tensor([1.0] + [condition] * (d - 1), dtype=torch.float64),
}
"""Name -> the weights of the squares, (d,), from d and the condition."""


def weighted_squares(
    name: str,
    /,
    *,
    dim: int = 10,
    condition: float = 1e6,
    instance: int = 0,
    dtype: torch.dtype = torch.float64,
    device: Device = "cpu",
) -> Problem:
    """Make h(z) = sum_i w_i z_i^2, with w from 1 to `condition`: evenly on a log scale, or all equal but one.

    "ellipsoid" has every scale at once, w_i = condition^((i-1)/(d-1)). "discus" is far steeper along z_1 than along the
    others, w_1 = condition; "bent_cigar" is far flatter there, w_1 = 1. The cigar is straight here; BBOB bends it by
    the asymmetry transform. dim >= 2, condition >= 1.
    """
    d, condition = check_integer("dim", dim, 2), check_at_least("condition", condition, 1.0)
    weights = WEIGHTS[name](d, condition)
    root, twice = weights.sqrt().to(device, dtype), (2.0 * weights).to(device, dtype)
    return _rotated(name, d, lambda z: squared_norm(z * root), lambda z: z * twice, instance, dtype, device)


def sharp_ridge(
    *, dim: int = 10, instance: int = 0, dtype: torch.dtype = torch.float64, device: Device = "cpu"
) -> Problem:
    """Make h(z) = z_1^2 + 100 |(z_2, ..., z_d)|, not differentiable on the ridge that leads to the minimum. dim >= 2.

    On the ridge itself, `gradient` is the subgradient along it.
    """

    def value(z: Tensor) -> Tensor:
        return z[:, 0].square() + norm(z[:, 1:]).mul_(100.0)

    def slope(z: Tensor) -> Tensor:
        away = torch.nn.functional.normalize(z[:, 1:], dim=-1)
        return torch.cat([2.0 * z[:, :1], 100.0 * away], dim=-1)

    return _rotated("sharp_ridge", check_integer("dim", dim, 2), value, slope, instance, dtype, device)


def rastrigin(
    *, dim: int = 10, instance: int = 0, dtype: torch.dtype = torch.float64, device: Device = "cpu"
) -> Problem:
    """Make h(z) = sum_i z_i^2 + 10 (1 - cos(2 pi z_i)), a bowl with about 10^d local minima. dim >= 1."""

    def value(z: Tensor) -> Tensor:  # 1 - cos(2t) = 2 sin(t)^2, which keeps its digits near the minimum
        return squared_norm(z) + squared_norm(torch.sin(math.pi * z)).mul_(20.0)

    def slope(z: Tensor) -> Tensor:
        return 2.0 * z + 20.0 * math.pi * torch.sin(2.0 * math.pi * z)

    return _rotated("rastrigin", check_integer("dim", dim, 1), value, slope, instance, dtype, device)


def _rotated(
    name: str, d: int, value: Objective, slope: Objective, instance: int, dtype: torch.dtype, device: Device
) -> Problem:
    """Make f(x) = h(R (x - x*)) from h (m, d) -> (m,) and its gradient (m, d) -> (m, d)."""
    seed = torch.Generator().manual_seed(check_integer("instance", instance, 0))
    optimum = uniform_start(d, seed, 4.0).to(device, dtype)
    rotation = linear_map(random_rotation(d, seed).to(device, dtype))
    return single_problem(
        name=name,
        dim=d,
        fun=lambda x: value(rotation.apply(x - optimum)),
        initial=lambda generator: uniform_start(d, generator, 4.0).to(device, dtype),
        gradient=lambda x: rotation.adjoint(slope(rotation.apply(x - optimum))),
        minimum=0.0,
        dtype=dtype,
        device=torch.device(device),
    )
