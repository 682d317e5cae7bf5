"""Samplers by name. A new one is one function here and one line in the table; the contract tests then cover it."""

from collections.abc import Callable

from zo_gym.base import Sampler
from zo_gym.samplers.guessed import history, true_gradient
from zo_gym.samplers.guided_es import guided_es
from zo_gym.samplers.isotropic import coordinate, gaussian, rademacher, sphere
from zo_gym.samplers.query_rnn import query_rnn

SAMPLERS: dict[str, Callable[..., Sampler]] = {
    "gaussian": gaussian,
    "sphere": sphere,
    "rademacher": rademacher,
    "coordinate": coordinate,
    "guided-es": guided_es,
    "history": history,
    "query-rnn": query_rnn,
}

__all__ = [
    "SAMPLERS",
    "coordinate",
    "gaussian",
    "guided_es",
    "history",
    "query_rnn",
    "rademacher",
    "sphere",
    "true_gradient",
]
