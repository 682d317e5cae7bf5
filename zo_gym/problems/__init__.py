"""Problems by name, and from whatever else a user may pass as one.

A new one is a factory `(*, dtype, device, **options) -> Problem` and a line in `PROBLEMS`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import Any

import torch

from zo_gym.problem import Problem, with_starts
from zo_gym.problems import bbob, classification, synthetic
from zo_gym.problems.attack.problem import attack, attack_on_image
from zo_gym.problems.user_function import from_callable, start_point
from zo_gym.registry import lookup, reject_unknown

PROBLEMS: dict[str, Callable[..., Problem]] = {
    "quadratic": synthetic.quadratic,
    "rosenbrock": synthetic.rosenbrock,
    "logistic": synthetic.logistic,
    "ellipsoid": partial(bbob.weighted_squares, "ellipsoid"),
    "discus": partial(bbob.weighted_squares, "discus"),
    "bent_cigar": partial(bbob.weighted_squares, "bent_cigar"),
    "sharp_ridge": bbob.sharp_ridge,
    "rastrigin": bbob.rastrigin,
    "breast_cancer": classification.breast_cancer,
    "heart_scale": partial(classification.libsvm, "heart_scale"),
    "german.numer_scale": partial(classification.libsvm, "german.numer_scale"),
    "a9a": partial(classification.libsvm, "a9a"),
    "mnist_attack": partial(attack, "mnist"),
    "mnist_mlp_attack": partial(attack, "mnist_mlp"),
    "mnist_wide_attack": partial(attack, "mnist_wide"),
    "digits_attack": partial(attack, "digits"),
}

_INSTANCE = re.compile(r"(?P<name>.+)\[(?P<number>\d+)\]")


def make_problem(
    name: str, /, *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu", **options: Any
) -> Problem:
    """Build the problem registered under a name.

    Args:
        name: A key of `PROBLEMS`; "mnist_attack[3]" names image 3 alone of "mnist_attack".
        dtype: Floating type of x and f; None for the problem's own: float64, or float32 for attacks.
        device: Where f is evaluated.
        **options: The factory's own keywords, e.g. `dim` of "quadratic", `split` and `size` of "mnist_attack".

    Raises:
        ValueError: Unknown name or instance, or a bad option value.
        TypeError: Unknown option, or dtype is not a floating torch.dtype.
    """
    factory, instance = find(name)
    if instance is not None and has_splits(name.rpartition("[")[0]):
        victim = factory.args[0]  # type: ignore[attr-defined]  # a partial
        factory, instance = partial(attack_on_image, victim, instance), None
    parameters = inspect.signature(factory).parameters
    if inspect.Parameter.VAR_KEYWORD not in {parameter.kind for parameter in parameters.values()}:
        reject_unknown(options, parameters.keys() - {"dtype", "device"}, f"problem '{name}'")
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
    return instance is None and isinstance(factory, partial) and factory.func is attack


def find(name: str) -> tuple[Callable[..., Problem], int | None]:
    """Return the factory that a name means, and the instance that it names, if any; errors are those of `lookup`."""
    if isinstance(name, str) and (parts := _INSTANCE.fullmatch(name)):
        return lookup(PROBLEMS, parts["name"], "problem"), int(parts["number"])
    return lookup(PROBLEMS, name, "problem"), None


def as_problem(
    problem: str | Problem | Callable[[Any], Any],
    *,
    x0: Any = None,
    dim: int | None = None,
    batched: bool = False,
    device: str | torch.device | None = None,
    options: Mapping[str, Any] | None = None,
    catch: bool = False,
    executor: Executor | None = None,
) -> Problem:
    """Return the `Problem` that the user means.

    Args:
        problem: A name that `make_problem` takes, a function, or a `Problem`.
        x0: Start (d,) instead of the problem's own; needed (or `dim`) for a function.
        dim: d; for a function without x0, or a registered problem that takes it.
        batched: For a function: f(X[m, d]) -> (m,).
        device: Where a registered problem is evaluated; a function follows x0.
        options: Further keywords of a registered problem, e.g. {"labels": "01"}.
        catch: For a function: see `from_callable`.
        executor: For a function: see `from_callable`.

    Raises:
        TypeError, ValueError: An argument is not as described, or does not go with this kind of problem.
    """
    if not isinstance(options, (Mapping, type(None))):
        raise TypeError(f"problem_options must be a dict of keywords, got {options!r:.80}.")
    if "device" in (options or {}):
        raise TypeError(f"problem_options must not hold 'device', got {options!r:.80}. Pass device= itself.")
    if callable(problem):
        if options:
            raise TypeError(f"problem_options are for registered problems; {problem!r} is a function. Bind them to it.")
        return from_callable(problem, x0=x0, dim=dim, batched=batched, catch=catch, executor=executor)
    if batched or executor is not None:
        raise TypeError(f"batched= and executor= are for functions; problem {problem!r} needs neither.")
    if isinstance(problem, str):
        keywords = {**({} if dim is None else {"dim": dim}), **(options or {})}
        found = make_problem(problem, device=_device(device), **keywords)
    elif isinstance(problem, Problem):
        if options or dim not in (None, problem.dim):
            raise TypeError(
                f"problem '{problem.name}' is complete (dim {problem.dim}): drop dim= and problem_options=."
            )
        found = problem
    else:
        raise TypeError(
            f"problem must be a name, a function or a zo_gym.Problem, got {type(problem).__name__}: {problem!r:.80}."
        )
    if x0 is None:
        return found
    start = start_point(x0, found.dim).to(device=found.device, dtype=found.dtype)
    return with_starts(found, start.expand(found.size, -1))


def as_single_problem(problem: str | Problem | Callable[[Any], Any], **arguments: Any) -> Problem:
    """Return the problem of size 1 that the user means; see `as_problem`. Several instances raise ValueError."""
    found = as_problem(problem, **arguments)
    if found.size > 1:
        raise ValueError(
            f"fun must be one objective, got '{found.name}' with {found.size} instances. Choose one of them, e.g. "
            f"'{found.name}[0]', or zo_gym.make_problem('{found.name}').instance(0)."
        )
    return found


def _device(device: str | torch.device | None) -> torch.device:
    try:
        found = torch.device("cpu" if device is None else device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device must be a torch device such as 'cpu' or 'cuda', got {device!r}.") from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device must be one that torch sees, got {str(found)!r} and no CUDA. Use device='cpu'.")
    return found
