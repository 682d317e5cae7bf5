"""Methods by name: which sampler, estimator and update rule make up which algorithm, with usable defaults.

Other packages add methods as entry points of the group "zo_gym.methods": functions (dim, **options) -> `Method`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from torch import Tensor

from zo_gym.base import Estimator, Known, Objective, Sampler, UpdateRule
from zo_gym.checks import check_directions
from zo_gym.estimators import ESTIMATORS, span
from zo_gym.registry import is_learned, lookup, reject_unknown
from zo_gym.rnn import LSTMOptimizer, load_optimizer
from zo_gym.samplers import SAMPLERS, true_gradient
from zo_gym.updates import RULES, sharpened


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
        sampler: A key of `SAMPLERS`; with `needs_gradient` "true_gradient", which is no key.
        estimator: A key of `ESTIMATORS`.
        update: A key of `RULES`.
        num_directions: q; at most d where the estimator is "span".
        learning_rate: d -> the default eta. The best one depends on f: tune it, except for "adaptive".
        needs_gradient: The sampler is made from grad f: a yardstick, not a method for a black box.
    """

    sampler: str
    estimator: str
    update: str
    num_directions: int
    learning_rate: Callable[[int], float]
    needs_gradient: bool = False


def _per_dim(d: int) -> float:
    return 1 / d  # the paper's eta = delta / d with delta = 1


def _one(d: int) -> float:
    return 1.0  # a projection is no longer than grad f itself: gradient descent's 1 / L with L = 1


METHODS: dict[str, Recipe] = {
    "rand-ada": Recipe("sphere", "span", "adaptive", 1, _one),
    "belief": Recipe("belief", "span", "adaptive", 1, _one),
    "belief-tr": Recipe("far_belief", "span", "trust_region", 1, lambda d: 0.3),
    "zo-sgd": Recipe("gaussian", "forward", "sgd", 20, _per_dim),
    "zo-sgd-q1": Recipe("gaussian", "forward", "sgd", 1, _per_dim),
    "zo-sgd-sphere": Recipe("sphere", "forward", "sgd", 20, _per_dim),
    "zo-sgd-central": Recipe("gaussian", "central", "sgd", 10, _per_dim),
    "zo-momentum": Recipe("gaussian", "forward", "momentum", 20, lambda d: 0.1 / d),
    "zo-sign": Recipe("gaussian", "forward", "sign", 20, lambda d: 0.01),
    "zo-adam": Recipe("gaussian", "forward", "adam", 20, lambda d: 0.01),
    "zo-adamm": Recipe("gaussian", "forward", "adamm", 20, lambda d: 0.01),
    "spsa": Recipe("rademacher", "central", "sgd", 1, _per_dim),
    "guided-es": Recipe("guided", "central", "sgd", 10, _per_dim),
    "history-rgf": Recipe("history", "span", "sgd", 2, _one),
    "coordinate-adam": Recipe("coordinate", "coordinate", "adam", 1, lambda d: 0.01),
    "zo-lstm": Recipe("query_rnn", "forward", "update_rnn", 20, lambda d: 1.0),
    "true-gradient": Recipe("true_gradient", "span", "sgd", 1, _one, needs_gradient=True),
}


GROUP = "zo_gym.methods"
"""Of entry points."""


