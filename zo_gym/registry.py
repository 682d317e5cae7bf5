"""Registries: what a name stands for, with help for typos."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

BUDGET_ELSEWHERE = {
    "maxiter",
    "maxfev",
    "maxfun",
    "max_evals",
    "max_nfev",
    "maxeval",
    "maxevals",
    "n_calls",
    "num_evals",
}
"""What other optimisers call an argument like `budget`."""


def suggest(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message: the nearest known name, or all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name).lower(), names, n=1)
    return f"Did you mean '{near[0]}'?" if near else f"Known: {', '.join(names)}."


def lookup(table: Mapping[str, T], name: str, kind: str) -> T:
    """Return `table[name]`.

    Args:
        table: A registry such as `zo_gym.samplers.SAMPLERS`.
        name: What the user passed.
        kind: What the table holds, for the message: "sampler", "problem".

    Raises:
        ValueError: No such name exists; the message suggests the nearest one.
        TypeError: The name is not a string.
    """
    if not isinstance(name, str):
        raise TypeError(f"{kind} must be a name (str), got {name!r}. {suggest('', table)}")
    if name not in table:
        raise ValueError(f"Unknown {kind} {name!r}. {suggest(name, table)}")
    return table[name]


def is_learned(table: Mapping[str, Any], name: Any) -> bool:
    """Tell whether this names a part that is of use only with trained weights: its factory takes `weights`."""
    return isinstance(name, str) and name in table and "weights" in inspect.signature(table[name]).parameters


def factory_of(kind: str, table: Mapping[str, Callable[..., T]], name: Any, weights: Any = None) -> Callable[..., T]:
    """Look up the factory of a part, with the weights where it is learned; without them that raises ValueError."""
    factory = lookup(table, name, kind)
    if not is_learned(table, name):
        return factory
    if weights is None:
        raise ValueError(
            f"{kind} '{name}' needs trained weights, got none. Pass weights=FILE to minimize or Optimizer, or {kind}="
            f"zo_gym.{kind}s.{factory.__name__}(weights=FILE) to an environment. Train them: python -m "
            "zo_gym.meta.train --problem NAME --out FILE"
        )
    return partial(factory, weights=weights)


def refuse(given: Mapping[str, Any], what: str) -> None:
    """Raise ValueError for the first of these arguments that was given."""
    for name, value in given.items():
        if value is not None:
            raise ValueError(
                f"{what}: {name}= is for the methods in zo_gym.METHODS, got {value!r:.80}. Drop it, or choose one."
            )


def reject_unknown(given: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise TypeError for the first keyword in `given` that `where` does not take.

    The message begins as Python's own: torchrl, for one, drops a keyword and tries again where it finds those words.
    """
    known = set(known)
    for name in given:
        if name in known:
            continue
        if name in BUDGET_ELSEWHERE and ("budget" in known or where.startswith("method ")):
            remedy = "Did you mean 'budget', the number of queries?"
        else:
            remedy = suggest(name, known) if known else "It takes no further keyword: drop it."
        raise TypeError(f"{where} got an unexpected keyword argument '{name}'. {remedy}")
