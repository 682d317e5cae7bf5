"""Objectives by name. A new one is a factory `(*, dtype, device, **options) -> Problem` and a line in `PROBLEMS`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from zo_gym.base import Problem
from zo_gym.problems import bbob, classification, synthetic
from zo_gym.registry import lookup, reject_unknown

PROBLEMS: dict[str, Callable[..., Problem]] = {
    "quadratic": synthetic.quadratic,
    "rosenbrock": synthetic.rosenbrock,
    "logistic": synthetic.logistic,
    "ellipsoid": bbob.ellipsoid,
    "discus": bbob.discus,
    "bent_cigar": bbob.bent_cigar,
    "sharp_ridge": bbob.sharp_ridge,
    "rastrigin": bbob.rastrigin,
    "breast_cancer": classification.breast_cancer,
    "heart_scale": partial(classification.libsvm, "heart_scale"),
    "german.numer_scale": partial(classification.libsvm, "german.numer_scale"),
    "a9a": partial(classification.libsvm, "a9a"),
}


def make_problem(
    name: str, /, *, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu", **options: Any
) -> Problem:
    """The problem registered as `name`.

    Args:
        name: A key of `PROBLEMS`.
        dtype: Floating type of x and f. Finite differences need float64.
        device: Where f is evaluated.
        **options: The factory's own keywords, e.g. `dim` and `condition` of "quadratic".

    Raises:
        ValueError: Unknown name, or a bad option value.
        TypeError: Unknown option, or dtype is not a floating torch.dtype.
    """
    factory = lookup(PROBLEMS, name, "problem")
    known = set(inspect.signature(factory).parameters) - {"dtype", "device"}
    reject_unknown(options, known, f"problem '{name}'")
    if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise TypeError(f"dtype must be a floating torch.dtype, got {dtype!r}. Use torch.float64 or torch.float32.")
    return factory(dtype=dtype, device=device, **options)