def installed_methods() -> dict[str, EntryPoint]:
    """The methods that installed packages add, by name; "zo-rl" is one."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def require_method(name: str, others: Mapping[str, Any]) -> None:
    """Raise ValueError unless there is a method of this name, here, among `others`, or in an installed package."""
    if not (isinstance(name, str) and (name in METHODS or name in others)):
        known = {**METHODS, **others, **installed_methods()}
        family = name.partition(":")[0] if isinstance(name, str) else name
        lookup(known, family if family in known else name, "method")


def build(
    method: str,
    dim: int,
    *,
    learning_rate: float | None = None,
    num_directions: int | None = None,
    sampler: str | Sampler | None = None,
    estimator: str | Estimator | None = None,
    update: str | UpdateRule | None = None,
    weights: LSTMOptimizer | str | Path | None = None,
    gradient: Objective | None = None,
    context: Tensor | None = None,
    known: Known | None = None,
    sharpness: float = 1.0,
) -> Method:
    """The named method at dimension `dim`, with any part replaced.

    Args:
        method: A key of `METHODS`, or of `installed_methods()`; "<key>:<variant>" for an installed one that comes in
            variants, e.g. "pretrained:mnist-attack".
        dim: d.
        learning_rate: eta; None for the method's default. Only for an update rule given by name.
        num_directions: q >= 1; None for the method's default, lowered to d where the estimator is "span".
        sampler: Instead of the method's: a name or a `Sampler`.
        estimator: Instead of the method's: a name or an `Estimator`.
        update: Instead of the method's: a name or an `UpdateRule`.
        weights: What the learned parts learned: a trained optimizer or its file; for "zo-lstm" and other uses of
            "query_rnn" and "update_rnn", which need it; for "zo-rl" and "pretrained" the folder of a policy.
        gradient: Points (m, d) -> grad f (m, d), for "true-gradient", which needs it; no other method looks at it. Its
            evaluations are not queries.
        context: What the problem tells a policy besides x, one line a row of the run, (B, k); for installed methods.
        known: The known part of f where the run takes it exactly (`zo_gym.step.step`, "composite"), rows numbered from
            0; for installed methods whose directions heed it.
        sharpness: p >= 1: how much of a move goes to the larger coordinates of g (`zo_gym.updates.sharpened`).

    Raises:
        FileNotFoundError: There is no such file of weights.
        TypeError, ValueError: A name is unknown, a number out of range, weights are missing or out of place, or the
            gradient is missing.
    """
    if isinstance(method, str) and method not in METHODS:
        name, _, variant = method.partition(":")
        if entry := installed_methods().get(name):
            given: dict[str, Any] = {"learning_rate": learning_rate, "num_directions": num_directions}
            given |= {"sampler": sampler, "estimator": estimator, "update": update, "weights": weights}
            given |= {"sharpness": None if sharpness == 1 else sharpness, "variant": variant or None}
            return _build_installed(entry, dim, given, {"context": context, "known": known})
    recipe = lookup(METHODS, method, "method")
    probing = _part(ESTIMATORS, estimator or recipe.estimator, "estimator", Estimator)
    if num_directions is not None:
        q = check_directions(num_directions)
    else:
        q = min(recipe.num_directions, dim) if probing is span else recipe.num_directions
    if learning_rate is not None and isinstance(update, UpdateRule):
        raise ValueError("learning_rate is already inside the UpdateRule that update= holds. Drop learning_rate=.")
    eta = recipe.learning_rate(dim) if learning_rate is None else learning_rate
    rule: Any = recipe.update if update is None else update
    directions: Any = sampler or recipe.sampler
    if recipe.needs_gradient and not sampler:
        directions = true_gradient(_require_gradient(method, gradient))
    learned = [name for table, name in ((SAMPLERS, directions), (RULES, rule)) if is_learned(table, name)]
    weights = _require_weights(method, learned, weights)
    return Method(
        sampler=_part(SAMPLERS, directions, "sampler", Sampler, weights),
        estimator=probing,
        update=sharpened(_part(RULES, rule, "update", UpdateRule, weights, eta), sharpness),
        num_directions=q,
    )


def _build_installed(entry: EntryPoint, dim: int, given: Mapping[str, Any], offered: Mapping[str, Any]) -> Method:
    """The factory's method: what was given it must take, what the problem offers it may."""
    factory = entry.load()
    accepted = set(inspect.signature(factory).parameters) - {"dim"}
    options = {name: value for name, value in given.items() if value is not None}
    reject_unknown(options, accepted, f"method '{entry.name}'")
    facts = {name: value for name, value in offered.items() if name in accepted}
    built: Method = factory(dim, **options, **facts)
    return built


def _part(table: Any, given: Any, kind: str, shape: type, weights: LSTMOptimizer | None = None, *values: float) -> Any:
    if isinstance(given, shape):
        return given
    found = lookup(table, given, kind)
    if isinstance(found, shape):
        return found
    return found(*values, weights=weights) if is_learned(table, given) else found(*values)


def _require_gradient(method: str, gradient: Objective | None) -> Objective:
    if gradient is None:
        raise ValueError(
            f"method '{method}' follows grad f, and the gradient is unknown here. Pass a problem that has one, or "
            "gradient= to Optimizer; for a black box choose another method."
        )
    return gradient


def _require_weights(
    method: str, learned: list[str], weights: LSTMOptimizer | str | Path | None
) -> LSTMOptimizer | None:
    """The weights, loaded, if the learned parts and they belong together."""
    if weights is None and learned:
        raise ValueError(
            f"method '{method}' with {' and '.join(learned)} needs weights=, a trained optimizer or its file, got "
            "None. Train one: python -m zo_gym.meta_train --problem NAME --out FILE"
        )
    if weights is not None and not learned:
        raise ValueError(f"weights= are for learned parts, and method '{method}' has none here. Drop weights=.")
    return load_optimizer(weights) if isinstance(weights, (str, Path)) else weights
