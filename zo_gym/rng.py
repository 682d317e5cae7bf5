"""Random numbers that belong to a row: every draw names its generators, one a row."""

from __future__ import annotations

import torch
from torch import Tensor

from zo_gym.base import Generators


def make_generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator on `device`, seeded with `seed`."""
    return torch.Generator(device=device).manual_seed(seed)


def normal(generators: Generators, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """~ N(0, 1), shape (B, *shape), row b drawn from generators[b], in the dtype of `like` and on its device."""
    if len(generators) == 1:
        return torch.randn((1, *shape), generator=generators[0], dtype=like.dtype, device=like.device)
    draws = [torch.randn(shape, generator=g, dtype=like.dtype, device=like.device) for g in generators]
    return torch.stack(draws)
