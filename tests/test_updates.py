"""Every update rule: its formula, its row independence, and that it minimises with the true gradient."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from steps import estimate_of
from torch import Tensor

from zo_gym.base import Estimate, State, UpdateRule
from zo_gym.problem import Objective
from zo_gym.tree import leaves, put, take
from zo_gym.updates import (
    RULES,
    adam,
    adamm,
    adaptive,
    conditional_gradient,
    diminishing,
    momentum,
    polyak,
    sgd,
    sharpened,
    sign,
    trust_region,
)

B, D = 3, 4
ETA = 0.1
LEARNED = {"update-rnn"}
"""Without trained weights they move, but not downhill; tests/test_meta_train.py trains some."""


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def tensor(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


def propose(rule: UpdateRule, state: State, x: Tensor, g: Tensor) -> tuple[Tensor, State]:
    """Return what the rule proposes for g, at f(x) = 1."""
    return rule.propose(state, x, torch.ones_like(x[:, 0]), estimate_of(g))


def moves(rule: UpdateRule, x: Tensor, gradients: Tensor) -> Tensor:
    """Return the iterates after each of the gradients (steps, B, d)."""
    state, path = rule.init(x), []
    for g in gradients:
        x, state = propose(rule, state, x, g)
        path.append(x)
    return torch.stack(path)


def descend(rule: UpdateRule, fun: Objective, gradient: Objective, x: Tensor, steps: int) -> Tensor:
    """Return f after that many steps along the true gradient, with accept or reject where the rule has it."""
    state = rule.init(x)
    for _ in range(steps):
        g = gradient(x)
        x_new, state = rule.propose(state, x, fun(x), estimate_of(g))
        if rule.judge is not None:
            accepted, state = rule.judge(state, fun(x), fun(x_new), estimate_of(g))
            x_new = torch.where(accepted[:, None], x_new, x)
        x = x_new
    return fun(x)


def rosenbrock(x: Tensor) -> Tensor:
    return 100 * (x[:, 1] - x[:, 0] ** 2) ** 2 + (1 - x[:, 0]) ** 2


def rosenbrock_gradient(x: Tensor) -> Tensor:
    across = x[:, 1] - x[:, 0] ** 2
    return torch.stack([-400 * x[:, 0] * across - 2 * (1 - x[:, 0]), 200 * across], dim=1)


# The contract


@pytest.mark.parametrize("name", RULES)
def test_a_row_does_not_depend_on_its_companions(name: str) -> None:
    rule, x, gradients = RULES[name](ETA), randn(B, D), randn(5, B, D, seed=1)
    together = moves(rule, x, gradients)
    for row in range(B):
        one = slice(row, row + 1)
        assert torch.equal(moves(rule, x[one], gradients[:, one]), together[:, one])


@pytest.mark.parametrize("name", RULES)
def test_a_restarted_row_behaves_as_new(name: str) -> None:
    """One row starts over (as at autoreset) while the others go on: Adam's step count is a row's own."""
    rule, x, gradients = RULES[name](ETA), randn(B, D), randn(6, B, D, seed=1)
    state: State = rule.init(x)
    at = x
    for g in gradients[:3]:
        at, state = propose(rule, state, at, g)
    rows = np.array([1])
    at, state = put(at, rows, take(x, rows)), put(state, rows, rule.init(take(x, rows)))
    for g in gradients[3:]:
        at, state = propose(rule, state, at, g)
    assert torch.equal(at[1], moves(rule, x[1:2], gradients[3:, 1:2])[-1, 0])
    assert torch.equal(at[[0, 2]], moves(rule, x, gradients)[-1, [0, 2]])


@pytest.mark.parametrize("name", RULES)
def test_nothing_that_is_passed_in_is_mutated(name: str) -> None:
    rule, x, g = RULES[name](ETA), randn(B, D), randn(B, D, seed=1)
    _, state = propose(rule, rule.init(x), x, g)
    before = [leaf.clone() for leaf in leaves(state)]
    propose(rule, state, x, g)
    if rule.judge is not None:
        rule.judge(state, g[:, 0], g[:, 1], estimate_of(g))
    assert all(torch.equal(a, b) for a, b in zip(leaves(state), before, strict=True))
    assert torch.equal(x, randn(B, D))
    assert torch.equal(g, randn(B, D, seed=1))


@pytest.mark.parametrize("name", RULES)
def test_dtype_follows_x(name: str) -> None:
    rule, x = RULES[name](ETA), randn(B, D, dtype=torch.float32)
    x_new, state = propose(rule, rule.init(x), x, randn(B, D, seed=1, dtype=torch.float32))
    if rule.judge is not None:
        _, state = rule.judge(state, x[:, 0], x[:, 1], estimate_of(x))
    assert {leaf.dtype for leaf in [x_new, *leaves(state)]} == {torch.float32}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("learning_rate", [0.0, -1.0, math.nan, math.inf])
def test_learning_rate_must_be_positive_and_finite(name: str, learning_rate: float) -> None:
    with pytest.raises(ValueError, match=f"learning_rate must be a finite number > 0, got {learning_rate}"):
        RULES[name](learning_rate)


@pytest.mark.parametrize("name", RULES)
def test_zero_gradient_does_not_move(name: str) -> None:
    rule, x = RULES[name](ETA), randn(B, D)
    assert torch.equal(propose(rule, rule.init(x), x, torch.zeros_like(x))[0], x)


@pytest.mark.parametrize("name", sorted(set(RULES) - LEARNED))
def test_minimises_a_parabola(name: str) -> None:
    """f = sum_i i x_i^2 / 2 falls to 1e-3 of its 5 at the start; sign steps of 0.01 end at f <= 10 * 0.01^2 / 2."""
    curvature = torch.arange(1.0, D + 1, dtype=torch.float64)
    fun = lambda x: 0.5 * (curvature * x.square()).sum(1)  # noqa: E731
    x = torch.ones(1, D, dtype=torch.float64)
    rate = {"diminishing": 0.1, "conditional-gradient": 0.1}.get(name, 0.01)  # a length: the way is 2
    assert descend(RULES[name](rate), fun, lambda x: curvature * x, x, 1500).item() < 1e-3 * fun(x).item()


@pytest.mark.parametrize("name", sorted(set(RULES) - LEARNED))
def test_follows_the_valley_of_rosenbrock(name: str) -> None:
    """From (-1.2, 1), f = 24.2; the valley's floor is reached at f ~ 4, so f < 0.24 means: most of the way along it.

    Rates: 1e-3 is half of 2 / lambda_max; momentum 0.9 multiplies it by 10; Adam's step is eta itself, with 2 to go;
    AdaMM divides by the largest |g| so far, 230 at the start; the rate of the last two is a length, of a way of 3.
    """
    rate = {"momentum": 1e-4, "adam": 1e-2, "adamm": 0.23, "diminishing": 0.1, "conditional-gradient": 0.1}.get(
        name, 1e-3
    )
    x = tensor(-1.2, 1.0)
    assert descend(RULES[name](rate), rosenbrock, rosenbrock_gradient, x, 4000).item() < 0.01 * rosenbrock(x).item()


# Formulas


def test_sgd_steps_by_eta_g() -> None:
    x_new, _ = propose(sgd(0.5), (), tensor(1, 2), tensor(4, -2))
    assert x_new.tolist() == [[-1, 3]]


def test_sign_steps_by_eta_in_every_coordinate() -> None:
    x_new, _ = propose(sign(0.5), (), tensor(1, 2, 3), tensor(4e9, -2e-9, 0))
    assert x_new.tolist() == [[0.5, 2.5, 3.0]]


def test_momentum_accumulates() -> None:
    """m: 4, 0.5 * 4 + 4 = 6, 0.5 * 6 + 0 = 3; x: 0, -1, -2.5, -3.25 with eta 1/4."""
    path = moves(momentum(0.25, beta=0.5), tensor(0), torch.tensor([[[4.0]], [[4.0]], [[0.0]]], dtype=torch.float64))
    assert path.flatten().tolist() == [-1.0, -2.5, -3.25]


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize(("beta1", "beta2", "eps"), [(0.9, 0.999, 1e-8), (0.5, 0.3, 1e-2), (0.0, 0.0, 1e-8)])
def test_adam_agrees_with_torch(amsgrad: bool, beta1: float, beta2: float, eps: float) -> None:
    """Same formula, other order of operations: 20 steps of rounding ~ 1e-16 each, amplified by at most 1 / eps = 1e8
    only where a gradient is ~ 0, which these are not."""
    x0, gradients = randn(1, D), randn(20, 1, D, seed=1)
    gradients[10:] *= 0.01  # so that the maximum of AMSGrad differs from v
    theirs = torch.nn.Parameter(x0.clone())
    optimizer = torch.optim.Adam([theirs], lr=ETA, betas=(beta1, beta2), eps=eps, amsgrad=amsgrad)
    for g, ours in zip(gradients, moves(adam(ETA, beta1, beta2, eps, amsgrad=amsgrad), x0, gradients), strict=True):
        theirs.grad = g.clone()
        optimizer.step()
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-12, atol=1e-12)


def test_amsgrad_differs_from_adam_once_gradients_shrink() -> None:
    gradients = torch.tensor([[[10.0]], [[0.1]], [[0.1]]], dtype=torch.float64)
    plain, running_max = (moves(adam(ETA, beta2=0.3, amsgrad=a), tensor(0), gradients) for a in (False, True))
    assert torch.equal(plain[0], running_max[0])
    assert abs(running_max[2] - running_max[1]).item() < abs(plain[2] - plain[1]).item()


def test_adamm_is_amsgrad_with_the_defaults_of_its_paper() -> None:
    """beta1 0.9, beta2 0.3 (Chen et al. 2019, section 5)."""
    gradients = randn(5, 1, D, seed=1)
    ours = moves(adamm(ETA), randn(1, D), gradients)
    assert torch.equal(ours, moves(adam(ETA, 0.9, 0.3, amsgrad=True), randn(1, D), gradients))


@pytest.mark.parametrize("name", ["adam", "adamm"])
def test_first_step_of_adam_has_the_length_eta_whatever_the_gradient(name: str) -> None:
    """eps = 1e-8 against |g| >= 1e-3 changes the step by at most 1e-5."""
    x_new, _ = propose(RULES[name](ETA), RULES[name](ETA).init(tensor(0, 0)), tensor(0, 0), tensor(1e-3, -1e3))
    torch.testing.assert_close(x_new, tensor(-ETA, ETA), rtol=2e-5, atol=0)


@pytest.mark.parametrize("bad", [-0.1, 1.0, math.nan])
def test_decay_must_be_a_fraction(bad: float) -> None:
    with pytest.raises(ValueError, match=r"beta must be in \[0, 1\), got"):
        momentum(ETA, bad)
    with pytest.raises(ValueError, match=r"beta1 must be in \[0, 1\), got"):
        adam(ETA, beta1=bad)
    with pytest.raises(ValueError, match=r"beta2 must be in \[0, 1\), got"):
        adam(ETA, beta2=bad)


# Adaptive


def test_adaptive_accepts_and_rejects_by_its_truth_table() -> None:
    """predicted = eta * gain = 0.5 * 2 = 1 in every row; f(x) = 10."""
    rule = adaptive(0.5)
    x = torch.zeros(5, 2, dtype=torch.float64)
    f_new = torch.tensor([10.5, 10.0, 9.7, 9.5, 8.0], dtype=torch.float64)
    #             actual:  -0.5   0.0   0.3   0.5  2.0
    fx, gain = torch.full((5,), 10.0, dtype=torch.float64), torch.full((5,), 2.0, dtype=torch.float64)
    assert rule.judge is not None
    accepted, eta = rule.judge(rule.init(x), fx, f_new, Estimate(x, x, gain))
    assert accepted.tolist() == [False, False, True, True, True]
    factors = torch.tensor([0.5, 0.5, 0.9, 1.15, 1.15], dtype=torch.float64)
    torch.testing.assert_close(eta, 0.5 * factors[:, None])


def test_adaptive_uses_the_rate_it_has_found() -> None:
    rule, x, g = adaptive(0.5), tensor(0), tensor(2)
    assert rule.judge is not None
    first, state = propose(rule, rule.init(x), x, g)
    _, state = rule.judge(state, tensor(1)[0], tensor(2)[0], estimate_of(g))  # worse: eta 0.25
    second, _ = propose(rule, state, x, g)
    assert (first.item(), second.item()) == (-1.0, -0.5)


@pytest.mark.parametrize("learning_rate", [1e-3, 1.0, 1e3])
def test_adaptive_recovers_from_a_wrong_learning_rate(learning_rate: float) -> None:
    """A factor of 1e3 is 50 growths of 15 % or 10 halvings; 150 steps leave 100 for the parabola itself."""
    x = torch.ones(1, D, dtype=torch.float64)
    fun = lambda x: x.square().sum(1)  # noqa: E731
    assert descend(adaptive(learning_rate), fun, lambda x: 2 * x, x, 150).item() < 1e-3 * D


# Trust region

CURVATURE = torch.tensor([1.0, 2.0, 5.0, 10.0], dtype=torch.float64)


def bowl(y: Tensor) -> Tensor:
    """Gradient of sum_i CURVATURE_i (y_i - 1)^2 / 2."""
    return CURVATURE * (y - 1)


def propose_in_bowl(x: Tensor, radius: float) -> tuple[Tensor, State]:
    """Return where a trust region of this radius goes from x in the bowl, which its gradient model predicts exactly."""
    rule = trust_region(radius)
    return rule.propose(rule.init(x), x, x[:, 0], estimate_of(bowl(x))._replace(gradient_at=bowl))


def test_a_trust_region_step_ends_at_the_minimiser_of_the_model() -> None:
    x = randn(B, D)
    x_new, region = propose_in_bowl(x, 10.0)
    torch.testing.assert_close(x_new, torch.ones_like(x), rtol=0, atol=0.02)
    torch.testing.assert_close(region.predicted, (CURVATURE * (x - 1).square()).sum(1) / 2, rtol=1e-3, atol=0)
    torch.testing.assert_close(region.length, (x_new - x).norm(dim=1))


def test_a_trust_region_step_stays_within_the_radius_and_uses_it() -> None:
    """The decrease within the ball is at least that of a step to its border along the gradient's own valley."""
    x = 3 + randn(B, D)
    x_new, region = propose_in_bowl(x, 0.25)
    assert (x_new - x).norm(dim=1) == pytest.approx(0.25)
    steepest = x - 0.25 * bowl(x) / bowl(x).norm(dim=1, keepdim=True)
    values = [(CURVATURE * (y - 1).square()).sum(1) / 2 for y in (x, x_new, steepest)]
    assert bool((values[1] <= values[2]).all())
    torch.testing.assert_close(region.predicted, values[0] - values[1])


