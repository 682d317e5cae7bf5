"""Rewards of a size that a network can learn from."""

from __future__ import annotations

import numpy as np
from stable_baselines3.common.vec_env import VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

MEMORY = 0.99
"""Weight of the old value in the running mean of the rewards' size, per step."""
LARGEST = 10.0
"""Scaled rewards are capped at this size."""


class RewardScale(VecEnvWrapper):
    """Divides rewards by a running mean of their size, and caps them at +-10.

    A run's decreases of f shrink by orders of magnitude. An exponential mean follows them; a mean over all of history
    (SB3's VecNormalize) would not.

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
