"""The contract of every gradient model: shapes, rows, randomness, directions, predictions and re-evaluations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from zo_gym import Problem, single_problem
from zo_gym.base import GradientModel, Method, RunState, Step
from zo_gym.estimators import span
from zo_gym.gradient_models import GRADIENT_MODELS, GuidedGPSettings, guided_gp
from zo_gym.oracle import Oracle
from zo_gym.problem import Generators, repeated
from zo_gym.rng import make_generator
from zo_gym.run import run
from zo_gym.step import num_directions, observe, sample, start, step
from zo_gym.tree import leaves, put, take
from zo_gym.updates import adaptive

B, D, MU = 4, 7, 0.01
F64 = torch.float64


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = F64) -> Tensor:
    return torch.randn(*shape, generator=make_generator(seed), dtype=dtype)


def generators(rows: Iterable[int]) -> Generators:
    return [make_generator(row) for row in rows]


def half_right(x: Tensor, instances: Tensor) -> Tensor:
    """Return a guess for `bowl` that knows every second coordinate of the gradient."""
    scales = torch.arange(1, x.shape[1] + 1).to(x)
    return torch.where(torch.arange(x.shape[1]) % 2 == 0, scales * x, 0.0)


def guided(rows: int, *, gate: bool = True) -> GradientModel:
    return guided_gp(half_right, torch.zeros(rows, dtype=torch.int64), settings=GuidedGPSettings(rank=8, gate=gate))


MODELS: dict[str, Callable[[int], GradientModel]] = {
    **{name: lambda rows, make=make: make() for name, make in GRADIENT_MODELS.items()},  # type: ignore[misc]
    "guided-gp": guided,
    "guided-gp, ungated": partial(guided, gate=False),
}
"""Each model, made for a number of rows; an ungated one never drops its guess and its observations with it."""


def bowl(d: int = D, dtype: torch.dtype = F64) -> Problem:
    """f = sum_i i x_i^2 / 2."""
    scales = torch.arange(1, d + 1, dtype=dtype)
    return single_problem(
        "bowl",
        d,
        lambda x: (scales * x.square()).sum(1) / 2,
        lambda generator: torch.ones(d, dtype=dtype),
        gradient=lambda x: scales * x,
        dtype=dtype,
    )


def method_of(name: str, rows: int) -> Method:
    return Method(None, span, adaptive(0.05), 2, model=MODELS[name](rows))


def advance(
    name: str, x: Tensor, steps: int, *, reevaluate: bool = False, noise_std: float = 0.0
) -> tuple[RunState, list[Step]]:
    """Return the state and the steps of B runs that all probe two directions a step."""
    method, rows = method_of(name, len(x)), len(x)
    noise = generators(range(50, 50 + rows))
    oracle = Oracle(repeated(bowl(x.shape[1], x.dtype), rows), rows, noise_std=noise_std, generators=noise)
    state, draw, done = start(method, x, oracle(x[:, None])[:, 0]), generators(range(rows)), []
    for _ in range(steps):
        u, state = sample(method, state, draw)
        done.append(step(oracle, method, state, u, MU, reevaluate=reevaluate))
        state = observe(method, state, done[-1])
    return state, done


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("rows", "d"), [(1, 2), (3, 5)])
def test_shapes_and_dtypes_stay_the_same(name: str, dtype: torch.dtype, rows: int, d: int) -> None:
    x = randn(rows, d, dtype=dtype)
    fresh = MODELS[name](rows).init(x)
    state, done = advance(name, x, 3)
    assert [leaf.shape for leaf in leaves(state.model)] == [leaf.shape for leaf in leaves(fresh)]
    assert [leaf.dtype for leaf in leaves(state.model)] == [leaf.dtype for leaf in leaves(fresh)]
    assert all(len(leaf) == rows for leaf in leaves(state.model))
    assert {leaf.dtype for leaf in leaves(fresh) if leaf.is_floating_point()} == {dtype}
    for each in done:
        assert each.directions.shape == (rows, 2, d)
        assert each.estimate.gradient.shape == (rows, d)
        assert each.directions.dtype == each.estimate.gradient.dtype == dtype
        assert bool(each.estimate.gradient.isfinite().all())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("d", [2, 13, 33])
def test_rows_run_as_they_would_alone(name: str, d: int) -> None:
    """Bit for bit, over whole runs, in which rows of a guided model probe 0, 1 or 2 directions."""
    x = randn(B, d)

    def end_of(which: range) -> Tensor:
        oracle = Oracle(repeated(bowl(d), len(which)), len(which), budget=61)
        method = method_of(name, len(which))
        *_, last = run(oracle, method, x[which.start : which.stop], generators(which))
        return last.iterate.x

    together = end_of(range(B))
    for row in range(B):
        assert torch.equal(end_of(range(row, row + 1)), together[row : row + 1])


@pytest.mark.parametrize("name", MODELS)
def test_a_restarted_row_behaves_as_new(name: str) -> None:
    x, row = randn(B, D), np.array([1])
    model = MODELS[name](B)
    state, _ = advance(name, x, 4)
    mixed = put(state.model, row, take(model.init(x), row))
    u, after = model.probe(mixed, x, 2, generators(range(B)))
    expected, fresh = MODELS[name](1).probe(take(model.init(x), row), x[row], 2, generators([1]))
    assert torch.equal(u[row], expected)
    for old, new in zip(leaves(take(after, row)), leaves(fresh), strict=True):
        assert torch.equal(old, new)


@pytest.mark.parametrize("name", GRADIENT_MODELS)
def test_first_directions_are_isotropic_with_squared_length_d(name: str) -> None:
    """|u|^2 = d always; E[u u^T] = I before a slope is known, each entry within 5 standard errors (p < 1e-6 each)."""
    n = 10_000
    u, _ = GRADIENT_MODELS[name]().probe(GRADIENT_MODELS[name]().init(randn(1, D)), randn(1, D), n, generators([11]))
    torch.testing.assert_close(u[0].square().sum(1), torch.full((n,), float(D), dtype=F64))
    products = u[0, :, :, None] * u[0, :, None, :]  # (n, d, d)
    error = products.std(dim=0) / math.sqrt(n)
    assert bool(((products.mean(0) - torch.eye(D, dtype=F64)).abs() <= 5 * error + 1e-12).all())


@pytest.mark.parametrize("name", MODELS)
def test_later_directions_have_the_length_of_the_first(name: str) -> None:
    """That is sqrt(d), or 1 for a guided model; the estimator normalises both."""
    x = randn(B, D)
    state, _ = advance(name, x, 3)
    u, _ = MODELS[name](B).probe(state.model, state.iterate.x, 2, generators(range(B)))
    lengths = u.norm(dim=2)
    expected = math.sqrt(D) if name in GRADIENT_MODELS else 1.0
    probed = lengths[lengths > 0]  # a guided row that does not probe has directions 0
    torch.testing.assert_close(probed, torch.full_like(probed, expected))


@pytest.mark.parametrize("name", MODELS)
def test_directions_come_from_the_generators_and_not_from_global_randomness(name: str) -> None:
    x, before = randn(B, D), torch.get_rng_state()
    state = advance(name, x, 1)[0].model._replace()
    if name not in GRADIENT_MODELS:
        state = state._replace(stalled=torch.ones_like(state.stalled))  # else it would not draw
    model = MODELS[name](B)
    first, again = (model.probe(state, x + 0.1, 2, generators(range(B)))[0] for _ in range(2))
    other, _ = model.probe(state, x + 0.1, 2, generators(range(9, 9 + B)))
    assert torch.equal(first, again)
    assert not torch.equal(first[:, 0], other[:, 0])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", MODELS)
def test_nothing_that_is_passed_in_is_mutated(name: str) -> None:
    x, model = randn(B, D), MODELS[name](B)
    state, done = advance(name, x, 3)
    at, last = state.iterate.x.clone(), done[-1]
    before = [leaf.clone() for leaf in leaves((state.model, last.model))]
    u, probed = model.probe(state.model, state.iterate.x, 2, generators(range(B)))
    model.correct(probed, state.iterate.x, last.directions, last.estimate)
    model.observe(last.model, last)
    u.zero_()
    assert torch.equal(state.iterate.x, at)
    assert all(torch.equal(a, b) for a, b in zip(leaves((state.model, last.model)), before, strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_the_number_of_probes_is_between_0_and_2_in_every_row(name: str) -> None:
    method = method_of(name, B)
    state, _ = advance(name, randn(B, D), 3)
    counts = num_directions(method, state)
    assert counts.shape == (B,)
    assert counts.dtype == np.int64
    assert ((counts >= 0) & (counts <= 2)).all()
    if name in GRADIENT_MODELS:
        assert (counts == 2).all()


@pytest.mark.parametrize("name", GRADIENT_MODELS)
def test_the_prediction_improves_on_the_steps_own_estimate(name: str) -> None:
    """With 8 steps of 2 slopes and as many moves in 7 dimensions, against 2 slopes alone: error of the mean row."""
    _, done = advance(name, randn(B, D), 8)
    last, before = done[-1], done[-2].iterate.x
    truth = bowl().gradients(before)
    own = (last.directions * truth[:, None]).sum(-1)[..., None] * last.directions  # of `span`: directions orthonormal
    error = (last.estimate.gradient - truth).norm(dim=1).mean()
    assert error < 0.5 * (own.sum(1) - truth).norm(dim=1).mean()


@pytest.mark.parametrize("name", GRADIENT_MODELS)
def test_the_prediction_at_x_is_the_corrected_estimate(name: str) -> None:
    """To the rounding of sums that are taken in another order, amplified by K^-1."""
    _, done = advance(name, randn(B, D), 4)
    predict = done[-1].estimate.gradient_at
    assert predict is not None
    torch.testing.assert_close(predict(done[-2].iterate.x), done[-1].estimate.gradient, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"guided-gp"}))
def test_re_evaluations_estimate_the_noise(name: str) -> None:
    """Differences of two values have variance 2 s^2: within 5 standard errors of 30 squares, sqrt(2 / 30) each."""
    s = 0.05
    state, done = advance(name, randn(1, D), 30, reevaluate=True, noise_std=s)
    differences = torch.stack(
        [each.reevaluation_difference for each in done if each.reevaluation_difference is not None]
    )
    total, count = state.model.process.reevaluations[0].tolist()
    assert count == len(done) == 30
    assert total == pytest.approx(differences.square().sum().item())
    assert abs(total / count / (2 * s**2) - 1) < 5 * math.sqrt(2 / 30)
