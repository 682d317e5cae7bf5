"""Turns what a user may pass as a problem, a name, a function or a `Problem`, into a `Problem`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Literal

import torch

from zo_gym.problem import Problem, with_starts
from zo_gym.problems import make_problem
from zo_gym.problems.user_function import from_callable, start_point


@dataclass(frozen=True)
class ProblemArguments:
    """Holds the arguments that go with a problem that a user passes.

    Attributes:
        x0: Start (d,) instead of the problem's own; needed (or `dim`) for a function.
        dim: d; for a function without x0, or a registered problem that takes it.
        batched: For a function: f(X[m, d]) -> (m,).
        device: Where a registered problem is evaluated; a function follows x0.
        options: Further keywords of a registered problem, e.g. {"labels": "01"}.
        errors: For a function: see `from_callable`.
        executor: For a function: see `from_callable`.
    """

    x0: Any = None
    dim: int | None = None
    batched: bool = False
    device: str | torch.device | None = None
    options: Mapping[str, Any] | None = None
    errors: Literal["raise", "nan"] = "raise"
    executor: Executor | None = None


def as_problem(problem: str | Problem | Callable[[Any], Any], **arguments: Any) -> Problem:
    """Return the `Problem` that the user means.

    Args:
        problem: A name that `make_problem` takes, a function, or a `Problem`.
        **arguments: Those of `ProblemArguments`.

    Raises:
        TypeError, ValueError: An argument is not as described, or does not go with this kind of problem.
    """
    given = ProblemArguments(**arguments)
    if not isinstance(given.options, (Mapping, type(None))):
        raise TypeError(f"problem_options must be a dict of keywords, got {given.options!r:.80}.")
    if "device" in (given.options or {}):
        raise TypeError(f"problem_options must not hold 'device', got {given.options!r:.80}. Pass device= itself.")
    if callable(problem):
        return _from_function(problem, given)
    if given.batched or given.executor is not None:
        raise TypeError(f"batched= and executor= are for functions; problem {problem!r} needs neither.")
    if isinstance(problem, str):
        keywords = dict(given.options or {}) if given.dim is None else {"dim": given.dim, **(given.options or {})}
        found = make_problem(problem, device=_device(given.device), **keywords)
    elif isinstance(problem, Problem):
        if given.options or given.dim not in (None, problem.dim):
            raise TypeError(
                f"problem '{problem.name}' is complete (dim {problem.dim}): drop dim= and problem_options=."
            )
        found = problem
    else:
        raise TypeError(
            f"problem must be a name, a function or a zo_gym.Problem, got {type(problem).__name__}: {problem!r:.80}."
        )
    if given.x0 is None:
        return found
    start = start_point(given.x0, found.dim).to(device=found.device, dtype=found.dtype)
    return with_starts(found, start.expand(found.size, -1))


def as_single_problem(problem: str | Problem | Callable[[Any], Any], **arguments: Any) -> Problem:
    """Return the problem of size 1 that the user means; see `as_problem`.

    Raises:
        TypeError, ValueError: As `as_problem`, or the problem has several instances.
    """
    found = as_problem(problem, **arguments)
    if found.size > 1:
        raise ValueError(
            f"fun must be one objective, got '{found.name}' with {found.size} instances. Choose one of them, e.g. "
            f"'{found.name}[0]', or zo_gym.make_problem('{found.name}').instance(0)."
        )
    return found


def _from_function(function: Callable[[Any], Any], given: ProblemArguments) -> Problem:
    if given.options:
        raise TypeError(f"problem_options are for registered problems; {function!r} is a function. Bind them to it.")
    return from_callable(
        function,
        x0=given.x0,
        dim=given.dim,
        batched=given.batched,
        errors=given.errors,
        executor=given.executor,
    )


def _device(device: str | torch.device | None) -> torch.device:
    try:
        found = torch.device("cpu" if device is None else device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device must be a torch device such as 'cpu' or 'cuda', got {device!r}.") from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device must be one that torch sees, got {str(found)!r} and no CUDA. Use device='cpu'.")
    return found
