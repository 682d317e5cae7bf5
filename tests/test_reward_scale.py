"""Rewards divided by a running mean of their size."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv, VecMonitor

from zo_gym import ENV_ID
from zo_gym.agents.sb3.vec_env import LARGEST, MEMORY, GymVecEnv, RewardScale


class Script(VecEnv):
    """Pays the rewards it is given, one array (B,) a step."""

    def __init__(self, rewards: list[list[float]]) -> None:
        self.rewards = [np.array(each, dtype=np.float32) for each in rewards]
        box = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.render_mode = None
        super().__init__(len(rewards[0]), box, box)

    def reset(self) -> np.ndarray:
        return np.zeros((self.num_envs, 2), np.float32)

    def step_async(self, actions: np.ndarray) -> None:
        pass

    def step_wait(self) -> Any:
        return self.reset(), self.rewards.pop(0), np.zeros(self.num_envs, bool), [{} for _ in range(self.num_envs)]

    def close(self) -> None:
        pass

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self, attr_name)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise AssertionError("RewardScale only passes steps on")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        raise AssertionError("RewardScale only passes steps on")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs


def paid(env: VecEnv, steps: int) -> list[np.ndarray]:
    return [env.step(np.zeros((env.num_envs, 2), np.float32))[1] for _ in range(steps)]


def test_the_scale_is_an_exponential_mean_of_the_batchs_mean_size_and_starts_at_the_first() -> None:
    env = RewardScale(Script([[4.0, -2.0], [1.0, 0.0]]))
    assert env.scale == 0.0
    first, second = paid(env, 2)
    np.testing.assert_allclose(first, [4 / 3, -2 / 3], rtol=1e-6)  # mean size 3
    expected = MEMORY * 3.0 + (1 - MEMORY) * 0.5
    assert env.scale == pytest.approx(expected)
    np.testing.assert_allclose(second, [1 / expected, 0.0], rtol=1e-6)


def test_scaled_rewards_are_capped_on_both_sides_and_the_cap_does_not_enter_the_scale() -> None:
    env = RewardScale(Script([[1.0, 1.0], [1e6, -1e6]]))
    _, capped = paid(env, 2)
    assert capped.tolist() == [LARGEST, -LARGEST]
    assert env.scale == pytest.approx(MEMORY + (1 - MEMORY) * 1e6)


def test_rewards_of_zero_stay_zero_and_the_first_real_one_sets_the_scale() -> None:
    """A rejected move pays 0; a run may begin with many of them."""
    env = RewardScale(Script([[0.0, 0.0], [0.0, 0.0], [2.0, 0.0]]))
    rewards = paid(env, 3)
    assert [r.tolist() for r in rewards] == [[0.0, 0.0], [0.0, 0.0], [2.0, 0.0]]  # scale 1 = mean of 2 and 0
    assert env.scale == pytest.approx(1.0)
    assert all(r.dtype == np.float32 for r in rewards)


def test_rewards_of_any_size_come_out_alike() -> None:
    """Scaling f scales no reward: what the agent learns from does not depend on the units of f."""
    rewards = np.random.default_rng(0).standard_normal((30, 3))
    plain = paid(RewardScale(Script(rewards.tolist())), 30)
    for factor in (1e-20, 1e20):
        np.testing.assert_allclose(paid(RewardScale(Script((factor * rewards).tolist())), 30), plain, rtol=1e-5)


def test_a_reset_keeps_the_scale() -> None:
    env = RewardScale(Script([[3.0]]))
    paid(env, 1)
    env.reset()
    assert env.scale == pytest.approx(3.0)


def test_two_wrappers_do_not_share_a_scale() -> None:
    first, second = RewardScale(Script([[3.0]])), RewardScale(Script([[5.0]]))
    paid(first, 1)
    assert second.scale == 0.0


def test_the_monitor_below_sees_unscaled_rewards_whose_sum_is_the_decrease_of_f() -> None:
    """`rollout/ep_rew_mean` is then f(x_0) - f(x_K), whatever the scale is."""
    options: dict[str, Any] = {"problem": "quadratic", "problem_options": {"dim": 4}, "budget": 40}
    adapter = GymVecEnv(gym.make_vec(ENV_ID, num_envs=2, update="adaptive", **options))
    env = RewardScale(VecMonitor(adapter))
    env.seed(0)
    env.reset()
    first = [info["f"] for info in adapter.reset_infos]
    rng = np.random.default_rng(0)
    infos: list[dict[str, Any]] = [{}]
    while "episode" not in infos[0]:
        _, _, _, infos = env.step(rng.standard_normal((2, 4)).astype(np.float32).clip(-1, 1))
    for row in range(2):
        assert infos[row]["episode"]["r"] == pytest.approx(first[row] - infos[row]["f"], rel=1e-5)
