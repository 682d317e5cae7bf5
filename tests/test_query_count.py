"""Query counting, for any method and any misfortune: calls of f == queries reported <= budget."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from zo_gym import ESTIMATORS, METHODS, RULES, SAMPLERS, BudgetError, ObjectiveError, Oracle, minimize, single_problem
from zo_gym.methods import build
from zo_gym.oracle import RETRIES
from zo_gym.result import Status
from zo_gym.step import cost

BLIND = sorted(
    name
    for name, recipe in METHODS.items()
    if not recipe.needs_gradient and "rnn" not in f"{recipe.sampler} {recipe.update}"
)
"""The methods that need nothing but values."""


class Counted:
    """f(X) = |x|^2, counting points; every `period`-th point is NaN (never, if 0), starting after the first."""

    def __init__(self, period: int = 0) -> None:
        self.points, self.period = 0, period

    def __call__(self, X: Any) -> Any:
        index = self.points + np.arange(len(X))
        self.points += len(X)
        values = (X**2).sum(1)
        if self.period:
            values[(index > 0) & (index % self.period == 0)] = math.nan
        return values


@st.composite
def runs(draw: st.DrawFn) -> dict[str, Any]:
    """Keywords of `minimize`, with a start and a budget of 0 to 60 queries more than one step needs."""
    dim = draw(st.integers(1, 5))
    estimator = draw(st.sampled_from(sorted(ESTIMATORS)))
    options: dict[str, Any] = {
        "x0": np.linspace(1.0, 2.0, dim),
        "method": draw(st.sampled_from(BLIND)),
        "sampler": draw(st.sampled_from(sorted(SAMPLERS.keys() - {"query-rnn"}))),
        "estimator": estimator,
        "update": draw(st.sampled_from(sorted(RULES.keys() - {"update-rnn"}))),
        "num_directions": draw(st.integers(1, dim if estimator == "span" else 4)),
        "learning_rate": 1e-3,
        "reevaluate": draw(st.booleans()),
        "noise_std": draw(st.sampled_from([0.0, 0.1])),
        "seed": draw(st.integers(0, 9)),
        "batched": True,
    }
    options["budget"] = 1 + step_cost(options) + draw(st.integers(0, 60))
    return options


def step_cost(options: dict[str, Any]) -> int:
    """The formulas of the README, not the library's: q, 2q or d for the estimate, 1 for the move, 1 to re-evaluate."""
    q, d = options["num_directions"], len(options["x0"])
    probes = {"forward": q, "central": 2 * q, "coordinate": d, "span": q}
    m = probes.get(options["estimator"]) or ESTIMATORS[options["estimator"]].num_queries(q, d)
    return m + 1 + options["reevaluate"]


@given(options=runs())
def test_every_query_of_a_run_is_counted_and_none_exceeds_the_budget(options: dict[str, Any]) -> None:
    f = Counted()
    result = minimize(f, **options)
    assert f.points == result.nfev <= options["budget"]
    assert result.trace.queries.tolist() == [1 + k * step_cost(options) for k in range(result.nit + 1)]
    assert result.trace.queries[-1] == result.nfev
    assert result.status == Status.DIVERGED or options["budget"] - result.nfev < step_cost(
        options
    )  # not one step more would have fitted


@given(options=runs(), period=st.integers(2, 9))
def test_penalised_queries_are_counted_once(options: dict[str, Any], period: int) -> None:
    f = Counted(period)
    result = minimize(f, on_failure="penalize", **options)
    assert f.points == result.nfev <= options["budget"]
    assert result.trace.queries[-1] == result.nfev
    assert bool((np.diff(result.trace.queries) == step_cost(options)).all())