def test_the_radius_follows_how_well_the_decrease_was_predicted() -> None:
    """Without predictions elsewhere the model is linear: radius .5 along a slope of 2 predicts 1; f(x) = 10. The last
    row moved too little."""
    rule, x = trust_region(0.5), torch.zeros(5, 2, dtype=torch.float64)
    g = torch.tensor([[2.0, 0.0]] * 5, dtype=torch.float64)
    fx = torch.full((5,), 10.0, dtype=torch.float64)
    x_new, region = rule.propose(rule.init(x), x, fx, estimate_of(g))
    assert x_new.tolist() == [[-0.5, 0.0]] * 5
    region = region._replace(length=region.length * torch.tensor([1, 1, 1, 1, 0.7], dtype=torch.float64))
    f_new = torch.tensor([10.5, 9.9, 9.5, 9.3, 9.3], dtype=torch.float64)
    assert rule.judge is not None
    accepted, region = rule.judge(region, fx, f_new, estimate_of(g))
    assert accepted.tolist() == [False, True, True, True, True]
    assert region.radius.flatten().tolist() == [0.25, 0.25, 0.5, 0.8, 0.5]


# Polyak and sharpened steps


def test_polyak_reaches_the_minimiser_of_a_norm_in_one_step() -> None:
    """f = |x|: slope 1 along x / |x|, so the step is as long as the way."""
    x = tensor(3, 4)
    x_new, _ = polyak(0.1).propose((), x, tensor(5)[0], estimate_of(x / 5))
    torch.testing.assert_close(x_new, tensor(0, 0), rtol=0, atol=1e-12)


