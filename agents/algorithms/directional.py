"""Actor-critics for directions: a critic fitted to the signed slope that every step measures, an actor -h / |h|.

For a step x' = x - eta D u, where D is the slope of f along u, the decrease of f is eta D^2 to first order. The
critic therefore has the form Q(s, u) = eta (h(s).u)^2, and no actor needs training: the best direction is +-h / |h|.
Two weights choose what is learned from: `slope_weight` fits h to the signed slopes D, `reward_weight` fits Q to
temporal differences.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from stable_baselines3.common.utils import polyak_update
from stable_baselines3.td3 import TD3
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from zo_gym.directions import unit

from ..networks.slope_model import SlopeModel, slope_model
from ..sb3.slope_buffer import SlopeBuffer, SlopeSamples
from .slope_fit import annealed, descend, set_rate, slope_loss
from .zorl import ZODDPG, ZOTD3

MEMORY = 0.99
"""Weight of the old value in the running mean of |D|, per step."""


class SlopeActor(nn.Module):
    """Computes the direction of descent, -h / |h|, from a critic's model; it has no parameters of its own."""

    def __init__(self, model: SlopeModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, observations: Tensor) -> Tensor:
        """Compute actions, (B, n) -> unit vectors (B, d)."""
        return -unit(self.model.gradient(observations))

    def set_training_mode(self, mode: bool) -> None:
        """Choose training or evaluation mode, by the name that SB3 uses."""
        self.train(mode)

    def _predict(self, observation: Tensor, deterministic: bool = False) -> Tensor:
        return self(observation)


class SlopeCritic(nn.Module):
    """Computes Q_i(s, u) = eta (slope_i(s, u) / scale)^2 for each of its models; eta is learned.

    Values are in units of scaled rewards.
    """

    def __init__(self, models: Sequence[SlopeModel]) -> None:
        super().__init__()
        self._models = nn.ModuleList(models)
        self.log_eta = nn.Parameter(torch.zeros(()))

    @property
    def models(self) -> list[SlopeModel]:
        """Return the models, one or two."""
        found: Any = list(self._models)
        return found

    def forward(self, observations: Tensor, directions: Tensor) -> tuple[Tensor, ...]:
        """Compute values, (B, n), (B, d) -> one (B, 1) per model."""
        slopes = (model(observations, directions)[0] / model.scale for model in self.models)
        return tuple(self.log_eta.exp() * slope.square()[:, None] for slope in slopes)

    @torch.no_grad()
    def follow(self, slopes: Tensor, share: float) -> None:
        """Move the scale towards the mean size of the finite ones among these slopes (n,) by this share."""
        known = slopes[slopes.isfinite()].abs()
        if len(known) and known.mean() > 0:
            for model in self.models:
                model.scale.lerp_(known.mean().to(model.scale), share)


class DirectionalPolicy(BasePolicy):
    """Holds a critic of one or more models of slopes, its slow copy, and the actor that the first model implies.

    Args:
        observation_space: Box (n,).
        action_space: Box (d,).
        lr_schedule: Learning rate of the one optimiser.
        shape: Shape of the image behind x, or None.
        n_critics: Number of models in the critic.
    """

    def __init__(
        self,
        observation_space: Any,
        action_space: Any,
        lr_schedule: Schedule,
        shape: tuple[int, ...] | None = None,
        n_critics: int = 2,
    ) -> None:
        super().__init__(observation_space, action_space)
        ((n,), (d,)) = observation_space.shape, action_space.shape
        critic: Any = SlopeCritic([slope_model(d, n, shape) for _ in range(n_critics)])
        self.critic: SlopeCritic = critic.to(memory_format=torch.channels_last)  # convolutions learn a third faster
        self.critic_target = copy.deepcopy(self.critic).requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.critic.parameters(), lr=lr_schedule(1))

    @property
    def actor(self) -> SlopeActor:
        """Make the actor anew: kept, it would hold the critic's parameters a second time in the module tree."""
        return SlopeActor(self.critic.models[0])

    @property
    def actor_target(self) -> SlopeActor:
        """Make the actor of the critic's slow copy."""
        return SlopeActor(self.critic_target.models[0])

    def forward(self, observations: Tensor, deterministic: bool = True) -> Tensor:
        """Compute actions, (B, n) -> unit vectors (B, d)."""
        return self._predict(observations, deterministic)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        assert isinstance(observation, Tensor)
        return self.actor(observation)


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
        for rate in annealed(self.lr_schedule(1.0), updates):
            set_rate(self.slopes.optimizer, rate)
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
        descend(policy.optimizer, loss)
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
