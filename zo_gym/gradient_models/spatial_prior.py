"""Where a guess of the gradient says that f can change at all: its square, spread over the image behind x."""

from __future__ import annotations

import math

import torch
from torch import Tensor

FLOOR, BLUR = 0.5, 1 / 18
"""Of w: the share of it that is everywhere alike, before it is scaled to mean 1; and the standard deviation, in
widths of the image, over which h^2 is spread."""


def spatial_prior(guess: Tensor, shape: tuple[int, ...] | None) -> Tensor:
    """w (B, d) for guesses h (B, d), with mean 1 in every row; 1 where there is no image (H, W) behind x."""
    if shape is None or len(shape) != 2:
        return torch.ones_like(guess)
    energy = _blurred(guess.square().view(-1, 1, *shape), BLUR * shape[1]).flatten(1)
    mean = energy.mean(1, keepdim=True)
    w = torch.where(mean > 0, energy / mean.clamp_min(torch.finfo(mean.dtype).tiny), 1.0) + FLOOR
    return w / (1 + FLOOR)


def _blurred(images: Tensor, std: float) -> Tensor:
    """The images (B, 1, H, W) under a Gaussian of this standard deviation in pixels, 0 outside."""
    reach = math.ceil(3 * std)
    line = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    bell = torch.exp(-line.square() / (2 * std**2))
    bell = bell / bell.sum()
    across = torch.nn.functional.conv2d(images, bell.view(1, 1, 1, -1), padding=(0, reach))
    return torch.nn.functional.conv2d(across, bell.view(1, 1, -1, 1), padding=(reach, 0))
