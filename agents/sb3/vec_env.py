"""A Gymnasium `VectorEnv` as the `VecEnv` that Stable-Baselines3 trains on, with rewards of a size to learn from."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from zo_gym.envs.vector_env import ZOSamplingVectorEnv

MEMORY = 0.99
"""Weight of the old value in the running mean of the rewards' size, per step."""
LARGEST = 10.0
"""Scaled rewards are capped at this size."""


class GymVecEnv(VecEnv):
    """Adapts a vector environment to the conventions that Stable-Baselines3 expects.

    A row that ends starts anew in the same step; its info then holds `terminal_observation`, `TimeLimit.truncated`
    (ended, but not by reaching a terminal state) and the last step's own values, as SB3's own vector envs do.

    Args:
        env: A vector environment whose autoreset mode is SAME_STEP.

    Attributes:
        batch_info: Infos of the last step as arrays over the rows; a row that ended has its old episode's last values.

    Raises:
        ValueError: The autoreset mode is another one, with which SB3 would store wrong transitions.
    """

    def __init__(self, env: gym.vector.VectorEnv[Any, Any, Any]) -> None:
        mode = env.metadata.get("autoreset_mode")
        if mode is not gym.vector.AutoresetMode.SAME_STEP:
            raise ValueError(
                f"env must reset itself in the same step (AutoresetMode.SAME_STEP), got {mode}. "
                'Pass vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP} to gym.make_vec.'
            )
        self.env = env
        self.batch_info: dict[str, Any] = {}
        self._actions: np.ndarray | None = None
        self.render_mode = None
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> VecEnvObs:
        """Start all rows, with the seeds given to `seed()` if any."""
        seeds: Any = list(self._seeds)  # Gymnasium's base class declares an int; its vector environments take a list
        observations, infos = self.env.reset(seed=seeds)
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = self._split(infos)
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Step all rows."""
        observations, rewards, terminated, truncated, infos = self.env.step(self._actions)
        done = terminated | truncated
        final_obs: Any = infos.pop("final_obs", None)
        final_info: Any = infos.pop("final_info", None)
        rows = self._split(infos)
        if done.any():
            assert final_info is not None
            last = self._split(final_info)
            for row in np.flatnonzero(done):
                rows[row] = last[row]
                rows[row]["terminal_observation"] = final_obs[row]
                rows[row]["TimeLimit.truncated"] = bool(truncated[row] and not terminated[row])
        self.batch_info = infos if final_info is None else _overlay(infos, final_info, done)
        return observations, rewards.astype(np.float32), done, rows

    def _split(self, infos: dict[str, Any]) -> list[dict[str, Any]]:
        """Turn arrays with masks into one dictionary per row."""
        rows: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for name, values in infos.items():
            mask = infos.get(f"_{name}")
            if mask is None:
                continue
            items = values.tolist() if values.ndim == 1 else values
            for row in np.flatnonzero(mask):
                rows[row][name] = items[row]
        return rows

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return the attribute of the batched environment, once per row."""
        return [getattr(self.env.unwrapped, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of the batched environment; the rows share it."""
        setattr(self.env.unwrapped, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        """Call a method of the batched environment once, and return the answer once per row."""
        answer = getattr(self.env.unwrapped, method_name)(*args, **kwargs)
        return [answer] * len(list(self._get_indices(indices)))

    def env_is_wrapped(self, wrapper_class: Any, indices: VecEnvIndices = None) -> list[bool]:
        """Return False for every row: rows of a batched environment have no wrappers of their own."""
        return [False] * len(list(self._get_indices(indices)))


def _overlay(infos: dict[str, Any], final: dict[str, Any], done: np.ndarray) -> dict[str, Any]:
    """Return the infos with the last values of the old episode in the rows that ended."""
    merged = dict(infos)
    for name, values in final.items():
        if not name.startswith("_") and name in infos:
            merged[name] = np.where(done.reshape(-1, *[1] * (values.ndim - 1)), values, infos[name])
    return merged


class RewardScale(VecEnvWrapper):
    """Divides rewards by a running mean of their size, and caps them at +-10.

    A run's decreases of f shrink by orders of magnitude, which an exponential mean follows, unlike SB3's VecNormalize.

    Attributes:
        scale: Running mean of |reward|, in units of f; 0 before the first step.
    """

    scale = 0.0

    def reset(self) -> VecEnvObs:
        """Start all rows; the scale stays."""
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        """Step all rows."""
        observations, rewards, dones, infos = self.venv.step_wait()
        size = float(np.abs(rewards).mean())
        self.scale = size if self.scale == 0 else MEMORY * self.scale + (1 - MEMORY) * size
        scaled = rewards / max(self.scale, np.finfo(np.float64).tiny)
        return observations, np.clip(scaled, -LARGEST, LARGEST).astype(np.float32), dones, infos


def adapter_of(env: Any) -> GymVecEnv:
    """Return the adapter under SB3's wrappers."""
    adapter = env.unwrapped
    assert isinstance(adapter, GymVecEnv)
    return adapter


def env_of(env: Any) -> ZOSamplingVectorEnv:
    """Return the project's environment under the adapter."""
    found = adapter_of(env).env.unwrapped
    assert isinstance(found, ZOSamplingVectorEnv)
    return found
