"""Gradient models by name: they predict grad f from the slopes of earlier steps.

A new model is one function here and one line in the table; the contract tests then cover it. `guided_gp` needs a
learned guess of the gradient, so no name in the table builds it.
"""

from collections.abc import Callable

from zo_gym.base import GradientModel
from zo_gym.gradient_models.gp import GPSettings, gp, gp_wide
from zo_gym.gradient_models.guided_gp import GradientGuess, guided_gp
from zo_gym.gradient_models.guided_settings import GuidedGPSettings

GRADIENT_MODELS: dict[str, Callable[..., GradientModel]] = {"gp": gp, "gp-wide": gp_wide}

__all__ = ["GRADIENT_MODELS", "GPSettings", "GradientGuess", "GuidedGPSettings", "gp", "gp_wide", "guided_gp"]
