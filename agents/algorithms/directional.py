"""Actor-critics for directions: a critic fitted to the signed slope that every step measures, an actor -h / |h|.

For a step x' = x - eta D u, where D is the slope of f along u, the decrease of f is eta D^2 to first order. The
critic therefore has the form Q(s, u) = eta (h(s).u)^2, and no actor needs training: the best direction is +-h / |h|.
`slope_weight` fits h to the signed slopes D, `reward_weight` fits Q to temporal differences.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.utils import polyak_update, update_learning_rate
from stable_baselines3.td3 import TD3
from torch import Tensor
from torch.nn.functional import mse_loss

from zo_gym.directions import unit

from ..networks.slope_model import SlopeModel
from ..networks.unit_policy import DirectionalPolicy
from ..sb3.slope_buffer import SlopeBuffer, SlopeSamples
from .zorl import ZODDPG, ZOTD3

MEMORY = 0.99
"""Weight of the old value in the running mean of |D|, per step."""
FLAT = 1e-3
"""Least black-box part, in units of f, at which slopes count: an attack that has succeeded has a flat loss of 0."""
VALUE_WEIGHT = 0.02
"""Weight of squared errors of a potential's values, in units of f, beside those of slopes in units of their scale."""
LARGEST = 10.0
"""Slopes are cut at this many scales: as f descends they shrink by orders of magnitude, and old ones stay."""


def slope_loss(model: SlopeModel, samples: SlopeSamples) -> Tensor:
    """Compute the mean squared error of the signed slopes in units of the model's scale, and of values if it has any.

    Slopes that were not measured (NaN) do not count, nor, for a potential, do those where the attack has succeeded.
    """
    predicted, values = model(samples.observations, samples.directions)
    counts = samples.slopes.isfinite()
    if values is not None:
        counts = counts & (samples.values > FLAT)
    weight = counts / counts.sum().clamp_min(1)
    wanted = (torch.where(counts, samples.slopes, 0.0) / model.scale).clamp(-LARGEST, LARGEST)
    loss = (weight * (predicted / model.scale - wanted).square()).sum()
    if values is None:
        return loss
    known = torch.where(counts, samples.values, 0.0)
    return loss + VALUE_WEIGHT * (weight * (values - known).square()).sum()


class Directional(TD3):
    """Makes DDPG and TD3 collect directions of length 1, and learn from slopes and rewards; a mixin.

    Args:
        *args: Arguments of DDPG and TD3.
        slope_weight: Weight of the squared errors of signed slopes.
        reward_weight: Weight of the squared TD errors; with 0, rewards are not used.
        random_probes: Collect along directions that are uniform on the sphere, not along the actor's plus noise.
        **kwargs: Arguments of DDPG and TD3; the action noise is needed.
    """

    def __init__(
        self,
        *args: Any,
        slope_weight: float = 1.0,
        reward_weight: float = 0.0,
        random_probes: bool = False,
        **kwargs: Any,
    ) -> None:
        self.slope_weight = slope_weight
        self.reward_weight = reward_weight
        self.random_probes = random_probes
        super().__init__(*args, **kwargs)

    @property
    def slopes(self) -> DirectionalPolicy:
        """Return the policy by its own type; SB3 declares TD3's class."""
        policy: Any = self.policy
        return policy

    def _create_aliases(self) -> None:
        policy: Any = self.policy
        self.actor, self.actor_target = policy.actor, policy.actor_target
        self.critic, self.critic_target = policy.critic, policy.critic_target

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return unit directions (n_envs, d), twice; SB3 would clip each coordinate and begin with uniform boxes."""
        assert action_noise is not None
        assert self._last_obs is not None
        directions = torch.as_tensor(action_noise(), device=self.device).view(n_envs, -1)
        if not self.random_probes:
            with torch.no_grad():
                directions = directions + self.slopes.actor(torch.as_tensor(self._last_obs, device=self.device))
        actions = unit(directions).cpu().numpy()
        return actions, actions

    def _store_transition(self, replay_buffer: Any, *args: Any) -> None:
        first = replay_buffer.size() == 0
        super()._store_transition(replay_buffer, *args)
        newest = torch.from_numpy(replay_buffer.slopes[replay_buffer.pos - 1])
        for critic in (self.slopes.critic, self.slopes.critic_target):
            critic.follow(newest, 1.0 if first else 1 - MEMORY)

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """Make so many updates, each on a fresh batch; their mean loss is logged as train/critic_loss."""
        self._update_learning_rate(self.slopes.optimizer)
        for _ in range(gradient_steps):
            self.logger.record_mean("train/critic_loss", self._update(batch_size))

    def finish(self, updates: int) -> None:
        """Make so many updates on what has been collected, with the learning rate annealed to 0. Costs no queries."""
        for k in range(updates):
            update_learning_rate(self.slopes.optimizer, self.lr_schedule(1.0) * (1 - k / updates))
            self._update(self.batch_size)

    def _update(self, batch_size: int) -> float:
        """Make one update on a fresh batch, and return the loss."""
        buffer, policy = self.replay_buffer, self.slopes
        assert isinstance(buffer, SlopeBuffer)
        samples = buffer.sample(batch_size)
        self._n_updates += 1
        terms: list[Tensor] = []
        if self.slope_weight > 0:
            terms += [self.slope_weight * slope_loss(model, samples) for model in policy.critic.models]
        if self.reward_weight > 0:
            terms.append(self.reward_weight * self._td_loss(samples))
        loss = torch.stack(terms).sum()
        policy.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        policy.optimizer.step()
        if self.reward_weight > 0 and self.gamma > 0 and self._n_updates % self.policy_delay == 0:
            polyak_update(policy.critic.parameters(), policy.critic_target.parameters(), self.tau)
        return loss.item()

    def _td_loss(self, samples: SlopeSamples) -> Tensor:
        """Compute the sum over the models of the mean of (r + gamma min_i Q_i(s', a') - Q(s, u))^2."""
        target = samples.rewards
        if self.gamma > 0:
            target = target + self.gamma * (1 - samples.dones) * self._next_value(samples)
        values = self.slopes.critic(samples.observations, samples.directions)
        return torch.stack([mse_loss(value, target) for value in values]).sum()

    @torch.no_grad()
    def _next_value(self, samples: SlopeSamples) -> Tensor:
        """Compute min_i Q_i(s', a'), (B, 1); a' is the slow actor's direction with TD3's smoothing noise."""
        assert samples.next_observations is not None
        directions = self.slopes.actor_target(samples.next_observations)
        noise = torch.randn_like(directions) * self.target_policy_noise
        limit = self.target_noise_clip
        values = self.slopes.critic_target(samples.next_observations, unit(directions + noise.clamp(-limit, limit)))
        return torch.stack(values).amin(0)


class DirectionalDDPG(Directional, ZODDPG):
    """DDPG with a critic of one model of slopes."""


class DirectionalTD3(Directional, ZOTD3):
    """TD3 with a critic of two models of slopes; the actor follows the first."""
