"""Methods by name: which sampler, estimator, gradient model and update rule make up which algorithm, with defaults.

Other packages add methods as entry points of the group "zo_gym.methods": functions (dim, **options) -> `Method`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from torch import Tensor

from zo_gym.base import Estimator, GradientModel, Method, Sampler, UpdateRule
from zo_gym.checks import check_integer
from zo_gym.composite.term import CompositeTerm
from zo_gym.estimators import ESTIMATORS, span
from zo_gym.gradient_models import GRADIENT_MODELS
from zo_gym.meta.rnn import LSTMOptimizer, load_optimizer
from zo_gym.problem import Objective
from zo_gym.registry import factory_of, is_learned, lookup, reject_unknown
from zo_gym.samplers import SAMPLERS, true_gradient
from zo_gym.updates import RULES, sharpened


@dataclass(frozen=True)
class MethodRecipe:
    """The parts of a named method, by name.

    Attributes:
        sampler: A key of `SAMPLERS`; None: the gradient model's own probes; "true-gradient" with `needs_gradient`.
        estimator: A key of `ESTIMATORS`.
        update: A key of `RULES`.
        num_directions: q; at most d where the estimator is "span".
        learning_rate: Computes the default eta from d; tune it, but for "adaptive" and "trust-region".
        gradient_model: A key of `GRADIENT_MODELS`, or None.
        needs_gradient: The sampler is made from grad f: a yardstick, not a method for a black box.
    """

    sampler: str | None
    estimator: str
    update: str
    num_directions: int
    learning_rate: Callable[[int], float]
    gradient_model: str | None = None
    needs_gradient: bool = False


def _per_dim(d: int) -> float:
    return 1 / d  # the paper's eta = delta / d with delta = 1


def _one(d: int) -> float:
    return 1.0  # a projection is no longer than grad f itself: gradient descent's 1 / L with L = 1


METHODS: dict[str, MethodRecipe] = {
    "rand-ada": MethodRecipe("sphere", "span", "adaptive", 1, _one),
    "gp": MethodRecipe(None, "span", "adaptive", 1, _one, gradient_model="gp"),
    "gp-tr": MethodRecipe(None, "span", "trust-region", 1, lambda d: 0.3, gradient_model="gp-wide"),
    "zo-sgd": MethodRecipe("gaussian", "forward", "sgd", 20, _per_dim),
    "zo-sgd-q1": MethodRecipe("gaussian", "forward", "sgd", 1, _per_dim),
    "zo-sgd-sphere": MethodRecipe("sphere", "forward", "sgd", 20, _per_dim),
    "zo-sgd-central": MethodRecipe("gaussian", "central", "sgd", 10, _per_dim),
    "zo-momentum": MethodRecipe("gaussian", "forward", "momentum", 20, lambda d: 0.1 / d),
    "zo-sign": MethodRecipe("gaussian", "forward", "sign", 20, lambda d: 0.01),
    "zo-adam": MethodRecipe("gaussian", "forward", "adam", 20, lambda d: 0.01),
    "zo-adamm": MethodRecipe("gaussian", "forward", "adamm", 20, lambda d: 0.01),
    "spsa": MethodRecipe("rademacher", "central", "sgd", 1, _per_dim),
    "guided-es": MethodRecipe("guided-es", "central", "sgd", 10, _per_dim),
    "history-rgf": MethodRecipe("history", "span", "sgd", 2, _one),
    "coordinate-adam": MethodRecipe("coordinate", "coordinate", "adam", 1, lambda d: 0.01),
    "zo-lstm": MethodRecipe("query-rnn", "forward", "update-rnn", 20, _one),
    "true-gradient": MethodRecipe("true-gradient", "span", "sgd", 1, _one, needs_gradient=True),
}

GROUP = "zo_gym.methods"
"""The group of entry points by which other packages add methods."""

AGENT_METHODS = {
    "zo-rl": "zo_gym.agents.policies.methods:zo_rl",
    "pretrained": "zo_gym.agents.policies.methods:pretrained",
}
"""Methods that follow a trained policy: name -> where its factory is. They need the extra "agents"."""


def added_methods() -> dict[str, Callable[[], Callable[..., Method]]]:
    """Return the methods that are not in `METHODS`, by name, each as a function that loads its factory."""
    own = {name: partial(_load, name, place) for name, place in AGENT_METHODS.items()}
    return own | {entry.name: entry.load for entry in entry_points(group=GROUP)}


def _load(name: str, place: str) -> Callable[..., Method]:
    module, _, attribute = place.partition(":")
    try:
        factory: Callable[..., Method] = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise ImportError(f"Method '{name}' needs {error.name}. Install it: pip install 'zo-gym[agents]'.") from error
    return factory


def require_method(name: str, others: Mapping[str, Any]) -> None:
    """Raise ValueError unless a method of this name exists, here, among `others`, or in an installed package."""
    if not (isinstance(name, str) and (name in METHODS or name in others)):
        known = {**METHODS, **others, **added_methods()}
        head = name.partition(":")[0] if isinstance(name, str) else name
        lookup(known, head if isinstance(name, str) and head in known else name, "method")


def build(method: str, dim: int, **options: Any) -> Method:
    """Build the named method at dimension `dim`, with any part replaced.

    Args:
        method: A key of `METHODS` or of `added_methods()`; or "<key>:<variant>", as in "pretrained:mnist-attack".
        dim: d.
        **options: Attributes of `Parts`.

    Raises:
        FileNotFoundError: No such file of weights exists.
        TypeError, ValueError: A name or option is unknown, a number out of range, weights are missing or out of place,
            or the gradient is missing.
    """
    given = {name: value for name, value in options.items() if value is not None}
    reject_unknown(options, Parts.__dataclass_fields__, f"method '{method}'")
    if "learning_rate" in given and isinstance(given.get("update"), UpdateRule):
        raise ValueError("learning_rate is already inside the UpdateRule that update= holds. Drop learning_rate=.")
    if isinstance(method, str) and method not in METHODS:
        name, _, variant = method.partition(":")
        if load := added_methods().get(name):
            return _build_added(name, load(), dim, given | ({"variant": variant} if variant else {}))
    recipe = lookup(METHODS, method, "method")
    own: dict[str, Any] = {**vars(recipe), "learning_rate": recipe.learning_rate(dim)}
    q, needs_gradient = own.pop("num_directions"), own.pop("needs_gradient")
    if needs_gradient and "sampler" not in given:
        own["sampler"] = true_gradient(_require_gradient(method, given.get("gradient")))
    elif "gradient_model" in given:
        own["sampler"] = None
    parts = Parts(**{**own, **given})
    estimator: Any = parts.estimator
    if not isinstance(estimator, Estimator):
        estimator = lookup(ESTIMATORS, estimator, "estimator")
    if parts.num_directions is not None:
        q = check_integer("num_directions", parts.num_directions, 1)
    elif estimator is span:
        q = min(q, dim)
    update, sampler, model, weights = parts.update, parts.sampler, parts.gradient_model, parts.weights
    if weights is not None:
        weights = _load_weights(method, weights, is_learned(RULES, update) or is_learned(SAMPLERS, sampler))
    if not isinstance(update, UpdateRule):
        update = factory_of("update", RULES, update, weights)(parts.learning_rate)
    if not isinstance(sampler, (Sampler, type(None))):
        sampler = factory_of("sampler", SAMPLERS, sampler, weights)()
    if not isinstance(model, (GradientModel, type(None))):
        model = lookup(GRADIENT_MODELS, model, "gradient_model")(smoothing=parts.smoothing)
    if parts.sharpness is not None:
        update = sharpened(update, parts.sharpness)
    return Method(sampler, estimator, update, q, model)


@dataclass(frozen=True)
class Parts:
    """Lists what may be replaced in a named method.

    Attributes:
        learning_rate: eta; None for the method's default. Only for an update rule given by name.
        num_directions: q >= 1; None for the method's default, lowered to d where the estimator is "span".
        sampler: Instead of the method's: a name or a `Sampler`.
        estimator: Instead of the method's: a name or an `Estimator`.
        gradient_model: Instead of the method's: a name or a `GradientModel`. It also chooses the directions, unless
            `sampler` is given.
        update: Instead of the method's: a name or an `UpdateRule`.
        weights: A trained optimizer or its file, for "zo-lstm" and other uses of "query-rnn" and "update-rnn", which
            need it; for "zo-rl" and "pretrained" the folder of a policy.
        gradient: Points (m, d) -> grad f (m, d), which "true-gradient" alone takes, and needs, at no query.
        context: What the problem tells a policy besides x, one line a row of the run, (B, k); for added methods.
        composite: The composite term that the run takes exactly, rows numbered from 0; for added methods that use it.
        sharpness: p >= 1: how much of a move goes to the larger coordinates of g (`zo_gym.updates.sharpened`); None: 1.
        smoothing: The run's mu, for gradient models by name and for added methods that use it; None: 0.01.
    """

    learning_rate: float | None = None
    num_directions: int | None = None
    sampler: str | Sampler | None = None
    estimator: str | Estimator | None = None
    gradient_model: str | GradientModel | None = None
    update: str | UpdateRule | None = None
    weights: LSTMOptimizer | str | Path | None = None
    gradient: Objective | None = None
    context: Tensor | None = None
    composite: CompositeTerm | None = None
    sharpness: float | None = None
    smoothing: float | None = None


OFFERED = ("gradient", "context", "composite", "smoothing")
"""What a problem and a run offer to every method; the other parts are what the user asked for."""


def _build_added(name: str, factory: Callable[..., Method], dim: int, given: Mapping[str, Any]) -> Method:
    """Call the factory: it must take what the user asked for, and may take what the problem offers."""
    accepted = set(inspect.signature(factory).parameters) - {"dim"}
    asked = {key: value for key, value in given.items() if key not in OFFERED}
    if "variant" in asked and "variant" not in accepted:
        raise ValueError(f"method '{name}' has no variants, got '{asked['variant']}'. Pass weights= instead.")
    reject_unknown(asked, accepted, f"method '{name}'")
    return factory(dim, **{key: value for key, value in given.items() if key in accepted})


def _require_gradient(method: str, gradient: Objective | None) -> Objective:
    if gradient is None:
        raise ValueError(
            f"method '{method}' follows grad f, and the gradient is unknown here. Pass a problem that has one, or "
            "gradient= to Optimizer; for a black box choose another method."
        )
    return gradient


def _load_weights(method: str, weights: LSTMOptimizer | str | Path, learned: bool) -> LSTMOptimizer:
    """Load the weights, which are for learned parts."""
    if not learned:
        raise ValueError(f"weights= are for learned parts, and method '{method}' has none here. Drop weights=.")
    return load_optimizer(weights) if isinstance(weights, (str, Path)) else weights
