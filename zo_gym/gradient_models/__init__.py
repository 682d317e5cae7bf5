"""Gradient models by name: what remembered slopes say of grad f.

A new model is one function here and one line in the table; the contract tests then cover it. `guided_gp` needs a learned
guess of the gradient, so no name in the table builds it.
"""

from collections.abc import Callable

from zo_gym.base import GradientModel
from zo_gym.gradient_models.gp import gp, gp_wide
from zo_gym.gradient_models.guided_gp import guided_gp

GRADIENT_MODELS: dict[str, Callable[..., GradientModel]] = {"gp": gp, "gp-wide": gp_wide}

__all__ = ["GRADIENT_MODELS", "gp", "gp_wide", "guided_gp"]
