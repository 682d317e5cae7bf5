"""Names to things, with help for typos."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def suggest(name: str, known: Iterable[str]) -> str:
    """The end of an error message: the nearest known name, or all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1)
    return f"Did you mean '{near[0]}'?" if near else f"Known: {', '.join(names)}."


def lookup(table: Mapping[str, T], name: str, kind: str) -> T:
    """`table[name]`.

    Args:
        table: A registry such as `zo_gym.samplers.SAMPLERS`.
        name: The user's word.
        kind: What the table holds, for the message: "sampler", "problem".

    Raises:
        ValueError: No such name; the message suggests the nearest one.
        TypeError: The name is not a string.
    """
    if not isinstance(name, str):
        raise TypeError(f"{kind} must be a name (str), got {name!r}. {suggest('', table)}")
    if name not in table:
        raise ValueError(f"Unknown {kind} {name!r}. {suggest(name, table)}")
    return table[name]


def is_learned(table: Mapping[str, Any], name: Any) -> bool:
    """Is this the name of a part that is of use only with trained weights, i.e. whose factory takes `weights`?"""
    return isinstance(name, str) and name in table and "weights" in inspect.signature(table[name]).parameters


def reject_unknown(given: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise TypeError for the first keyword in `given` that `where` does not take."""
    known = set(known)
    for name in given:
        if not known:
            raise TypeError(f"{where} takes no further keyword, got '{name}'. Drop it.")
        if name not in known:
            raise TypeError(f"{where} got an unknown keyword '{name}'. {suggest(name, known)}")
