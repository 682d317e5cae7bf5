"""Checks of the options that several problems take."""

from __future__ import annotations

import math
import operator
from typing import Any


def check_integer(name: str, value: Any, least: int) -> int:
    """`value` as an int, if it is an integer (not a bool) >= `least`."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer >= {least}, got {value!r}. Pass an int.")
    if number < least:
        raise ValueError(f"{name} must be >= {least}, got {number}.")
    return number


def check_at_least(name: str, value: Any, least: float) -> float:
    """`value` as a float, if it is finite and >= `least`."""
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be a number >= {least:g}, got {value!r}.") from error
    if not (math.isfinite(number) and number >= least):
        raise ValueError(f"{name} must be finite and >= {least:g}, got {number:g}.")
    return number
