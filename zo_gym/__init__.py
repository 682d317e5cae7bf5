"""Zeroth-order optimisation with learned sampling, as a Gymnasium environment and as a library.

Importing this package registers `ZOSampling-v0`.
"""

import gymnasium

from zo_gym._checkout import find_agents
from zo_gym.base import Estimate, Estimator, Gate, GradientModel, Method, Sampler, UpdateRule
from zo_gym.baselines import BASELINES
from zo_gym.composite.term import CompositeTerm
from zo_gym.envs.env import ZOSamplingEnv
from zo_gym.envs.vector_env import ZOSamplingVectorEnv
from zo_gym.errors import BudgetError, ObjectiveError
from zo_gym.estimators import ESTIMATORS
from zo_gym.gate import GATES
from zo_gym.gradient_models import GRADIENT_MODELS
from zo_gym.methods import METHODS
from zo_gym.minimize import minimize
from zo_gym.optimizer import Optimizer
from zo_gym.oracle import Oracle
from zo_gym.problem import Problem, single_problem
from zo_gym.problems import PROBLEMS, make_problem
from zo_gym.result import Progress, Result, Trace
from zo_gym.samplers import SAMPLERS
from zo_gym.updates import RULES
from zo_gym.version import __version__

ENV_ID = "ZOSampling-v0"

find_agents(__path__)
if ENV_ID not in gymnasium.registry:  # importing or reloading twice is harmless
    gymnasium.register(
        id=ENV_ID,
        entry_point="zo_gym.envs.env:ZOSamplingEnv",
        vector_entry_point="zo_gym.envs.vector_env:ZOSamplingVectorEnv",
    )

__all__ = [
    "BASELINES",
    "ENV_ID",
    "ESTIMATORS",
    "GATES",
    "GRADIENT_MODELS",
    "METHODS",
    "PROBLEMS",
    "RULES",
    "SAMPLERS",
    "BudgetError",
    "CompositeTerm",
    "Estimate",
    "Estimator",
    "Gate",
    "GradientModel",
    "Method",
    "ObjectiveError",
    "Optimizer",
    "Oracle",
    "Problem",
    "Progress",
    "Result",
    "Sampler",
    "Trace",
    "UpdateRule",
    "ZOSamplingEnv",
    "ZOSamplingVectorEnv",
    "__version__",
    "make_problem",
    "minimize",
    "single_problem",
]
