"""Every shape that two modules share. Read this file first.

A zeroth-order method is a **sampler** (which directions to try), an **estimator** (which points to query and how to
turn the values into a gradient) and an **update rule** (how to move and whether to keep the move). One function,
`zo_gym.step.step`, puts the three together over a counted oracle. The environment, the vector environment,
`minimize` and Algorithm 2 of the paper are shells around that function.

Shape letters used everywhere: ``B`` rows (independent runs advanced as one batch; the scalar case is B = 1), ``d``
dimension, ``q`` directions per step, ``m`` points queried per row. Values are minimised, always.

Symbols follow Anonymous (2022), "Learning Sampling Policy for Faster Derivative Free Optimization" ("the paper"):
x the iterate, u a direction, mu the smoothing, eta the learning rate, g a gradient estimate, delta the signed slope
(f(x + mu u) - f(x)) / mu.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

Objective = Callable[[Tensor], Tensor]
"""f: points (m, d) -> values (m,). Costs m queries."""

Generators = Sequence[torch.Generator]
"""One generator a row, so that a row's randomness does not depend on which other rows share its batch."""

State = Any
"""What a sampler, rule or gate carries from step to step: nested tuples of tensors with leading dimension B."""


class ObjectiveError(ValueError):
    """f could not be evaluated, or returned something that is not a finite real number.

    Attributes:
        point: Where f failed, numpy (d,), or None where a whole batch failed.
        result: The `Result` up to there, set by `minimize`: the best point found is not lost.
    """

    def __init__(self, message: str, point: np.ndarray | None = None) -> None:
        super().__init__(message)
        self.point = point
        self.result: Result | None = None


class BudgetError(RuntimeError):
    """The queries that a call needs are more than the budget has left. Nothing was evaluated."""


@dataclass(frozen=True)
class Problem:
    """An objective to minimise, where to start, and what is known about it.

    Attributes:
        name: What figures and run folders call it.
        dim: d, the number of variables.
        fun: Points (m, d) -> values (m,), dtype and device as below. A row's value must not depend on the other rows.
        initial: One generator -> one start (d,).
        gradient: Points (m, d) -> gradients (m, d), for diagnostics; of all methods only the reference "true-gradient"
            sees it. None if unknown.
        minimum: Least known value of f, or None.
        shape: The image behind the vector, e.g. (28, 28); None for a plain vector.
        dtype: Floating type of x, f and the estimates; float64 unless the user chose otherwise.
        device: Where x lives and f is evaluated.
    """

    name: str
    dim: int
    fun: Objective
    initial: Callable[[torch.Generator], Tensor]
    gradient: Objective | None = None
    minimum: float | None = None
    shape: tuple[int, ...] | None = None
    dtype: torch.dtype = torch.float64
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


@dataclass(frozen=True)
class Family:
    """Problems of one kind and dimension, evaluated together: e.g. the attack on each of 50 images.

    Each row of a batch faces one of them, its instance; `zo_gym.family` turns one into a `Problem` and back.

    Attributes:
        name: What figures and run folders call it.
        dim: d, the same for all.
        size: How many instances there are.
        fun: Points (b, m, d) and the instance of each of the b rows, int64 (b,) -> values (b, m).
        initial: Instance and generator -> one start (d,).
        gradient: x (b, d), instances (b,) -> gradients (b, d), for diagnostics only. None if unknown.
        measure: x (b, d), instances (b,) -> named numbers (b,) that tell how good x is, e.g. the distortion of an
            attack; for reports only, never counted. None if f says it all.
        shape: The image behind the vector, or None.
        dtype: Floating type of x and f.
        device: Where x lives and f is evaluated.
    """

    name: str
    dim: int
    size: int
    fun: Callable[[Tensor, Tensor], Tensor]
    initial: Callable[[int, torch.Generator], Tensor]
    gradient: Callable[[Tensor, Tensor], Tensor] | None = None
    measure: Callable[[Tensor, Tensor], dict[str, Tensor]] | None = None
    shape: tuple[int, ...] | None = None
    dtype: torch.dtype = torch.float64
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


