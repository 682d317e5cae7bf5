"""What a step's infos leave out and a potential is fitted to: the unknown part of f where the step began."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from agents.vec_env import GymVecEnv
from zo_gym.vector_env import ZOSamplingVectorEnv


class UnknownPart(VecEnvWrapper):
    """Adds `unknown_f` to each row's info: f less its known part at the x that the step began at. Costs no queries.

    Args:
        venv: The adapter around a `ZOSamplingVectorEnv` whose observations begin with x.

    Attributes:
        values: The unknown part at each row's iterate, (num_envs,).
    """

    def __init__(self, venv: GymVecEnv) -> None:
        super().__init__(venv)
        env = venv.env.unwrapped
        assert isinstance(env, ZOSamplingVectorEnv)
        self.problem = env.mdp.problem
        self.values = np.full(self.num_envs, np.nan)

    def reset(self) -> VecEnvObs:
        """Start all rows."""
        observations = self.venv.reset()
        self.values = self._unknown(np.asarray(observations), self.venv.reset_infos)
        return observations

    def step_wait(self) -> VecEnvStepReturn:
        """Step all rows."""
        observations, rewards, dones, infos = self.venv.step_wait()
        for info, value in zip(infos, self.values.tolist(), strict=True):
            info["unknown_f"] = value
        begun = self.venv.reset_infos
        now = [begun[row] if dones[row] else infos[row] for row in range(self.num_envs)]
        self.values = self._unknown(np.asarray(observations), now)
        return observations, rewards, dones, infos

    def _unknown(self, observations: np.ndarray, infos: Sequence[dict[str, Any]]) -> np.ndarray:
        f = np.array([info["f"] for info in infos], dtype=np.float64)
        problem = self.problem
        if problem.known is None:
            return f
        x = torch.from_numpy(observations[:, : problem.dim]).to(dtype=problem.dtype, device=problem.device)
        instances = torch.tensor([info.get("instance", 0) for info in infos], device=problem.device)
        known: np.ndarray = problem.known.value(x[:, None, :], instances)[:, 0].double().cpu().numpy()
        return f - known
