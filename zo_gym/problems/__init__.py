"""Objectives by name. A new one is a factory `(*, dtype, device, **options) -> Problem` and a line in `PROBLEMS`.

Problems of one kind that are evaluated together are a factory of a `Family` and a line in `FAMILIES`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import torch

from zo_gym.base import Family, Problem
from zo_gym.problems import attack, bbob, classification, synthetic
from zo_gym.registry import lookup, reject_unknown

T = TypeVar("T")

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
    "mnist_attack": partial(attack.attack_image, "mnist"),
    "mnist_mlp_attack": partial(attack.attack_image, "mnist_mlp"),
    "mnist_wide_attack": partial(attack.attack_image, "mnist_wide"),
    "digits_attack": partial(attack.attack_image, "digits"),
}

FAMILIES: dict[str, Callable[..., Family]] = {
    "mnist_attack": partial(attack.attack, "mnist"),
    "mnist_mlp_attack": partial(attack.attack, "mnist_mlp"),
    "mnist_wide_attack": partial(attack.attack, "mnist_wide"),
    "digits_attack": partial(attack.attack, "digits"),
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
    factory = _checked(PROBLEMS, "problem", name, dtype, options)
    return factory(dtype=dtype, device=device, **options)


def make_family(
    name: str, /, *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu", **options: Any
) -> Family:
    """The family registered as `name`.

    Args:
        name: A key of `FAMILIES`.
        dtype: Floating type of x and f; None for the family's own choice.
        device: Where f is evaluated.
        **options: The factory's own keywords, e.g. `split` and `size` of "mnist_attack".

    Raises:
        ValueError: Unknown name, or a bad option value.
        TypeError: Unknown option, or dtype is not a floating torch.dtype.
    """
    factory = _checked(FAMILIES, "family", name, dtype, options)
    return factory(device=device, **options) if dtype is None else factory(dtype=dtype, device=device, **options)


def _checked(
    table: dict[str, Callable[..., T]], kind: str, name: str, dtype: torch.dtype | None, options: dict[str, Any]
) -> Callable[..., T]:
    """The factory, once it is known to take these arguments."""
    factory = lookup(table, name, kind)
    known = set(inspect.signature(factory).parameters) - {"dtype", "device"}
    reject_unknown(options, known, f"{kind} '{name}'")
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise TypeError(f"dtype must be a floating torch.dtype, got {dtype!r}. Use torch.float64 or torch.float32.")
    return factory