def test_polyak_steps_are_no_shorter_than_the_floor_and_measure_from_the_lower_bound() -> None:
    x, g = tensor(3, 4), tensor(0.6, 0.8)
    floored, _ = polyak(2.0).propose((), x, tensor(1)[0], estimate_of(g))
    shifted, _ = polyak(0.1, lower_bound=4.0).propose((), x, tensor(5)[0], estimate_of(g))
    assert (x - floored).norm().item() == pytest.approx(2.0)
    assert (x - shifted).norm().item() == pytest.approx(1.0)


def test_diminishing_steps_have_a_length_that_only_their_number_decides() -> None:
    """2 (1 + k / 10)^-0.6: 2 and, after ten steps, 2 / 2^0.6; g may have any length."""
    path = moves(diminishing(2.0), tensor(0, 0), torch.tensor([[[3.0, 4.0]]] * 11, dtype=torch.float64))
    lengths = path.diff(dim=0).norm(dim=-1).flatten()
    assert path[0].norm().item() == pytest.approx(2.0)
    assert lengths[-1].item() == pytest.approx(2 / 2**0.6)


def test_conditional_steps_go_to_the_minimiser_and_no_farther_then_as_diminishing_ones() -> None:
    """Minimiser (3, 4): from 0, 1.5 * 2 of the 5 on the first of 100 steps; from (3, 3.5), all of the way."""
    rule, x, target = conditional_gradient(2.0), tensor(0, 0), tensor(3, 4)
    lifted: list[float] = []

    def find(beyond: Tensor) -> Tensor:
        lifted.append(beyond.item())
        return target

    estimate = estimate_of(tensor(5, 0))._replace(minimise_model=find)
    state = rule.init(x)
    first, later = rule.propose(state, x, tensor(1)[0], estimate)
    torch.testing.assert_close(first, 3 * tensor(0.6, 0.8))
    assert lifted == [pytest.approx(0.2 * 3 * 5)]
    near, _ = rule.propose(state, tensor(3, 3.5), tensor(1)[0], estimate)
    torch.testing.assert_close(near, target)
    there, _ = rule.propose(state, target, tensor(1)[0], estimate)
    torch.testing.assert_close(there, target)
    for _ in range(99):
        moved, later = rule.propose(later, x, tensor(1)[0], estimate)
    assert moved[0, 1] > 0
    last, _ = rule.propose(later, x, tensor(1)[0], estimate)
    torch.testing.assert_close(last, -2 / 11**0.6 * tensor(1, 0))


