"""Augmentation: rotated, scaled and shifted copies of images, which give a policy more starts to train at."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

ROTATION, SCALING, SHIFT = math.pi / 8, 0.2, 0.12
"""The largest rotation in radians, change of size as a share of it, and shift as a share of the image's side."""


def distorted(images: Tensor, side: int, draws: Tensor) -> Tensor:
    """Turn, resize and shift each image within the bounds above, with bilinear interpolation; (b, side * side).

    Pixels from outside the image are 0.

    Args:
        images: (b, side * side), b >= 1.
        side: Width and height of an image in pixels.
        draws: Numbers from 0 to 1, (b, 5), that place the turn, width, height and the two shifts within the bounds.
    """
    a, b, c, dx, dy = (2 * draws.double() - 1).unbind(1)
    turn, width, height = ROTATION * a, 1 + SCALING * b, 1 + SCALING * c
    inverse = [turn.cos() / width, turn.sin() / height, 2 * SHIFT * dx, turn.sin() / width, turn.cos() / height]
    xx, xy, x0, yx, yy, y0 = (entry.view(-1, 1, 1).to(images) for entry in [*inverse, 2 * SHIFT * dy])
    middles = (2 * torch.arange(side, dtype=images.dtype, device=images.device) + 1) / side - 1
    x, y = middles.view(1, 1, side), middles.view(1, side, 1)  # of each pixel: the image spans [-1, 1] both ways
    across, down = xx * x - xy * y + x0, yx * x + yy * y + y0
    pictures = images.view(-1, 1, side, side)
    return grid_sample(pictures, torch.stack([across, down], dim=-1), align_corners=False).flatten(1)
