"""Guided ES on its authors' own toy: the sampler, `central` and `step` reproduce the gaps that their code reaches.

Maheswaranathan et al. (2019), figure 1: f = |A x - b|^2 / (2 m), m = 2000, n = 1000, A and b ~ N(0, 1), x0 = 0. Each
step is given a surrogate grad f + |grad f| c, c a fixed random unit vector: an informative direction whose bias stays.
Gradient descent on the surrogate gets stuck where grad f points along -c; Guided ES does not.

The runs are made in the eigenvectors of A^T A, where a value costs n multiplications instead of n^2. Gaussian
directions have the same law in every rotated frame, so this is the same experiment.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from zo_gym.base import Method
from zo_gym.directions import unit
from zo_gym.estimators import central
from zo_gym.oracle import Oracle
from zo_gym.problem import Problem, single_problem
from zo_gym.rng import make_generator
from zo_gym.samplers import guided_es
from zo_gym.step import start, step
from zo_gym.updates import sgd

M, N = 2000, 1000
SIGMA, RATE, BETA = 0.1, 0.2, 1.0
"""Their perturbations' scale, learning rate of both ES, and factor of the estimate."""
ROWS = 8


class Toy(NamedTuple):
    """The quadratic, less its minimum, in its own eigenvectors; x0 = 0."""

    curvature: Tensor
    """Eigenvalues of A^T A / m, (n,)."""
    solution: Tensor
    """The minimiser, (n,)."""
    bias: Tensor
    """c, (n,), |c| = 1."""

    @property
    def problem(self) -> Problem:
        return single_problem("toy", N, self.gap, lambda generator: torch.zeros(N, dtype=torch.float64))

    def gap(self, x: Tensor) -> Tensor:
        """Compute f - f* at x (B, n)."""
        return 0.5 * (self.curvature * (x - self.solution).square()).sum(1)

    def surrogate(self, x: Tensor) -> Tensor:
        gradient = self.curvature * (x - self.solution)
        return gradient + torch.linalg.vector_norm(gradient, dim=1, keepdim=True) * self.bias


@pytest.fixture(scope="module")
def toy() -> Toy:
    """The authors' instance: numpy's legacy generator, seed 0, draws A, b and c in this order."""
    random = np.random.RandomState(0)
    a, b, c = (torch.from_numpy(random.randn(*shape)) for shape in ((M, N), (M,), (N,)))
    eigenvalues, vectors = torch.linalg.eigh(a.mT @ a / M)
    return Toy(eigenvalues, vectors.mT @ a.mT @ b / M / eigenvalues, vectors.mT @ unit(c))


def evolve(toy: Toy, alpha: float, steps: int, rows: int = ROWS) -> Tensor:
    """Return the gaps (B,) of so many runs of (guided) ES with one pair of probes a step.

    Their u is sigma / sqrt(n) times ours and their estimate beta / n times ours, hence mu and eta.
    """
    mu, eta = SIGMA / math.sqrt(N), RATE * BETA / N
    sampler = guided_es(alpha, num_surrogates=1)
    method = Method(sampler, central, sgd(eta), 1)
    generators = [make_generator(seed) for seed in range(rows)]
    x = torch.zeros(rows, N, dtype=torch.float64)
    oracle = Oracle(toy.problem, rows)
    state = start(method, x, oracle(x[:, None])[:, 0])
    for _ in range(steps):
        u, _ = sampler.sample(toy.surrogate(state.iterate.x)[:, None, :], state.iterate.x, 1, generators)
        state = state._replace(iterate=step(oracle, method, state, u, mu).iterate)
    assert (oracle.queries == 1 + 3 * steps).all()
    return state.iterate.fx


def descend(toy: Toy, steps: int, rate: float = 5e-3) -> float:
    """Return the gap of gradient descent on the surrogate."""
    x = torch.zeros(1, N, dtype=torch.float64)
    for _ in range(steps):
        x = x - rate * toy.surrogate(x)
    return toy.gap(x).item()


def test_one_step_in_the_authors_units_is_ours(toy: Toy) -> None:
    """x' = x - eta beta / (2 sigma^2) e (f(x + e) - f(x - e)) with e = sigma / sqrt(n) u, to rounding."""
    x, generator = torch.zeros(1, N, dtype=torch.float64), make_generator(0)
    method = Method(guided_es(0.5, 1), central, sgd(RATE * BETA / N), 1)
    u, _ = guided_es(0.5, 1).sample(toy.surrogate(x)[:, None, :], x, 1, [generator])
    state = start(method, x, toy.gap(x))
    found = step(Oracle(toy.problem), method, state, u, SIGMA / math.sqrt(N)).iterate.x
    e = SIGMA / math.sqrt(N) * u[:, 0]
    expected = x - RATE * BETA / (2 * SIGMA**2) * (toy.gap(x + e) - toy.gap(x - e)) * e
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_start_and_biased_descent_are_the_authors(toy: Toy) -> None:
    """Deterministic, so to the digits that are known: .2565 at the start, .058 after 1,000 steps."""
    assert abs(toy.gap(torch.zeros(1, N, dtype=torch.float64)).item() - 0.2565) < 5e-5
    assert abs(descend(toy, 1000) - 0.058) < 5e-4


def test_gaps_after_1000_steps(toy: Toy) -> None:
    """Theirs, one run each: Guided ES .053, vanilla ES .176 to .186 (over several instances).

    Over 32 seeds one run of ours has the standard deviation .003 (guided) and .0023 (vanilla). 3 of them for their one
    run, sqrt(9 / 8) times that since the mean of our 8 runs varies, too.
    """
    guided_es, vanilla_es = (evolve(toy, alpha, 1000).mean().item() for alpha in (0.5, 1.0))
    assert abs(guided_es - 0.053) < 3 * math.sqrt(9 / 8) * 0.003
    assert 0.176 - 3 * 0.0023 < vanilla_es < 0.186 + 3 * 0.0023


@pytest.mark.slow
def test_gaps_after_10000_steps(toy: Toy) -> None:
    """Theirs: descent on the surrogate .0530 (stuck), vanilla ES .036 to .042, Guided ES .020 to .023.

    Standard deviation of one run over 32 seeds: .0006 (vanilla), .0013 (guided); 3 of them beyond their intervals.
    """
    guided_es, vanilla_es = (evolve(toy, alpha, 10_000).mean().item() for alpha in (0.5, 1.0))
    stuck = descend(toy, 10_000)
    assert abs(stuck - 0.0530) < 5e-5
    assert abs(descend(toy, 20_000) - stuck) < 1e-6  # stuck
    assert 0.036 - 3 * 0.0006 < vanilla_es < 0.042 + 3 * 0.0006
    assert 0.020 - 3 * 0.0013 < guided_es < 0.023 + 3 * 0.0013
