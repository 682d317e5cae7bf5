"""Exploring starts: rotated, scaled and shifted copies of an image, for policies to learn where no attack has been."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

ROTATION, SCALING, SHIFT = math.pi / 8, 0.2, 0.12
"""Most of a rotation in radians, of a change of size, and of a shift as a share of the image's side."""


def distorted(images: Tensor, side: int, draws: Tensor) -> Tensor:
    """Copies of images (b, side * side), each turned, resized and moved within the bounds above; bilinear.

    What comes into view from outside is 0.

    Args:
        images: At least one.
        side: Of each.
        draws: From 0 to 1, (b, 5), where to be within the bounds: of the turn, width, height, and the two shifts.
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
