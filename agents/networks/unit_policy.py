"""Policies for directions: actors on the unit sphere, and critics that ignore an action's length.

`UnitPolicy` is DDPG's and TD3's, with networks of their own for actor and critic. `DirectionalPolicy` has a critic of
models of slopes (`zo_gym.agents.networks.slope_model`), which imply the actor.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from stable_baselines3.common.policies import BasePolicy, ContinuousCritic
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from stable_baselines3.td3.policies import Actor, TD3Policy
from torch import Tensor, nn

from zo_gym.directions import unit

from .slope_model import SlopeModel, slope_model


class UnitActor(Actor):
    """TD3's actor that ends in a direction of length 1 instead of a tanh box (paper: the action is a direction)."""

    def forward(self, obs: Tensor) -> Tensor:
        """Compute actions, (B, n) -> unit vectors (B, d)."""
        features = self.extract_features(obs, self.features_extractor)
        return unit(self.mu[:-1](features))  # all layers but the closing tanh


class UnitCritic(ContinuousCritic):
    """TD3's critic of an action's direction: the environment normalises u, so Q(s, u) = Q(s, u / |u|)."""

    def forward(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, ...]:
        """Compute the values of all critics, (B, n), (B, d) -> one (B, 1) each."""
        return super().forward(obs, unit(actions))

    def q1_forward(self, obs: Tensor, actions: Tensor) -> Tensor:
        """Compute the value of the first critic, (B, n), (B, d) -> (B, 1)."""
        return super().q1_forward(obs, unit(actions))


class UnitPolicy(TD3Policy):
    """TD3's policy class with `UnitActor` and `UnitCritic`."""

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> UnitActor:
        """Make the actor, or its target."""
        return UnitActor(**self._update_features_extractor(self.actor_kwargs, features_extractor)).to(self.device)

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> UnitCritic:
        """Make the critics, or their targets."""
        return UnitCritic(**self._update_features_extractor(self.critic_kwargs, features_extractor)).to(self.device)


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
