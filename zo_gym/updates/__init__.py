"""Update rules by name. A new one is one function here and one line in the table; the contract tests then cover it."""

from collections.abc import Callable

from zo_gym.base import UpdateRule
from zo_gym.updates.accept_reject import adaptive, trust_region
from zo_gym.updates.conditional_gradient import conditional_gradient, diminishing
from zo_gym.updates.first_order import adam, adamm, momentum, polyak, sgd, sign
from zo_gym.updates.sharpen import sharpened
from zo_gym.updates.update_rnn import update_rnn

RULES: dict[str, Callable[..., UpdateRule]] = {
    "sgd": sgd,
    "sign": sign,
    "momentum": momentum,
    "adam": adam,
    "adamm": adamm,
    "adaptive": adaptive,
    "conditional-gradient": conditional_gradient,
    "diminishing": diminishing,
    "polyak": polyak,
    "trust-region": trust_region,
    "update-rnn": update_rnn,
}

__all__ = [
    "RULES",
    "adam",
    "adamm",
    "adaptive",
    "conditional_gradient",
    "diminishing",
    "momentum",
    "polyak",
    "sgd",
    "sharpened",
    "sign",
    "trust_region",
    "update_rnn",
]
