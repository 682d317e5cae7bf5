"""When the gates of Algorithm 2 open and shut."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from zo_gym.base import Gate, State
from zo_gym.gate import GATES, hysteresis, perfect_rho
from zo_gym.tree import leaves

D, Q = 24, 20
CPU = torch.device("cpu")
NOT_MEASURED = math.nan


def rhos(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def run(gate: Gate, *sequence: float) -> list[bool]:
    """Is the gate of one row open: at the start, and after each rho."""
    state = gate.init(1, CPU)
    opened = [bool(gate.is_open(state))]
    for rho in sequence:
        state = gate.update(state, rhos(rho))
        opened.append(bool(gate.is_open(state)))
    return opened


@pytest.mark.parametrize("name", GATES)
def test_rows_do_not_influence_each_other(name: str) -> None:
    gate = GATES[name](0.5, D, Q)
    sequences = torch.tensor(
        [[1.0, 1.0, NOT_MEASURED, 0.0], [0.0, 0.1, 0.9, NOT_MEASURED], [NOT_MEASURED] * 4], dtype=torch.float64
    )
    state = gate.init(3, CPU)
    together = [gate.is_open(state)]
    for k in range(4):
        state = gate.update(state, sequences[:, k])
        together.append(gate.is_open(state))
    assert all(opened.shape == (3,) and opened.dtype == torch.bool for opened in together)
    for row in range(3):
        assert [bool(opened[row]) for opened in together] == run(gate, *sequences[row].tolist())


@pytest.mark.parametrize("name", GATES)
def test_update_mutates_neither_state_nor_rho(name: str) -> None:
    gate = GATES[name](0.1, D, Q)
    state: State = gate.init(2, CPU)
    rho = rhos(1.0, NOT_MEASURED)
    before, rho_before = [leaf.clone() for leaf in leaves(state)], rho.clone()
    gate.update(state, rho)
    assert all(torch.equal(a, b) for a, b in zip(leaves(state), before, strict=True))
    assert torch.equal(rho.nan_to_num(7.0), rho_before.nan_to_num(7.0))


@pytest.mark.parametrize("name", sorted(set(GATES) - {"open"}))
def test_gate_starts_shut_and_an_unmeasured_rho_does_not_open_it(name: str) -> None:
    assert run(GATES[name](0.01, D, Q), NOT_MEASURED, NOT_MEASURED) == [False] * 3


@pytest.mark.parametrize("name", sorted(set(GATES) - {"open"}))
def test_gate_opens_for_a_policy_as_good_as_the_gradient(name: str) -> None:
    """A threshold of half the perfect score, given perfect scores: more than enough for every gate."""
    threshold = 0.5 * (perfect_rho(D, Q) if name == "paper" else 1.0)
    assert run(GATES[name](threshold, D, Q), *[perfect_rho(D, Q)] * 5)[-1]


@pytest.mark.parametrize("name", sorted(set(GATES) - {"open"}))
def test_gate_stays_shut_for_a_policy_that_points_uphill(name: str) -> None:
    assert not any(run(GATES[name](0.5, D, Q), -1.0, -1.0, -1.0))


def test_off_is_always_open() -> None:
    assert run(GATES["open"](0.5, D, Q), NOT_MEASURED, -1.0, 0.0) == [True] * 4


def test_paper_gate_latches_at_its_threshold() -> None:
    assert run(GATES["paper"](0.5, D, Q), 0.49, 0.5, -1.0, NOT_MEASURED) == [False, False, True, True, True]


def test_calibrated_gate_measures_in_units_of_the_perfect_score() -> None:
    perfect = math.sqrt(Q / (Q + D + 1))
    assert run(GATES["calibrated"](0.5, D, Q), 0.499 * perfect, 0.501 * perfect, -1.0) == [False, False, True, True]


def test_hysteresis_opens_on_the_running_mean() -> None:
    """Mean of calibrated scores with memory 0.5 from 0: one perfect look gives 0.5, two give 0.75."""
    p = perfect_rho(D, Q)
    assert run(hysteresis(0.6, D, Q), p, p) == [False, False, True]
    assert run(hysteresis(0.6, D, Q), p, 0.0, p) == [False] * 3 + [True]  # 0.5, 0.25, 0.625


def test_hysteresis_looks_again_after_period_policy_steps() -> None:
    p = perfect_rho(D, Q)
    opened = run(hysteresis(0.5, D, Q, period=3), p, *[NOT_MEASURED] * 3, p, NOT_MEASURED)
    assert opened == [False, True, True, True, False, True, True]


def test_hysteresis_shuts_below_the_release_and_not_before() -> None:
    """Means: 0.5 open; a look of 0 gives 0.25 >= 0.5 * 0.5, still open; another gives 0.125, shut."""
    assert run(hysteresis(0.5, D, Q, period=50), perfect_rho(D, Q), 0.0, 0.0) == [False, True, True, False]


def test_hysteresis_reopens_only_at_the_full_threshold() -> None:
    """After shutting at mean 0.125, a look of 0.5 gives 0.3125: above the release, below the threshold."""
    p = perfect_rho(D, Q)
    assert run(hysteresis(0.5, D, Q), p, 0.0, 0.0, 0.5 * p, p)[-3:] == [False, False, True]


@pytest.mark.parametrize(("dim", "mean"), [(784, 0.155), (123, 0.37), (24, 0.68), (13, 0.79)])
def test_perfect_rho_agrees_with_simulation(dim: int, mean: float) -> None:
    """Means of |cos(grad, 20-direction estimate)| over 1,500 trials, from an independent simulation.

    sqrt(E / E) for E sqrt is right to first order in 1/q: 1/20 = 5 %.
    """
    assert perfect_rho(dim, 20) == pytest.approx(mean, rel=0.05)
