"""Samplers by name. A new one is one function here and one line in the table; the contract tests then cover it."""

from collections.abc import Callable

from zo_gym.base import Sampler
from zo_gym.samplers.belief import belief, far_belief
from zo_gym.samplers.guided import guided
from zo_gym.samplers.history import history
from zo_gym.samplers.hybrid import hybrid
from zo_gym.samplers.isotropic import coordinate, gaussian, rademacher, sphere
from zo_gym.samplers.prior_belief import prior_belief
from zo_gym.samplers.query_rnn import query_rnn
from zo_gym.samplers.reference import true_gradient

SAMPLERS: dict[str, Callable[..., Sampler]] = {
    "gaussian": gaussian,
    "sphere": sphere,
    "rademacher": rademacher,
    "coordinate": coordinate,
    "guided": guided,
    "history": history,
    "belief": belief,
    "far_belief": far_belief,
    "query_rnn": query_rnn,
}

__all__ = [
    "SAMPLERS",
    "belief",
    "coordinate",
    "far_belief",
    "gaussian",
    "guided",
    "history",
    "hybrid",
    "prior_belief",
    "query_rnn",
    "rademacher",
    "sphere",
    "true_gradient",
]
