"""Exploring starts: rotated, scaled and shifted copies of an image, for policies to learn where no attack has been."""

from __future__ import annotations

import math

import torch
from torch import Tensor

ROTATION, SCALING, SHIFT = math.pi / 8, 0.2, 0.12
"""Most of a rotation in radians, of a change of size, and of a shift as a share of the image's side."""


def distorted(image: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """A copy of the image (side * side,) turned, resized and moved at random within the bounds above; bilinear.

    What comes into view from outside is 0.
    """
    a, b, c, dx, dy = (2 * torch.rand(5, generator=generator, device=generator.device).double() - 1).tolist()
    turn, width, height = ROTATION * a, 1 + SCALING * b, 1 + SCALING * c
    rows = [
        [math.cos(turn) / width, -math.sin(turn) / height, 2 * SHIFT * dx],
        [math.sin(turn) / width, math.cos(turn) / height, 2 * SHIFT * dy],
    ]
    inverse = torch.tensor([rows], dtype=image.dtype, device=image.device)  # (1, 2, 3)
    grid = torch.nn.functional.affine_grid(inverse, [1, 1, side, side], align_corners=False)
    picture = image.view(1, 1, side, side)
    return torch.nn.functional.grid_sample(picture, grid, align_corners=False).view(-1)
