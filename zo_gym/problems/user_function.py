"""Any Python function as a `Problem`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from functools import partial
from itertools import repeat
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zo_gym.checks import check_integer
from zo_gym.errors import ObjectiveError
from zo_gym.problem import Problem, single_problem
from zo_gym.rng import random_start
from zo_gym.structure import Structure, real_numbers, structure_of, to_tensor


def start_point(x0: Any, dim: int | None = None) -> Tensor:
    """Copy x0 into a floating tensor (d,) with the dtype and device of x0, or float64 where x0 has no floating dtype.

    Raises:
        TypeError: x0 is not numeric, or complex.
        ValueError: x0 is not of shape (d,) with d = `dim` >= 1, or not finite.
    """
    x = real_numbers(x0)
    if not x.is_floating_point():
        x = x.to(torch.float64)
    if x.ndim != 1 or len(x) == 0 or (dim is not None and len(x) != dim):
        wanted, remedy = (
            ("(d,) with d >= 1", "Flatten it first") if dim is None else (f"({dim},)", f"Pass an x0 of {dim} numbers")
        )
        raise ValueError(f"x0 must have shape {wanted}, got shape {tuple(x.shape)}. {remedy}.")
    if not bool(torch.isfinite(x).all()):
        raise ValueError(f"x0 must be finite, got {np.array2string(x.cpu().numpy(), precision=4, threshold=6)}.")
    return x


def from_callable(
    fun: Callable[..., Any],
    *,
    x0: Any = None,
    dim: int | None = None,
    batched: bool = False,
    catch: bool = False,
    executor: Executor | None = None,
) -> Problem:
    """Make a problem of a user's function.

    Args:
        fun: f(x), where x has the form of x0 and is a fresh copy each time; or with `batched` f(X) with X (m, d) ->
            (m,), numpy arrays unless x0 is a tensor.
        x0: What `zo_gym.structure.structure_of` returned; or a start (d,) that keeps its dtype. Without it, starts are
            drawn ~ N(0, I) / sqrt(d), float64.
        dim: d, needed where there is no x0.
        batched: f takes all points of a step at once.
        catch: Make an exception inside a pointwise f a failed value (with a warning), which the oracle treats by its
            `on_failure`, instead of passing it on.
        executor: Evaluates a pointwise f at many points in parallel; the caller shuts it down.

    Raises:
        TypeError, ValueError: An argument is not as described.
    """
    if x0 is None and dim is None:
        raise ValueError(
            "problem is a function, so its start is needed: pass x0=, a list or array of d numbers "
            "(gym.make also takes dim=)."
        )
    count = None if dim is None else check_integer("dim", dim, 1)
    if executor is not None and not callable(getattr(executor, "submit", None)):
        raise TypeError(f"executor must be a concurrent.futures.Executor, got {executor!r:.80}.")
    if batched and executor is not None:
        raise ValueError("executor= runs a pointwise f in parallel; a batched f gets all points at once. Drop one.")
    if isinstance(x0, Structure):
        form = x0
    else:
        vector = start_point(np.zeros(count or 1) if x0 is None else x0, count)
        form = structure_of(vector if isinstance(x0, Tensor) else vector.numpy())._replace(start=vector)
    start = form.start
    if batched and form.stack is None:
        raise ValueError("batched=True needs an x0 that is an array or a tensor. Pass one, or an f of one point.")
    evaluate = _batched(fun, form) if batched else _pointwise(fun, form, catch, executor)
    name = getattr(fun, "__name__", type(fun).__name__)
    if x0 is None:
        return single_problem(name, len(start), evaluate, lambda generator: random_start(len(start), generator))
    return single_problem(
        name, len(start), evaluate, lambda generator: start.clone(), dtype=start.dtype, device=start.device
    )


def _batched(fun: Callable[[Any], Any], form: Structure) -> Callable[[Tensor], Tensor]:
    """Wrap f(X) so that it takes a tensor (m, n) and returns one (m,)."""
    stack = form.stack
    assert stack is not None

    def evaluate(points: Tensor) -> Tensor:
        values = fun(stack(points))
        values = values if isinstance(values, Tensor) else to_tensor(_real(values, "f(X)"))
        if values.is_complex():
            raise ObjectiveError(f"f(X) must return real numbers, got {values.dtype}.")
        if values.shape != points.shape[:1]:
            raise ObjectiveError(
                f"A batched f(X) must return one value per row, shape ({len(points)},) for X {tuple(points.shape)}, "
                f"got shape {tuple(values.shape)}. If f takes one point at a time, pass batched=False."
            )
        return values.detach().to(points)

    return evaluate


def _pointwise(
    fun: Callable[[Any], Any], form: Structure, catch: bool, executor: Executor | None
) -> Callable[[Tensor], Tensor]:
    """Wrap f(x) so that it takes a tensor (m, n) and returns one (m,)."""

    def evaluate(points: Tensor) -> Tensor:
        arguments = form.unpack_all(points)
        calls: Iterable[Callable[[], Any]] = map(partial, repeat(fun), arguments)
        if executor is not None:
            calls = [executor.submit(fun, x).result for x in arguments]
        values: list[float] = []
        for call in calls:
            try:
                value = call()
                values.append(value if type(value) is float else _scalar(value))
            except ObjectiveError:
                raise
            except Exception as error:
                if not catch:
                    raise
                values.append(math.nan)
                text = f"f raised {type(error).__name__}: {error}. It counts as NaN."
                warnings.warn(text, RuntimeWarning, stacklevel=2)
        return torch.tensor(values, dtype=points.dtype, device=points.device)

    return evaluate


def _scalar(value: Any) -> float:
    """Return the number that a pointwise f returned."""
    if isinstance(value, Tensor):
        value = (value.double() if value.is_floating_point() else value).detach().cpu().numpy()
    array = _real(value, "f(x)")
    if array.size != 1:
        raise ObjectiveError(
            f"f(x) must return one number, got shape {array.shape}. If f takes all points at once, pass batched=True."
        )
    return float(array.reshape(()))


def _real(value: Any, what: str) -> np.ndarray:
    """Return what f returned as an array of real numbers."""
    array = np.asarray(value)
    if array.dtype == object and all(type(entry) in (int, float) for entry in array.flat):
        array = np.array([_nearest(entry) for entry in array.flat]).reshape(array.shape)  # more than 64 bits
    if array.dtype.kind not in "fiub":
        kind = type(value).__name__
        raise ObjectiveError(f"{what} must return real numbers, got {kind}: {value!r:.80}. Return floats.")
    return array


def _nearest(number: int | float) -> float:
    """Convert to a float; what is too large for one becomes infinite."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf
