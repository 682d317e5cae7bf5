"""DDPG's and TD3's policy for directions: an actor on the unit sphere, and critics that ignore an action's length."""

from __future__ import annotations

from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.td3.policies import Actor, TD3Policy
from torch import Tensor

from zo_gym.directions import unit


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
