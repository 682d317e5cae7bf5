"""What a user may pass as `problem`: a name, a function, a `Problem` or a `Family`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any, Literal

import torch

from zo_gym.base import Family, Problem
from zo_gym.problems import FAMILIES, make_family, make_problem
from zo_gym.problems.blackbox import from_callable, start_point


def as_problem(
    problem: str | Problem | Callable[[Any], Any],
    *,
    x0: Any = None,
    dim: int | None = None,
    batched: bool = False,
    device: str | torch.device | None = None,
    options: Mapping[str, Any] | None = None,
    errors: Literal["raise", "nan"] = "raise",
    executor: Executor | None = None,
) -> Problem:
    """The `Problem` that the user means.

    Args:
        problem: A key of `PROBLEMS`, a function, or a `Problem`.
        x0: Start (d,) instead of the problem's own; needed (or `dim`) for a function.
        dim: d; for a function without x0, or a registered problem that takes it.
        batched: For a function: f(X[m, d]) -> (m,).
        device: Of a registered problem; a function follows x0.
        options: Further keywords of a registered problem, e.g. {"labels": "01"}.
        errors: For a function: see `from_callable`.
        executor: For a function: see `from_callable`.

    Raises:
        TypeError, ValueError: An argument is not as described, or does not go with this kind of problem.
    """
    if not isinstance(options, (Mapping, type(None))):
        raise TypeError(f"problem_options must be a dict of keywords, got {options!r}.")
    if callable(problem):
        if options:
            raise TypeError(f"problem_options are for registered problems; {problem!r} is a function. Bind them to it.")
        return from_callable(problem, x0=x0, dim=dim, batched=batched, errors=errors, executor=executor)
    if batched or executor is not None:
        raise TypeError(f"batched= and executor= are for functions; problem {problem!r} needs neither.")
    if isinstance(problem, str):
        keywords = dict(options or {}) if dim is None else {"dim": dim, **(options or {})}
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
    return replace(found, initial=lambda generator: start.clone())


def as_problem_or_family(
    problem: str | Problem | Family | Callable[[Any], Any],
    *,
    x0: Any = None,
    dim: int | None = None,
    batched: bool = False,
    device: str | torch.device | None = None,
    options: Mapping[str, Any] | None = None,
    errors: Literal["raise", "nan"] = "raise",
) -> Problem | Family:
    """`as_problem`, but a `Family` or the name of one means all its instances; with the option "image", that alone.

    Raises:
        TypeError, ValueError: As `as_problem`, or an argument does not go with a family.
    """
    named = isinstance(problem, str) and problem in FAMILIES and "image" not in (options or {})
    if not (named or isinstance(problem, Family)):
        assert not isinstance(problem, Family)
        return as_problem(problem, x0=x0, dim=dim, batched=batched, device=device, options=options, errors=errors)
    for name, given in (("x0", x0 is not None), ("dim", dim is not None), ("batched", batched)):
        if given:
            raise TypeError(f"A family of problems has its own starts and dimension: drop {name}=.")
    if isinstance(problem, Family):
        if options:
            raise TypeError(f"problem_options are for registered problems; family '{problem.name}' is complete.")
        return problem
    return make_family(str(problem), device=_device(device), **(options or {}))


def _device(device: str | torch.device | None) -> torch.device:
    try:
        found = torch.device("cpu" if device is None else device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device must be a torch device such as 'cpu' or 'cuda', got {device!r}.") from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device must be one that torch sees, got {str(found)!r} and no CUDA. Use device='cpu'.")
    return found
