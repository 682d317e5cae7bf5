"""Methods by name: which sampler, estimator and update rule make up which algorithm, with usable defaults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from zo_gym.base import Estimator, Sampler, UpdateRule
from zo_gym.checks import check_directions
from zo_gym.estimators import ESTIMATORS
from zo_gym.registry import lookup
from zo_gym.samplers import SAMPLERS
from zo_gym.updates import RULES


@dataclass(frozen=True)
class Method:
    """A zeroth-order method, ready to run at one dimension.

    Attributes:
        sampler: Which directions to try.
        estimator: How their values become a gradient estimate.
        update: How to move.
        num_directions: q.
    """

    sampler: Sampler
    estimator: Estimator
    update: UpdateRule
    num_directions: int


@dataclass(frozen=True)
class Recipe:
    """The parts of a named method, by name.

    Attributes:
        sampler: A key of `SAMPLERS`.
        estimator: A key of `ESTIMATORS`.
        update: A key of `RULES`.
        num_directions: q.
        learning_rate: d -> the default eta. The best one depends on f: tune it, except for "adaptive".
    """

    sampler: str
    estimator: str
    update: str
    num_directions: int
    learning_rate: Callable[[int], float]


def _per_dim(d: int) -> float:
    return 1 / d  # the paper's eta = delta / d with delta = 1


METHODS: dict[str, Recipe] = {
    "rand-ada": Recipe("sphere", "span", "adaptive", 1, lambda d: 1.0),
    "zo-sgd": Recipe("gaussian", "forward", "sgd", 20, _per_dim),
    "zo-sgd-central": Recipe("gaussian", "central", "sgd", 10, _per_dim),
    "zo-momentum": Recipe("gaussian", "forward", "momentum", 20, lambda d: 0.1 / d),
    "zo-sign": Recipe("gaussian", "forward", "sign", 20, lambda d: 0.01),
    "zo-adam": Recipe("gaussian", "forward", "adam", 20, lambda d: 0.01),
    "zo-adamm": Recipe("gaussian", "forward", "adamm", 20, lambda d: 0.01),
    "spsa": Recipe("rademacher", "central", "sgd", 1, _per_dim),
    "guided-es": Recipe("guided", "central", "sgd", 10, _per_dim),
    "coordinate-adam": Recipe("coordinate", "coordinate", "adam", 1, lambda d: 0.01),
}


def build(
    method: str,
    dim: int,
    *,
    learning_rate: float | None = None,
    num_directions: int | None = None,
    sampler: str | Sampler | None = None,
    estimator: str | Estimator | None = None,
    update: str | UpdateRule | None = None,
) -> Method:
    """The named method at dimension `dim`, with any part replaced.

    Args:
        method: A key of `METHODS`.
        dim: d.
        learning_rate: eta; None for the method's default. Only for an update rule given by name.
        num_directions: q >= 1; None for the method's default.
        sampler: Instead of the method's: a name or a `Sampler`.
        estimator: Instead of the method's: a name or an `Estimator`.
        update: Instead of the method's: a name or an `UpdateRule`.

    Raises:
        ValueError: A name is unknown or a number out of range.
    """
    recipe = lookup(METHODS, method, "method")
    if num_directions is not None:
        recipe = replace(recipe, num_directions=check_directions(num_directions))
    if learning_rate is not None and isinstance(update, UpdateRule):
        raise ValueError("learning_rate is already inside the UpdateRule that update= holds. Drop learning_rate=.")
    eta = recipe.learning_rate(dim) if learning_rate is None else learning_rate
    rule: Any = recipe.update if update is None else update
    return Method(
        sampler=_part(SAMPLERS, sampler or recipe.sampler, "sampler", Sampler),
        estimator=_part(ESTIMATORS, estimator or recipe.estimator, "estimator", Estimator),
        update=rule if isinstance(rule, UpdateRule) else lookup(RULES, rule, "update")(eta),
        num_directions=recipe.num_directions,
    )


def _part(table: Any, given: Any, kind: str, shape: type) -> Any:
    if isinstance(given, shape):
        return given
    found = lookup(table, given, kind)
    return found if isinstance(found, shape) else found()