def test_conditional_steps_without_a_composite_term_are_diminishing_ones() -> None:
    gradients = randn(5, 1, 2)
    ends = [moves(rule(0.7), tensor(1, 2), gradients) for rule in (conditional_gradient, diminishing)]
    assert torch.equal(*ends)


def test_sharpened_conditional_steps_keep_their_minimiser() -> None:
    rule, target = sharpened(conditional_gradient(1.0), 2.0), tensor(0.2, 0.3)
    x = tensor(0, 0)
    moved, _ = rule.propose(
        rule.init(x), x, tensor(1)[0], estimate_of(tensor(1, 5))._replace(minimise_model=lambda beyond: target)
    )
    torch.testing.assert_close(moved, target)


def test_diminishing_steps_settle_on_a_kink() -> None:
    """f = |x|_1 + 3 |x_1 - x_2|: the minimiser is 0, and no slope vanishes near it. The last steps are .03 long."""
    x, rule = tensor(1, 0.5), diminishing(0.5)
    state = rule.init(x)
    for _ in range(1000):
        across = 3 * (x[:, 0] - x[:, 1]).sign()
        g = x.sign() + torch.stack([across, -across], dim=1)
        x, state = propose(rule, state, x, g)
    assert x.norm().item() < 0.1


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
def test_a_sharpened_step_goes_along_powers_of_g_as_far_as_the_slope_there(p: float) -> None:
    """g = (2, -1): along v ~ (2^p, -1) the slope is (2 * 2^p + 1) / |v|."""
    v = tensor(2**p, -1)
    slope = (2 * 2**p + 1) / v.norm().item()
    x_new, _ = propose(sharpened(sgd(1.0), p), (), tensor(0, 0), tensor(2, -1))
    torch.testing.assert_close(x_new, -slope * v / v.norm(), rtol=1e-12, atol=0)


def test_a_sharpened_rule_is_judged_by_the_slope_it_followed() -> None:
    """Along v ~ (4, -1) the gain is 81 / 17 = 4.76 rather than 5; 0.4 of the predicted decrease lies in between."""
    rule, x, g = sharpened(adaptive(1.0), 2.0), tensor(0, 0), tensor(2, -1)
    assert rule.judge is not None
    between = 0.4 * (81 / 17 + 5) / 2
    _, eta = rule.judge(rule.init(x), tensor(10)[0], tensor(10 - between)[0], estimate_of(g))
    assert eta.item() == pytest.approx(1.15)


def test_sharpness_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"sharpness must be finite and >= 1, got 0\.5"):
        sharpened(sgd(1.0), 0.5)
