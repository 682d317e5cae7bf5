"""Open problems of this package as boxes: classification, with noise if asked for, and attacks on a classifier.

Outside the box f is that of the nearest point inside, as the attack has it anyway. So nobody gains by leaving it.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch

from benchmarks.peers.oracle import Instance
from benchmarks.suites.task import start_generator
from zo_gym.problem import Problem
from zo_gym.problems import make_problem

HALF_WIDTH = 5.0
"""The box of a classification problem is [-5, 5]^d, that of COCO. Its unbounded minima lie at weights of hundreds."""
STARTS = 4
"""Descents with exact gradients, from as many starts, that look for the least f in the box."""


def classification_instance(name: str, instance: int, noise_std: float = 0.0) -> Instance:
    """Open a classification problem; the start and the noise are those of the instance."""
    problem = make_problem(name)
    lower, upper = np.full(problem.dim, -HALF_WIDTH), np.full(problem.dim, HALF_WIDTH)
    rng = np.random.default_rng(instance)

    def true(x: np.ndarray) -> float:
        return float(problem.values(torch.from_numpy(np.clip(x, lower, upper))[None])[0])

    def noisy(x: np.ndarray) -> float:
        return true(x) + noise_std * float(rng.standard_normal())

    start = problem.start(start_generator(instance)).numpy()
    fun, exact = (noisy, true) if noise_std else (true, None)
    return Instance(fun, exact, start, lower, upper, least_in_box(name))


def attack_instance(name: str, instance: int) -> Instance:
    """Open the attack on the image of this number, from 1 on; its least f is not known."""
    problem = make_problem(f"{name}[{instance - 1}]", dtype=torch.float64)
    lower, upper = np.zeros(problem.dim), np.ones(problem.dim)
    start = np.clip(problem.start(start_generator(instance)).numpy(), lower, upper)
    return Instance(lambda x: float(problem.values(torch.from_numpy(x)[None])[0]), None, start, lower, upper, math.nan)


@cache
def least_in_box(name: str) -> float:
    """Return the least f of a classification problem in the box that descents with exact gradients find."""
    from scipy.optimize import minimize

    problem: Problem = make_problem(name)

    def value_and_gradient(x: np.ndarray) -> tuple[float, np.ndarray]:
        point = torch.from_numpy(x)[None]
        return problem.values(point).item(), problem.gradients(point)[0].numpy()

    ends = [
        minimize(
            value_and_gradient,
            problem.start(start_generator(seed)).numpy(),
            jac=True,
            method="L-BFGS-B",
            bounds=[(-HALF_WIDTH, HALF_WIDTH)] * problem.dim,
            options={"maxiter": 5000, "maxfun": 20_000, "ftol": 1e-15, "gtol": 1e-10},
        ).fun
        for seed in range(STARTS)
    ]
    return float(min(ends))