@given(options=runs(), period=st.integers(3, 9))
def test_retried_queries_are_counted_every_time(options: dict[str, Any], period: int) -> None:
    """A step that begins can be finished even if every query needs all of its retries: 4 queries for one."""
    f = Counted(period)
    options["budget"] += 3 * (1 + step_cost(options))
    result = minimize(f, on_failure="retry", **options)
    assert f.points == result.nfev == result.trace.queries[-1] <= options["budget"]
    assert bool((np.diff(result.trace.queries) >= step_cost(options)).all())
    assert result.status == Status.DIVERGED or options["budget"] - result.nfev < (1 + RETRIES) * step_cost(options)


@given(options=runs(), short=st.integers(1, 50))
def test_budget_too_small_for_a_step_costs_no_query(options: dict[str, Any], short: int) -> None:
    f = Counted()
    options["budget"] = 1 + step_cost(options) - min(short, step_cost(options))
    with pytest.raises(ValueError, match="budget must be at least"):
        minimize(f, **options)
    assert f.points == 0


@given(
    method=st.sampled_from(BLIND),
    dim=st.integers(1, 50),
    reevaluate=st.booleans(),
    extra=st.integers(0, 200),
)
def test_methods_as_registered_keep_the_budget(method: str, dim: int, reevaluate: bool, extra: int) -> None:
    f, recipe = Counted(), METHODS[method]
    options = {"x0": np.ones(dim), "estimator": recipe.estimator, "num_directions": recipe.num_directions}
    budget = 1 + step_cost({**options, "reevaluate": reevaluate}) + extra
    result = minimize(f, np.ones(dim), method=method, budget=budget, seed=0, batched=True, reevaluate=reevaluate)
    assert f.points == result.nfev == result.trace.queries[-1] <= budget
    chosen = build(method, dim)
    assert budget - result.nfev < cost(chosen, chosen.num_directions, dim, reevaluate=reevaluate)


# The oracle


class Rows:
    """f = 0, counting per row, at points whose first coordinate is their row; NaN at every `period`-th point."""

    def __init__(self, rows: int, period: int) -> None:
        self.calls = np.zeros(rows, dtype=np.int64)
        self.period = period

    def __call__(self, x: Tensor) -> Tensor:
        values = torch.zeros(len(x), dtype=x.dtype)
        for i, row in enumerate(x[:, 0].long().tolist()):
            self.calls[row] += 1
            if self.period and self.calls.sum() % self.period == 0:
                values[i] = math.nan
        return values


@given(
    rows=st.integers(1, 4),
    budget=st.integers(1, 30),
    period=st.sampled_from([0, 0, 2, 3, 7]),
    on_failure=st.sampled_from(["raise", "penalize", "retry"]),
    requests=st.lists(st.tuples(st.sets(st.integers(0, 3), min_size=1), st.integers(1, 9)), min_size=1, max_size=8),
)
def test_oracle_counts_each_row_exactly(
    rows: int, budget: int, period: int, on_failure: Any, requests: list[tuple[set[int], int]]
) -> None:
    """Whatever is asked of whichever rows, also across refused and failed requests."""
    f = Rows(rows, period)
    start = torch.zeros(2, dtype=torch.float64)
    oracle = Oracle(single_problem("rows", 2, f, lambda g: start), rows, budget=budget, on_failure=on_failure)
    for chosen, m in requests:
        index = np.array(sorted({row % rows for row in chosen}))
        x = torch.zeros(len(index), m, 2, dtype=torch.float64)
        x[..., 0] = torch.from_numpy(index)[:, None]
        before = f.calls.copy()
        fits = bool((before[index] + m <= budget).all())
        try:
            values = oracle(x, index)
        except BudgetError:
            assert not fits or on_failure == "retry"
            if not fits:
                assert f.calls.tolist() == before.tolist()  # refused before f was called
        except ObjectiveError:
            assert fits
        else:
            assert fits
            assert bool(torch.isfinite(values).all())
        assert oracle.queries.tolist() == f.calls.tolist()
        assert oracle.total == f.calls.sum()
        assert bool((f.calls <= budget).all())
        assert oracle.remaining.tolist() == (budget - f.calls).tolist()
