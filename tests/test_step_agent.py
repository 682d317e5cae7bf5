"""The step-size agent: its environment is the package's step, and what it has learned is an update rule."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from torch import Tensor

from agents.pilot import LONGEST, SHARPEST, SHORTEST, STEPS, Flight, features, lengths, sharpnesses, steered
from agents.step_agent import load_pilot, train_steps
from agents.step_env import StepSizeVectorEnv
from zo_gym.base import Estimate, Family
from zo_gym.bench.contestants import unknown_gradient
from zo_gym.problems import make_family
from zo_gym.rng import make_generator
from zo_gym.updates import diminishing

ROWS = 6


@pytest.fixture(scope="module")
def family() -> Family:
    return make_family("digits_attack", split="train", size=4)


def guess(family: Family) -> object:
    """The true gradient of the unknown part."""
    return unknown_gradient(family)


def env_of(family: Family) -> StepSizeVectorEnv:
    return StepSizeVectorEnv(family, guess(family), num_envs=ROWS)  # type: ignore[arg-type]


def test_actions_cover_the_range_of_lengths_and_powers() -> None:
    ends = torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
    assert lengths(ends).tolist() == pytest.approx([SHORTEST, LONGEST])
    assert sharpnesses(ends).flatten().tolist() == pytest.approx([1.0, SHARPEST])


def test_a_step_costs_a_query_or_two_a_row_and_rewards_add_up_to_the_decrease(family: Family) -> None:
    env = env_of(family)
    env.reset(seed=0)
    assert env.oracle.total == ROWS
    assert env._iterate is not None
    first, total, spent = env._iterate.fx.clone(), np.zeros(ROWS), [ROWS]
    rng = np.random.default_rng(0)
    for move in range(STEPS):
        seen, reward, terminated, truncated, infos = env.step(rng.uniform(-1, 1, (ROWS, 2)).astype(np.float32))
        assert env.single_observation_space.contains(seen[0])
        total += reward
        assert not terminated.any()
        assert truncated.all() == (move == STEPS - 1)
        if move < STEPS - 1:
            spent.append(env.oracle.total)
    costs = np.diff(spent)
    assert set(costs) == {ROWS, 2 * ROWS}
    assert (costs[:10] == ROWS).all()  # the first probe is owed after ten moves
    np.testing.assert_allclose(total, np.log(first.numpy() / infos["final_info"]["best_f"]), atol=1e-4)
    assert all(len(last) == seen.shape[1] for last in infos["final_obs"])
    assert (seen[:, -1] == 0).all()  # the new episode has made no move


def test_equal_seeds_and_actions_make_equal_episodes(family: Family) -> None:
    seen = []
    for _ in range(2):
        env = env_of(family)
        env.reset(seed=3)
        seen.append(np.stack([env.step(np.zeros((ROWS, 2), np.float32))[0] for _ in range(5)]))
    np.testing.assert_array_equal(seen[0], seen[1])


def test_a_step_before_reset_is_refused(family: Family) -> None:
    with pytest.raises(ResetNeeded, match="reset"):
        env_of(family).step(np.zeros((ROWS, 2), np.float32))


def slope(g: Tensor) -> Estimate:
    return Estimate(g, g, g.square().sum(1))


def test_the_rule_moves_as_its_pilot_says_then_as_the_other_rule_does() -> None:
    action = torch.tensor([[0.0, -1.0]])
    rule = steered(lambda seen: action.to(seen).expand(len(seen), 2), diminishing(3.0))
    x, g = torch.zeros(1, 2), torch.tensor([[3.0, -4.0]])
    state = rule.init(x)
    assert rule.judge is not None
    moved = []
    for _ in range(STEPS + 1):
        target, state = rule.propose(state, x, torch.ones(1), slope(g))
        _, state = rule.judge(state, torch.ones(1), torch.full((1,), 0.9), slope(g))
        moved.append((target - x).norm().item())
    assert moved[:STEPS] == pytest.approx([(SHORTEST * LONGEST) ** 0.5] * STEPS)
    assert moved[STEPS] == pytest.approx(3 / (1 + STEPS / 10) ** 0.6)


def test_features_tell_how_the_run_has_gone() -> None:
    """f from 4 to 2 and best 2; the last move was to gain 4 and gained 2, a third of f before; 5 moves."""
    one = torch.ones(1)
    flight = Flight(
        torch.zeros(1, 2), 4 * one, 2 * one, torch.tensor([[0.5, -0.5]]), 4 * one, -one / 3, one / 2, 5 * one
    )
    expected = [np.log(0.5), 0.0, 0.5, -0.5, 2.0, -1 / 3, 0.5, 5 / STEPS]
    np.testing.assert_allclose(features(flight, 2 * one)[0], expected, rtol=1e-6)


def test_what_was_trained_is_loaded_and_used(tmp_path: Path) -> None:
    from agents.build import DIRECTIONAL_PRESETS
    from agents.bundle import PolicyConfig, new_policy, save_weights

    settings = {
        "problem": "digits_attack",
        "problem_options": {"size": 3},
        "update": "diminishing",
        "learning_rate": 1.0,
    }
    config = PolicyConfig("ddpg", DIRECTIONAL_PRESETS["offline"].network, 64, 74, (8, 8), 0.0, settings)
    save_weights(new_policy(config, seed=0), tmp_path)
    with pytest.raises(FileNotFoundError, match="No step-size agent"):
        load_pilot(tmp_path)
    train_steps(tmp_path, queries=2000, updates=1)
    pilot = load_pilot(tmp_path)
    actions = pilot(torch.randn(5, 8, generator=make_generator(0), dtype=torch.float64))
    assert actions.shape == (5, 2)
    assert actions.dtype == torch.float64
    assert (actions.abs() <= 1).all()
