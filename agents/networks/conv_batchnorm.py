"""The paper's feature extractor: convolutions with batch normalisation (section 3.2)."""

from __future__ import annotations

import math

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn


class ConvBatchNorm(BaseFeaturesExtractor):
    """CNN with batch normalisation: 1-D over the coordinates of a vector, 2-D over an image.

    The observation's blocks of d coordinates (x; with `observation="history"` also g and the last move) become
    channels. What remains of the observation (the log of the queries left) joins after the convolutions.

    Args:
        observation_space: Flat Box (n,).
        dim: d.
        shape: Shape of the image behind the vector, e.g. (28, 28), else None; ValueError unless it has d entries.
        features_dim: Length of the features.
    """

    def __init__(
        self,
        observation_space: spaces.Box,
        dim: int,
        shape: tuple[int, ...] | None = None,
        features_dim: int = 128,
    ) -> None:
        super().__init__(observation_space, features_dim)
        (n,) = observation_space.shape
        self.blocks, self.rest = divmod(n, dim)
        self.grid = (dim,) if shape is None else tuple(shape)
        if math.prod(self.grid) != dim:
            raise ValueError(f"shape must have {dim} entries (dim), got {shape}.")
        conv, norm = (nn.Conv1d, nn.BatchNorm1d) if len(self.grid) == 1 else (nn.Conv2d, nn.BatchNorm2d)
        self.convolutions = nn.Sequential(
            norm(self.blocks),
            conv(self.blocks, 16, kernel_size=5, padding=2),
            norm(16),
            nn.ReLU(),
            conv(16, 32, kernel_size=5, stride=2, padding=2),
            norm(32),
            nn.ReLU(),
            nn.Flatten(),
        )
        flat = 32 * math.prod((side + 1) // 2 for side in self.grid)
        self.head = nn.Sequential(nn.Linear(flat + self.rest, features_dim), nn.BatchNorm1d(features_dim), nn.ReLU())

    def forward(self, observations: Tensor) -> Tensor:
        """Compute features, (B, n) -> (B, features_dim)."""
        cut = observations.shape[1] - self.rest
        maps = observations[:, :cut].reshape(-1, self.blocks, *self.grid)  # (B, blocks, *grid)
        return self.head(torch.cat([self.convolutions(maps), observations[:, cut:]], dim=1))
