"""Random numbers per row: every draw takes its generators, one per row."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from zo_gym.checks import check_integer
from zo_gym.problem import Generators


def make_generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Make a torch generator on `device`, seeded with `seed`."""
    return torch.Generator(device=device).manual_seed(seed)


def direction_generator(seeds: np.random.SeedSequence, device: torch.device | str = "cpu") -> torch.Generator:
    """Make the generator of one run's directions."""
    (entropy,) = seeds.generate_state(1, np.uint64)
    return make_generator(int(entropy >> 1), device)


def seed_sequence(seed: int | None) -> np.random.SeedSequence:
    """Make the sequence that seeds a run; None takes fresh entropy, and anything but an int >= 0 raises ValueError."""
    try:
        return np.random.SeedSequence(None if seed is None else check_integer("seed", seed, 0))
    except (TypeError, ValueError) as error:
        raise ValueError(f"seed must be an integer >= 0 or None, got {seed!r}.") from error


def normal(generators: Generators, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Draw from N(0, 1), shape (B, *shape), row b from generators[b], in the dtype of `like` and on its device."""
    if len(generators) == 1:
        return torch.randn((1, *shape), generator=generators[0], dtype=like.dtype, device=like.device)
    draws = [torch.randn(shape, generator=g, dtype=like.dtype, device=like.device) for g in generators]
    return torch.stack(draws)


def random_start(dim: int, generator: torch.Generator) -> Tensor:
    """Draw from N(0, I) / sqrt(d), shape (d,), float64."""
    return torch.randn(dim, generator=generator, dtype=torch.float64, device=generator.device) / math.sqrt(dim)
