"""Samplers by name. A new one is one function here and one line in the table; the contract tests then cover it."""

from collections.abc import Callable

from zo_gym.base import Sampler
from zo_gym.samplers.guided import guided
from zo_gym.samplers.isotropic import coordinate, gaussian, rademacher, sphere

SAMPLERS: dict[str, Callable[..., Sampler]] = {
    "gaussian": gaussian,
    "sphere": sphere,
    "rademacher": rademacher,
    "coordinate": coordinate,
    "guided": guided,
}

__all__ = ["SAMPLERS", "coordinate", "gaussian", "guided", "rademacher", "sphere"]
