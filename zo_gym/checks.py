"""Checks of what users pass; messages name the argument, what is expected, and the value."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np


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


def check_number(name: str, value: Any, expected: str = "a finite number") -> float:
    """`value` as a float, if it is a real number (not a bool) and finite.

    Raises:
        TypeError: It is not a number.
        ValueError: It is NaN or infinite.
    """
    number: Any = value.item() if hasattr(value, "item") and getattr(value, "size", 1) == 1 else value
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise TypeError(f"{name} must be {expected}, got {value!r}. Pass a number.")
    if not math.isfinite(number):
        raise ValueError(f"{name} must be {expected}, got {number}.")
    return float(number)


def check_positive(name: str, value: Any) -> float:
    """`value` as a float, if it is a finite number > 0."""
    number = check_number(name, value, "a finite number > 0")
    if number <= 0:
        raise ValueError(f"{name} must be a finite number > 0, got {value}.")
    return number


def check_flag(name: str, value: Any) -> bool:
    """`value`, if it is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be a bool, got {value!r}. Pass True or False.")
    return bool(value)
