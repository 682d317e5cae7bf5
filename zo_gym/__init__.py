"""Zeroth-order optimisation with learned sampling, as a Gymnasium environment and as a library.

Importing this package registers `ZOSampling-v0`.
"""

import gymnasium

from zo_gym.base import (
    BudgetError,
    Estimate,
    Estimator,
    Family,
    Gate,
    ObjectiveError,
    Problem,
    Result,
    Sampler,
    Trace,
    UpdateRule,
)
from zo_gym.env import ZOSamplingEnv
from zo_gym.estimators import ESTIMATORS
from zo_gym.gate import GATES
from zo_gym.methods import METHODS, Method
from zo_gym.minimize import Progress, minimize
from zo_gym.optimizer import Optimizer
from zo_gym.oracle import Oracle
from zo_gym.peers import PEERS
from zo_gym.problems import FAMILIES, PROBLEMS, make_family, make_problem
from zo_gym.samplers import SAMPLERS
from zo_gym.updates import RULES
from zo_gym.vector_env import ZOSamplingVectorEnv
from zo_gym.version import __version__

ENV_ID = "ZOSampling-v0"

if ENV_ID not in gymnasium.registry:  # importing or reloading twice is harmless
    gymnasium.register(
        id=ENV_ID,
        entry_point="zo_gym.env:ZOSamplingEnv",
        vector_entry_point="zo_gym.vector_env:ZOSamplingVectorEnv",
    )

__all__ = [
    "ENV_ID",
    "ESTIMATORS",
    "FAMILIES",
    "GATES",
    "METHODS",
    "PEERS",
    "PROBLEMS",
    "RULES",
    "SAMPLERS",
    "BudgetError",
    "Estimate",
    "Estimator",
    "Family",
    "Gate",
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
    "make_family",
    "make_problem",
    "minimize",
]
