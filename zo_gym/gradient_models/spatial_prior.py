"""Prior variances for the residual of a guess: the square of the guess, spread over the image behind x."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zo_gym.gradient_models.guided_settings import GuidedGPSettings


def spatial_prior(settings: GuidedGPSettings, guess: Tensor) -> Tensor:
    """Return w (B, d) for guesses h (B, d), with mean 1 in every row; 1 where there is no image (H, W) behind x."""
    shape = settings.shape
    if shape is None or len(shape) != 2:
        return torch.ones_like(guess)
    energy = _blur(guess.square().view(-1, 1, *shape), settings.prior_blur * shape[1]).flatten(1)
    mean = energy.mean(1, keepdim=True)
    w = torch.where(mean > 0, energy / mean.clamp_min(torch.finfo(mean.dtype).tiny), 1.0) + settings.prior_floor
    return w / (1 + settings.prior_floor)


def _blur(images: Tensor, std: float) -> Tensor:
    """Convolve images (B, 1, H, W) with a Gaussian of this standard deviation in pixels; they are 0 outside."""
    reach = math.ceil(3 * std)
    line = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    bell = torch.exp(-line.square() / (2 * std**2))
    bell = bell / bell.sum()
    across = torch.nn.functional.conv2d(images, bell.view(1, 1, 1, -1), padding=(0, reach))
    return torch.nn.functional.conv2d(across, bell.view(1, 1, -1, 1), padding=(reach, 0))
