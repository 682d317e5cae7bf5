"""The networks: the paper's convolution + batch-normalisation features, and the actor that ends in a unit direction."""

from __future__ import annotations

import math

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.td3.policies import Actor
from torch import Tensor, nn

from zo_gym.directions import unit


class ConvBatchNorm(BaseFeaturesExtractor):
    """CNN with batch normalisation (paper, section 3.2): 1-D over the coordinates of a vector, 2-D over an image.

    The observation's blocks of d coordinates (x; with `observation="history"` also g and the last move) become
    channels; what is left over (log of queries left) joins after the convolutions.

    Args:
        observation_space: Flat Box (n,).
        dim: d.
        shape: Of the image behind the vector, e.g. (28, 28); None for a plain vector.
        channels: Of the two convolutions.
        features_dim: Length of the features.
    """

    def __init__(
        self,
        observation_space: spaces.Box,
        dim: int,
        shape: tuple[int, ...] | None = None,
        channels: tuple[int, int] = (16, 32),
        features_dim: int = 128,
    ) -> None:
        super().__init__(observation_space, features_dim)
        (n,) = observation_space.shape
        self.blocks, self.rest = divmod(n, dim)
        self.grid = (dim,) if shape is None else tuple(shape)
        if math.prod(self.grid) != dim:
            raise ValueError(f"shape must have {dim} entries (dim), got {shape}.")
        conv, norm = (nn.Conv1d, nn.BatchNorm1d) if len(self.grid) == 1 else (nn.Conv2d, nn.BatchNorm2d)
        first, second = channels
        self.convolutions = nn.Sequential(
            norm(self.blocks),
            conv(self.blocks, first, kernel_size=5, padding=2),
            norm(first),
            nn.ReLU(),
            conv(first, second, kernel_size=5, stride=2, padding=2),
            norm(second),
            nn.ReLU(),
            nn.Flatten(),
        )
        flat = second * math.prod((side + 1) // 2 for side in self.grid)
        self.head = nn.Sequential(nn.Linear(flat + self.rest, features_dim), nn.BatchNorm1d(features_dim), nn.ReLU())

    def forward(self, observations: Tensor) -> Tensor:
        """(B, n) -> (B, features_dim)."""
        cut = observations.shape[1] - self.rest
        maps = observations[:, :cut].reshape(-1, self.blocks, *self.grid)  # (B, blocks, *grid)
        return self.head(torch.cat([self.convolutions(maps), observations[:, cut:]], dim=1))


class UnitActor(Actor):
    """TD3's actor, ending in a direction of length 1 instead of a tanh box (paper: the action is a direction)."""

    def forward(self, obs: Tensor) -> Tensor:
        """(B, n) -> unit vectors (B, d)."""
        features = self.extract_features(obs, self.features_extractor)
        return unit(self.mu[:-1](features))  # all but the closing tanh


class UnitCritic(ContinuousCritic):
    """TD3's critic on the action's direction: the environment normalises u, so Q(s, u) = Q(s, u / |u|)."""

    def forward(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, ...]:
        """(B, n), (B, d) -> one (B, 1) per critic."""
        return super().forward(obs, unit(actions))

    def q1_forward(self, obs: Tensor, actions: Tensor) -> Tensor:
        """(B, n), (B, d) -> (B, 1), the first critic."""
        return super().q1_forward(obs, unit(actions))
