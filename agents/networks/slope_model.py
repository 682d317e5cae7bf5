"""Models of grad f: given an observation s of x, h(s) such that f(x + mu u) - f(x) = mu h(s).u to first order.

Every two-point step measures one signed slope along its direction. A model is fitted to these slopes, not to rewards: a
reward is even in u and does not depend on the slope's sign. Both models have the same interface: `forward` predicts the
slope along u, and the value of f where the model has one; `gradient` computes h.
"""

from __future__ import annotations

import torch
from stable_baselines3.common.torch_layers import create_mlp
from torch import Tensor, nn
from torch.nn import functional as F

STEP = 0.03
"""Length in x of the finite difference that stands for a potential's slope; second derivatives would cost more."""
SHIFTS = ((0, 0), (1, 1), (-1, -1))
"""Moves of an image in pixels over which h is averaged; see `Potential`."""
LARGE = 16
"""Least side in pixels of an image that is moved; on smaller ones h is not averaged."""


class SlopeField(nn.Module):
    """Models grad f as h(s), a multilayer perceptron; it predicts the slope h(s).u along u.

    Args:
        dim: d.
        observation_dim: n >= d; the network sees what follows x, too.

    Attributes:
        scale: Running mean of the measured |slope|, so that the perceptron's own outputs are of size 1.
    """

    scale: Tensor

    def __init__(self, dim: int, observation_dim: int) -> None:
        super().__init__()
        self.field = nn.Sequential(*create_mlp(observation_dim, dim, [64, 64], nn.Tanh))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, observations: Tensor, directions: Tensor) -> tuple[Tensor, None]:
        """Predict slopes, (B, n), (B, d) -> (B,), and no values."""
        return self.scale * (self.field(observations) * directions).sum(1), None

    def gradient(self, observations: Tensor) -> Tensor:
        """Compute h in units of f per x, (B, n) -> (B, d)."""
        return self.scale * self.field(observations)


class FirstConv2d(nn.Conv2d):
    """Convolves one channel with 5 x 5 filters, stride 2 and padding 2, with a quick gradient in the image.

    Gradients through a stride take 4 times as long. Where the image's gradient is wanted, the layer is computed as a
    convolution of stride 1 over the four images that every second pixel makes, with the same weights, padded to 6 x 6.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(1, channels, kernel_size=5, stride=2, padding=2)

    def forward(self, images: Tensor) -> Tensor:
        """Convolve, (B, 1, H, W) -> (B, channels, H / 2, W / 2), rounded up."""
        if not images.requires_grad:
            return super().forward(images)
        height, width = images.shape[2:]
        even = F.pad(images, (0, width % 2, 0, height % 2))
        weight = F.pixel_unshuffle(F.pad(self.weight, (0, 1, 0, 1)), 2)
        return F.conv2d(F.pixel_unshuffle(even, 2), weight, self.bias, padding=1)


class Potential(nn.Module):
    """Models f as a scalar V(x, t) of an image x and a class t, and grad f as h = grad_x V.

    A classifier computes logits z, and V = z_t - 1/2 log sum_{j != t} exp(2 z_j) is a smooth form of the margin that an
    attack has to close. V and its gradient h are those at clip(x, 0, 1), as of an attacked classifier.

    A convolution of stride 2 responds differently to an image that has moved by a pixel, and the slopes that training
    leaves undetermined differ. h is therefore the mean over three such moves, each moved back. This agrees better with
    the gradient of classifiers that hardly change under such moves: a cosine of .56 instead of .52 in one experiment,
    and of .60 instead of .55 in another.

    Args:
        shape: (H, W) of the image behind x.
        classes: Entries of the one-hot class that follows x in an observation.

    Attributes:
        scale: Running mean of the measured |slope|, the unit of errors; V itself is in units of f.
    """

    scale: Tensor

    def __init__(self, shape: tuple[int, int], classes: int) -> None:
        super().__init__()
        self.shape, self.classes = shape, classes
        height, width = ((side + 3) // 4 for side in shape)
        self.logits = nn.Sequential(
            FirstConv2d(16),
            nn.SiLU(),
            nn.Conv2d(16, 32, kernel_size=5, stride=2, padding=2),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(32 * height * width, 128),
            nn.SiLU(),
            nn.Linear(128, classes),
        )
        self.register_buffer("scale", torch.ones(()))

    def forward(self, observations: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Predict slopes and values V, (B, n), (B, d) -> (B,), (B,)."""
        x, context = self._split(observations)
        both = torch.cat([x, x + STEP * directions]).clamp(0.0, 1.0)
        here, there = self._margin(both, context.repeat(2, 1)).chunk(2)
        return (there - here) / STEP, here

    def gradient(self, observations: Tensor) -> Tensor:
        """Compute h in units of f per x, (B, n) -> (B, d), without a graph; under `torch.no_grad` too."""
        x, context = self._split(observations.detach())
        images = x.clamp(0.0, 1.0).view(-1, *self.shape)
        shifts = SHIFTS if min(self.shape) >= LARGE else SHIFTS[:1]
        with torch.enable_grad():
            moved = torch.cat([images.roll(shift, (1, 2)) for shift in shifts]).requires_grad_()
            (h,) = torch.autograd.grad(self._margin(moved, context.repeat(len(shifts), 1)).sum(), moved)
        parts = zip(h.chunk(len(shifts)), shifts, strict=True)
        back = torch.stack([part.roll((-down, -right), (1, 2)) for part, (down, right) in parts])
        return back.mean(0).flatten(1)

    def _split(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        return observations[:, : -self.classes], observations[:, -self.classes :]

    def _margin(self, images: Tensor, context: Tensor) -> Tensor:
        z = self.logits(images.view(-1, 1, *self.shape))  # (B, d) -> (B, classes)
        rest = z.masked_fill(context > 0.5, -torch.inf)
        return (z * context).sum(1) - 0.5 * torch.logsumexp(2.0 * rest, dim=1)


SlopeModel = SlopeField | Potential


def slope_model(dim: int, observation_dim: int, shape: tuple[int, ...] | None) -> SlopeModel:
    """Make the model for these observations: a potential for an image with a class, else a field.

    Args:
        dim: d.
        observation_dim: n; where x is an image, what is beyond d is the one-hot class.
        shape: Shape of the image behind x, or None.
    """
    if shape is not None and len(shape) == 2 and observation_dim > dim:
        return Potential((shape[0], shape[1]), observation_dim - dim)
    return SlopeField(dim, observation_dim)
