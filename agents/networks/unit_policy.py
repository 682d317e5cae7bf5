"""Stable-Baselines3 policy classes around the project's networks."""

from __future__ import annotations

from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.td3.policies import TD3Policy

from .conv_batchnorm import UnitActor, UnitCritic


class UnitPolicy(TD3Policy):
    """DDPG's and TD3's policy with an actor on the unit sphere and critics that see the action's direction only."""

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> UnitActor:
        """The actor, or its target."""
        return UnitActor(**self._update_features_extractor(self.actor_kwargs, features_extractor)).to(self.device)

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> UnitCritic:
        """The critics, or their targets."""
        return UnitCritic(**self._update_features_extractor(self.critic_kwargs, features_extractor)).to(self.device)
