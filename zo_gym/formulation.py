"""What a run minimises: the user's function or problem, seen from the coordinates in which the run moves."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any

import torch
from torch import Tensor

from zo_gym.problem import Problem
from zo_gym.problems import as_single_problem
from zo_gym.space import Box, space_of
from zo_gym.structure import structure_of


@dataclass(frozen=True)
class Formulation:
    """Holds a problem of size 1 and how its points look to the user.

    Attributes:
        problem: f of the coordinates in which the run moves; d of them.
        start: x0 in these coordinates, (d,).
        box: Their bounds, or None.
        export: Turns such coordinates (d,) into the form of x0, a copy.
        coarsest: The floating dtype to which f's argument is rounded.
    """

    problem: Problem
    start: Tensor
    box: Box | None
    export: Callable[[Tensor], Any]
    coarsest: torch.dtype


def formulate(
    fun: Callable[..., Any] | Problem | str,
    x0: Any,
    generator_of: Callable[[torch.device], torch.Generator],
    *,
    bounds: Any = None,
    log_scaled: Any = False,
    batched: bool = False,
    catch: bool = False,
    executor: Executor | None = None,
) -> Formulation:
    """Read what the user of `zo_gym.minimize` passed; see there.

    Args:
        fun: f, a problem, or the name of one.
        x0: The start, or None for a problem's own.
        generator_of: Makes the generator of a random start on a device.
        bounds: See `zo_gym.space.space_of`.
        log_scaled: See `zo_gym.space.space_of`.
        batched: See `zo_gym.problems.user_function.from_callable`, as for the next two.
        catch: See there.
        executor: See there.

    Raises:
        TypeError, ValueError: An argument is not as described.
    """
    form = structure_of(x0) if callable(fun) and x0 is not None else None
    problem = as_single_problem(fun, x0=x0 if form is None else form, batched=batched, catch=catch, executor=executor)
    start = problem.start(generator_of(problem.device)) if form is None else form.start
    export = partial(_flat, as_numpy=not isinstance(x0, Tensor)) if form is None else form.unpack
    coarsest = problem.dtype if form is None else form.coarsest
    space = space_of(start, bounds, log_scaled, coarsest)
    if space is None:
        return Formulation(problem, start, None, export, coarsest)
    inner = space.seen_from_inside(problem)
    return Formulation(inner, space.from_user(start), space.box, lambda z: export(space.to_user(z)), coarsest)


def with_arguments(fun: Any, args: Any) -> Any:
    """Return f of x alone."""
    if not isinstance(args, (tuple, list)):
        raise TypeError(f"args must be a tuple of further arguments of f, got {args!r:.80}. Write args=(value,).")
    if not args:
        return fun
    if not callable(fun):
        raise TypeError(f"args= are for functions, and problem {fun!r:.80} takes none. Drop them.")

    @wraps(fun, updated=())
    def applied(x: Any) -> Any:
        return fun(x, *args)

    return applied


def _flat(x: Tensor, as_numpy: bool) -> Any:
    """Copy a point (d,) into an array or a tensor."""
    return x.cpu().numpy().copy() if as_numpy else x.clone()
