"""Checks of what users pass; messages name the argument, what is expected, and the value.

Each returns a plain int, float or bool; another type raises TypeError, and a number out of range ValueError.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

DEFAULT_SMOOTHING = 0.01
"""The length mu of finite differences where the user names none, in units of x."""


def check_integer(name: str, value: Any, least: int) -> int:
    """Require an integer >= `least`; a bool is none."""
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
    """Require a finite real number; a bool is none, scalars of numpy and torch are."""
    number: Any = value.item() if getattr(value, "shape", None) in ((), (1,)) else value
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise TypeError(f"{name} must be {expected}, got {value!r}. Pass a number.")
    if not math.isfinite(number):
        raise ValueError(f"{name} must be {expected}, got {number}.")
    return float(number)


def check_at_least(name: str, value: Any, least: float) -> float:
    """Require a finite real number >= `least`."""
    number = check_number(name, value, f"finite and >= {least:g}")
    if number < least:
        raise ValueError(f"{name} must be finite and >= {least:g}, got {number:g}.")
    return number


def check_positive(name: str, value: Any) -> float:
    """Require a finite real number > 0."""
    number = check_number(name, value, "a finite number > 0")
    if number <= 0:
        raise ValueError(f"{name} must be a finite number > 0, got {value}.")
    return number


def check_flag(name: str, value: Any) -> bool:
    """Require True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be a bool, got {value!r}. Pass True or False.")
    return bool(value)


def check_smoothing(smoothing: Any, dtype: torch.dtype, dim: int = 1) -> float:
    """Require mu > 0 that the rounding of x, of this dtype, leaves intact.

    The least is 8 times the distance from 1 to the next number. None means 0.01, or so much more that a step of length
    mu moves each of `dim` coordinates by that least.
    """
    least = 8 * torch.finfo(dtype).eps
    if smoothing is None:
        return max(DEFAULT_SMOOTHING, least * math.sqrt(dim))
    smoothing = check_positive("smoothing", smoothing)
    if smoothing < least:
        raise ValueError(
            f"smoothing must be at least {least:.1e} for {dtype}, got {smoothing}: smaller differences are rounding "
            "noise. Use a larger smoothing, or x0 in float64."
        )
    return smoothing


def check_attributes(settings: Any, **checks: Callable[[str, Any], Any]) -> None:
    """Check these attributes of a frozen dataclass, and store what the checks return; a default of None may stay."""
    for name, check in checks.items():
        value = getattr(settings, name)
        if value is not None or getattr(type(settings), name) is not None:
            object.__setattr__(settings, name, check(name, value))
