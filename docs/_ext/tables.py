"""Tables made from the code.

`{registry} zo_gym.SAMPLERS` lists a table of names, `{methods}` the parts of every method, and `{metrics}` what
training logs.
"""

from __future__ import annotations

import inspect
import re
from functools import partial
from importlib import import_module
from typing import Any

NAME = re.compile(r"zo_gym(\.\w+)+")


def resolve(path: str) -> Any:
    """Import `package.module.NAME`."""
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def first_sentence(obj: Any) -> str:
    """Return the first sentence of a docstring, on one line; empty where there is none of its own."""
    text = inspect.getdoc(obj)
    if not text or text == inspect.getdoc(type(obj)):
        return ""
    paragraph = " ".join(text.split("\n\n")[0].split())
    end = re.search(r"[.:](?= [A-Z])", paragraph)
    return paragraph if end is None else f"{paragraph[: end.start()]}."


def behind(obj: Any) -> Any:
    """Return what documents an entry of a table: the function of a `partial`, the first part of a tuple."""
    if isinstance(obj, partial):
        return obj.func
    return obj[0] if type(obj) is tuple else obj


def full_name(obj: Any) -> str:
    """Return the name under which a function or class is documented; empty for a constant."""
    found = behind(obj)
    if not hasattr(found, "__qualname__"):
        return ""
    package = ".".join(found.__module__.split(".")[:2])
    public = getattr(import_module(package), "__all__", ())
    return f"{package if found.__qualname__ in public else found.__module__}.{found.__qualname__}"


def registry_rows(path: str) -> list[tuple[str, str, str]]:
    """List (key, full name, first sentence) of the entries of a table of names."""
    entries = resolve(path)
    return [(name, full_name(value), first_sentence(behind(value))) for name, value in entries.items()]


def queries_per_step(recipe: Any) -> str:
    """Say what one step of a method costs in d dimensions, the value at the new point included."""
    d = 1_000_003  # larger than any q, so that an estimator that goes through all axes gives itself away
    probed = resolve("zo_gym.ESTIMATORS")[recipe.estimator].num_queries(recipe.num_directions, d)
    return "d + 1" if probed == d else str(probed + 1)


def method_rows() -> list[list[str]]:
    """List name, sampler, estimator, gradient model, update rule, q and cost of the methods."""
    rows = []
    for name, recipe in resolve("zo_gym.METHODS").items():
        parts = [recipe.sampler or "-", recipe.estimator, recipe.gradient_model or "-", recipe.update]
        rows.append([name, *parts, str(recipe.num_directions), queries_per_step(recipe)])
    return rows
