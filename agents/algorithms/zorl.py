"""Algorithm 2 of the paper on Stable-Baselines3's own collect and train loops.

The environment carries the gate: while it is shut, x follows q random directions and the action is only probed
(lines 4-6, 8-9, 11); once it is open, x follows the action (line 13). What remains for the agent is line 15: the
transition that x made is stored with the direction that x moved along, g / |g| in the random phase. SB3 then updates
actor and critic from the replay buffer (line 16) as it always does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from stable_baselines3 import DDPG, SAC, TD3
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import VectorizedActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm


class MovedAlong(OffPolicyAlgorithm):
    """Stores the direction that x moved along as the action (Algorithm 2, line 15); a mixin."""

    def _store_transition(
        self,
        replay_buffer: ReplayBuffer,
        buffer_action: np.ndarray,
        new_obs: np.ndarray | dict[str, np.ndarray],
        reward: np.ndarray,
        dones: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        if "direction" in infos[0]:
            buffer_action = np.stack([info["direction"] for info in infos])
        super()._store_transition(replay_buffer, buffer_action, new_obs, reward, dones, infos)


class ZODDPG(MovedAlong, DDPG):
    """DDPG for Algorithm 2, the paper's agent.

    Reference: Lillicrap et al. (2015), "Continuous control with deep reinforcement learning", arXiv:1509.02971.
    """


class ZOTD3(MovedAlong, TD3):
    """TD3 for Algorithm 2.

    Reference: Fujimoto, van Hoof and Meger (2018), "Addressing function approximation error in actor-critic methods",
    arXiv:1802.09477.
    """


class ZOSAC(MovedAlong, SAC):
    """SAC for Algorithm 2.

    Reference: Haarnoja et al. (2018), "Soft actor-critic: off-policy maximum entropy deep reinforcement learning with a
    stochastic actor", arXiv:1801.01290.
    """


class DirectionNoise(VectorizedActionNoise):
    """Draws exploration noise ~ N(0, sigma^2 I / d), of a length of about `sigma`; actions have length 1.

    One draw serves all rows: SB3's own copies of a noise, one per row, take longer than a thousand rows' evaluations.

    Args:
        sigma: Length; 1 to 2 explores well, and sqrt(d) is the paper's N(0, I).
        dim: d.
        rng: Generator of the noise.
        rows: How many environments act at once.
    """

    def __init__(self, sigma: float, dim: int, rng: np.random.Generator, rows: int = 1) -> None:
        self.sigma = sigma
        self.dim = dim
        self.rng = rng
        self.n_envs = rows

    def reset(self, indices: Iterable[int] | None = None) -> None:
        """Do nothing: draws do not depend on each other."""

    def __call__(self) -> np.ndarray:
        """Draw the noise of all rows, (rows, d)."""
        draws = self.rng.standard_normal((self.n_envs, self.dim))
        return (self.sigma / np.sqrt(self.dim) * draws).astype(np.float32)
