"""Checks of what users pass; messages name the argument, what is expected, and the value."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np


def check_integer(name: str, value: Any, least: int) -> int:
    """Return the value as an int.

    Raises:
        TypeError: It is not an integer, or a bool.
        ValueError: It is less than `least`.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be an integer >= {least}, got {value!r}. Pass an int.")
    if number < least:
        raise ValueError(f"{name} must be >= {least}, got {number}.")
    return number


def check_number(name: str, value: Any, expected: str = "a finite number") -> float:
    """Return the value as a float.

    Raises:
        TypeError: It is not a real number, or a bool.
        ValueError: It is NaN or infinite.
    """
    number: Any = value.item() if getattr(value, "shape", None) in ((), (1,)) else value  # numpy's and torch's scalars
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise TypeError(f"{name} must be {expected}, got {value!r}. Pass a number.")
    if not math.isfinite(number):
        raise ValueError(f"{name} must be {expected}, got {number}.")
    return float(number)


def check_at_least(name: str, value: Any, least: float) -> float:
    """Return the value as a float.

    Raises:
        TypeError: It is not a real number.
        ValueError: It is NaN, infinite or less than `least`.
    """
    number = check_number(name, value, f"finite and >= {least:g}")
    if number < least:
        raise ValueError(f"{name} must be finite and >= {least:g}, got {number:g}.")
    return number


def check_positive(name: str, value: Any) -> float:
    """Return the value as a float.

    Raises:
        TypeError: It is not a real number.
        ValueError: It is NaN, infinite or not positive.
    """
    number = check_number(name, value, "a finite number > 0")
    if number <= 0:
        raise ValueError(f"{name} must be a finite number > 0, got {value}.")
    return number


def check_flag(name: str, value: Any) -> bool:
    """Return the value as a bool.

    Raises:
        TypeError: It is neither True nor False.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be a bool, got {value!r}. Pass True or False.")
    return bool(value)
