"""Networks that model slopes: h(s) such that f(x + mu u) - f(x) = mu h(s).u to first order, for every direction u.

Every two-point step reveals one signed slope D. A model is fitted to D, not to rewards: a reward is even in u and says
nothing of the sign. Both models answer the same: the slope along u, the value of f if they model one, and h.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STEP = 0.03
"""Length of the finite difference that stands for a potential's slope; second derivatives would cost more."""
SHIFTS, LARGE = ((0, 0), (1, 1), (-1, -1)), 16
"""Moves of an image in pixels over which h is averaged, where its sides are at least so long: see `Potential`."""


class SlopeField(nn.Module):
    """h(x), a multilayer perceptron, for vectors; the slope along u is scale * h.u.

    Args:
        dim: d.
        observation_dim: n >= d; what follows x is seen too.
        hidden: Widths of the hidden layers.

    Attributes:
        scale: Running mean of |D|, so that the perceptron's own outputs are of size 1.
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
        """(B, n), (B, d) -> slopes (B,), no values."""
        return self.scale * (self.field(observations) * directions).sum(1), None

    def gradient(self, observations: Tensor) -> Tensor:
        """h in units of f per x, (B, n) -> (B, d)."""
        return self.scale * self.field(observations)


class FirstConv2d(nn.Conv2d):
    """A convolution 5 x 5 of stride 2 and padding 2 of images with one channel, whose gradient in the image is quick.

    Where that is wanted it is computed as one of stride 1 over the four images that every second pixel makes, with the
    same weights: 3 x 3 of them, and a sixth row and column of zeros. Gradients through a stride take 4 times as long.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(1, channels, kernel_size=5, stride=2, padding=2)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, channels, H / 2, W / 2), rounded up."""
        if not images.requires_grad:
            return super().forward(images)
        height, width = images.shape[2:]
        even = F.pad(images, (0, width % 2, 0, height % 2))
        weight = F.pixel_unshuffle(F.pad(self.weight, (0, 1, 0, 1)), 2)
        return F.conv2d(F.pixel_unshuffle(even, 2), weight, self.bias, padding=1)


class Potential(nn.Module):
    """A scalar V(x, t) of an image x and a class t, h = grad_x V: a classifier z, and how far class t leads in it.

    V = z_t - 1/2 log sum_{j != t} exp(2 z_j), a smooth form of the margin that an attack has to close. Images live in
    [0, 1]^d: V sees clip(x), as an attacked classifier does, and h is the gradient at clip(x).

    Convolutions of stride 2 see an image that has moved by a pixel in another way, and the slopes they leave to chance
    differ. h is the mean over three such moves, each moved back, which agrees better with the gradient of classifiers
    that hardly care: a cosine of .56 instead of .52 in one trial, of .60 instead of .55 in another.

    Args:
        shape: (H, W) of the image behind x.
        classes: Entries of the one-hot class that follows x in an observation.
        channels: Of the two convolutions of stride 2.
        hidden: Width of the layer after them.

    Attributes:
        scale: Running mean of |D|, the unit of errors; V itself is in units of f.
    """

    scale: Tensor

    def __init__(
        self, shape: tuple[int, int], classes: int, channels: tuple[int, int] = (16, 32), hidden: int = 128
    ) -> None:
        super().__init__()
        self.shape, self.classes = shape, classes
        first, second = channels
        height, width = ((side + 3) // 4 for side in shape)
        self.logits = nn.Sequential(
            FirstConv2d(first),
            nn.SiLU(),
            nn.Conv2d(first, second, kernel_size=5, stride=2, padding=2),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(second * height * width, hidden),
            nn.SiLU(),
            nn.Linear(hidden, classes),
        )
        self.register_buffer("scale", torch.ones(()))

    def forward(self, observations: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """(B, n), (B, d) -> slopes (B,), values V (B,)."""
        x, context = self._split(observations)
        both = torch.cat([x, x + STEP * directions]).clamp(0.0, 1.0)
        here, there = self._lead(both, context.repeat(2, 1)).chunk(2)
        return (there - here) / STEP, here

    def gradient(self, observations: Tensor) -> Tensor:
        """h in units of f per x, (B, n) -> (B, d), without a graph; under `torch.no_grad` too."""
        x, context = self._split(observations.detach())
        images = x.clamp(0.0, 1.0).view(-1, *self.shape)
        shifts = SHIFTS if min(self.shape) >= LARGE else SHIFTS[:1]
        with torch.enable_grad():
            moved = torch.cat([images.roll(shift, (1, 2)) for shift in shifts]).requires_grad_()
            (h,) = torch.autograd.grad(self._lead(moved, context.repeat(len(shifts), 1)).sum(), moved)
        parts = zip(h.chunk(len(shifts)), shifts, strict=True)
        back = torch.stack([part.roll((-down, -right), (1, 2)) for part, (down, right) in parts])
        return back.mean(0).flatten(1)

    def _split(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        return observations[:, : -self.classes], observations[:, -self.classes :]

    def _lead(self, images: Tensor, context: Tensor) -> Tensor:
        z = self.logits(images.view(-1, 1, *self.shape))  # (B, d) -> (B, classes)
        rest = z.masked_fill(context > 0.5, -torch.inf)
        return (z * context).sum(1) - 0.5 * torch.logsumexp(2.0 * rest, dim=1)


SlopeModel = SlopeField | Potential


def slope_model(dim: int, observation_dim: int, shape: tuple[int, ...] | None) -> SlopeModel:
    """The model for these observations: a potential for an image with a class, else a field.

    Args:
        dim: d.
        observation_dim: n; what is beyond d is the one-hot class, where x is an image.
        shape: Of the image behind x, or None.
    """
    if shape is not None and len(shape) == 2 and observation_dim > dim:
        return Potential((shape[0], shape[1]), observation_dim - dim)
    return SlopeField(dim, observation_dim)
