"""A model of grad f for vectors: a multilayer perceptron."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


class SlopeField(nn.Module):
    """Models grad f as h(s), a multilayer perceptron; it predicts the slope h(s).u along u.

    Args:
        dim: d.
        observation_dim: n >= d; the network sees what follows x, too.
        hidden: Widths of the hidden layers.

    Attributes:
        scale: Running mean of the measured |slope|, so that the perceptron's own outputs are of size 1.
    """

    scale: Tensor

    def __init__(self, dim: int, observation_dim: int, hidden: tuple[int, ...] = (64, 64)) -> None:
        super().__init__()
        widths = (observation_dim, *hidden)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.Tanh()]
        self.field = nn.Sequential(*layers, nn.Linear(widths[-1], dim))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, observations: Tensor, directions: Tensor) -> tuple[Tensor, None]:
        """Predict slopes, (B, n), (B, d) -> (B,), and no values."""
        return self.scale * (self.field(observations) * directions).sum(1), None

    def gradient(self, observations: Tensor) -> Tensor:
        """Compute h in units of f per x, (B, n) -> (B, d)."""
        return self.scale * self.field(observations)
