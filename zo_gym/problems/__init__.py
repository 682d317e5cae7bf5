"""Problems by name. A new one is a factory `(*, dtype, device, **options) -> Problem` and a line in `PROBLEMS`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from zo_gym.problem import Problem
from zo_gym.problems import bbob, classification, synthetic
from zo_gym.problems.attack import attack
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
    "mnist_attack": partial(attack.attack, "mnist"),
    "mnist_mlp_attack": partial(attack.attack, "mnist_mlp"),
    "mnist_wide_attack": partial(attack.attack, "mnist_wide"),
    "digits_attack": partial(attack.attack, "digits"),
}

_INSTANCE = re.compile(r"(?P<name>.+)\[(?P<number>\d+)\]")


def make_problem(
    name: str, /, *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu", **options: Any
) -> Problem:
    """Build the problem registered under a name.

    Args:
        name: A key of `PROBLEMS`; "mnist_attack[3]" names image 3 alone of "mnist_attack".
        dtype: Floating type of x and f; None for the problem's own: float64, which finite differences need, or float32
            for attacks.
        device: Where f is evaluated.
        **options: The factory's own keywords, e.g. `dim` and `condition` of "quadratic", `split` and `size` of
            "mnist_attack".

    Raises:
        ValueError: Unknown name or instance, or a bad option value.
        TypeError: Unknown option, or dtype is not a floating torch.dtype.
    """
    factory, instance = find(name)
    if instance is not None and has_splits(name.rpartition("[")[0]):
        victim = factory.args[0]  # type: ignore[attr-defined]  # a partial
        factory, instance = partial(attack.attack_on_image, victim, instance), None
    parameters = inspect.signature(factory).parameters.values()
    if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):
        known = {parameter.name for parameter in parameters} - {"dtype", "device"}
        reject_unknown(options, known, f"problem '{name}'")
    if dtype is not None:
        if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise TypeError(f"dtype must be a floating torch.dtype, got {dtype!r}. Use torch.float64 or torch.float32.")
        options["dtype"] = dtype
    problem = factory(device=device, **options)
    return problem if instance is None else problem.instance(instance)


def has_splits(name: Any) -> bool:
    """Tell whether this names a problem of many instances with the option `split`, to train and test on others."""
    if not isinstance(name, str):
        return False
    factory, instance = find(name)
    return instance is None and isinstance(factory, partial) and factory.func is attack.attack


def find(name: str) -> tuple[Callable[..., Problem], int | None]:
    """Return the factory that a name means, and the instance that it names, if it names one.

    Raises:
        ValueError: Unknown name.
        TypeError: The name is not a string.
    """
    if isinstance(name, str) and (parts := _INSTANCE.fullmatch(name)):
        return lookup(PROBLEMS, parts["name"], "problem"), int(parts["number"])
    return lookup(PROBLEMS, name, "problem"), None