class Estimate(NamedTuple):
    """What one step's queries revealed about the gradient at x."""

    gradient: Tensor
    """g, shape (B, d)."""
    slopes: Tensor
    """Signed directional derivatives delta along the directions, shape (B, q)."""
    gain: Tensor
    """grad f . g as the queries measured it, shape (B,): a step -eta g lowers the linear model of f by eta * gain."""


class Sampler(NamedTuple):
    """Which directions to try: pure functions over a state."""

    init: Callable[[Tensor], State]
    """x (B, d) -> state."""
    sample: Callable[[State, Tensor, int, Generators], tuple[Tensor, State]]
    """(state, x (B, d), q, generators) -> directions (B, q, d), state. Costs no queries."""
    observe: Callable[[State, Estimate, Tensor], State]
    """(state, estimate, move x' - x (B, d)) -> state, called after every step."""
    scale: Callable[[State, Tensor], Tensor] | None = None
    """(state, x (B, d)) -> standard deviation of each coordinate of the next directions, (B, d), squares summing to d.
    None where nothing of the kind is learned."""


class Estimator(NamedTuple):
    """Which points to query and how their values become a gradient."""

    num_queries: Callable[[int, int], int]
    """(q, d) -> m, the queries a row spends on one estimate, f(x) not counted (it is cached).
    Raises ValueError where q is too many."""
    points: Callable[[Tensor, Tensor, float], Tensor]
    """(x (B, d), directions (B, q, d), mu) -> points (B, m, d)."""
    combine: Callable[[Tensor, Tensor, Tensor, float], Estimate]
    """(values (B, m), f(x) (B,), directions (B, q, d), mu) -> estimate."""
    prepare: Callable[[Tensor], Tensor] | None = None
    """directions (B, q, d) -> the directions really probed; None probes them as they are."""


class UpdateRule(NamedTuple):
    """How to move, and whether to keep the move."""

    init: Callable[[Tensor], State]
    """x (B, d) -> state."""
    propose: Callable[[State, Tensor, Tensor], tuple[Tensor, State]]
    """(state, x (B, d), g (B, d)) -> candidate x' (B, d), state."""
    judge: Callable[[State, Tensor, Tensor, Estimate], tuple[Tensor, State]] | None = None
    """(state, f(x) (B,), f(x') (B,), estimate) -> kept (B,) bool, state. None keeps every move."""


class Gate(NamedTuple):
    """When to trust the policy's direction (Algorithm 2, lines 3, 8 and 10-14): a pure state machine over rows."""

    init: Callable[[int, torch.device], State]
    """(B, device) -> state."""
    is_open: Callable[[State], Tensor]
    """state -> (B,) bool: True where the next step follows the policy."""
    update: Callable[[State, Tensor], State]
    """(state, rho (B,), NaN where it was not measured) -> state."""


@dataclass(frozen=True)
class Trace:
    """How a run went, one entry per step and one for the start.

    Attributes:
        queries: Evaluations of f spent so far, int64 (steps + 1,).
        fun: f at the iterate, (steps + 1,).
        best: Least f at any iterate so far, (steps + 1,).
    """

    queries: np.ndarray
    fun: np.ndarray
    best: np.ndarray


@dataclass(frozen=True)
class Result:
    """What `zo_gym.minimize` returns; the field names are scipy's.

    Attributes:
        x: The best iterate (the last one where f is declared noisy), in the type of x0 (numpy array or tensor), (d,).
        fun: f(x) as it was queried.
        nfev: Queries spent, every one of them. A batch that f, Ctrl-C or an exception cut short counts whole.
        nit: Steps taken.
        success: True if the run ended as asked (budget spent, target reached, or the callback stopped it).
        message: Why it ended.
        trace: f against queries.
    """

    x: Any
    fun: float
    nfev: int
    nit: int
    success: bool
    message: str
    trace: Trace
