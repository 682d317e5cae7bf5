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


class Known(NamedTuple):
    """What is known of f without a query: f = unknown part + known part, inside a box.

    All functions take the instance of each row, int64 (b,), as `Family` does; a `Problem` has one instance, 0.
    """

    value: Callable[[Tensor, Tensor], Tensor]
    """Points (b, m, d), instances -> the known part there, (b, m)."""
    subgradient: Callable[[Tensor, Tensor, Tensor], Tensor]
    """x (b, d), gradient of the unknown part (b, d), instances -> the steepest feasible slope of f, (b, d): the element
    of least norm of that gradient + the known part's subdifferential + the box's normal cone, all at x."""
    land: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    """x (b, d), x' (b, d), gradient of the unknown part (b, d), instances -> where a move from x towards x' ends:
    inside the box, and on a kink of the known part that the unknown part does not outweigh, (b, d)."""
    least: float | None = None
    """What the unknown part cannot be less than, if that is known; where it is that low, its gradient is 0."""
    vertex: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor] | None = None
    """x (b, d), unknown part at x above `least` (b,), its gradient (b, d), instances -> the y in the box where the
    model max(least, the unknown part's linear model) + known part is least, (b, d). None where that takes more than a
    formula."""


class KnownHere(NamedTuple):
    """The known part of f for B rows: `Known` with their instances filled in, or what a sampler infers of one."""

    value: Callable[[Tensor], Tensor]
    """Points (B, m, d) -> (B, m)."""
    subgradient: Callable[[Tensor, Tensor], Tensor]
    """x (B, d), g (B, d) -> (B, d)."""
    land: Callable[[Tensor, Tensor, Tensor], Tensor]
    """x (B, d), x' (B, d), g (B, d) -> (B, d)."""
    vertex: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor] | None
    """x (B, d), the unknown part there (B,), g (B, d), what to add to it (B,) -> (B, d)."""


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
        known: The part of f that needs no queries, or None. A method looks at it only where it is told to.
        context: What a policy may know of the problem besides x, (k,), e.g. the label that an attack starts from; None.
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
    known: Known | None = None
    context: Tensor | None = None
    shape: tuple[int, ...] | None = None
    dtype: torch.dtype = torch.float64
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


@dataclass(frozen=True)
class Starts:
    """What `Family.initial` may be where the starts of many rows are made faster together than one by one.

    Attributes:
        make: Instances int64 (b,) and one generator a row -> starts (b, d); row i does not depend on the others.
    """

    make: Callable[[Tensor, Generators], Tensor]

    def __call__(self, instance: int, generator: torch.Generator) -> Tensor:
        """One start (d,)."""
        return self.make(torch.tensor([instance], device=generator.device), [generator])[0]


@dataclass(frozen=True)
class Family:
    """Problems of one kind and dimension, evaluated together: e.g. the attack on each of 50 images.

    Each row of a batch faces one of them, its instance; `zo_gym.family` turns one into a `Problem` and back.

    Attributes:
        name: What figures and run folders call it.
        dim: d, the same for all.
        size: How many instances there are.
        fun: Points (b, m, d) and the instance of each of the b rows, int64 (b,) -> values (b, m).
        initial: Instance and generator -> one start (d,); see also `Starts`.
        gradient: x (b, d), instances (b,) -> gradients (b, d), for diagnostics only. None if unknown.
        measure: x (b, d), instances (b,) -> named numbers (b,) that tell how good x is, e.g. the distortion of an
            attack; for reports only, never counted. None if f says it all.
        known: As of `Problem`.
        context: As of `Problem`, one row an instance, (size, k).
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
    known: Known | None = None
    context: Tensor | None = None
    shape: tuple[int, ...] | None = None
    dtype: torch.dtype = torch.float64
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def starts(self, instances: Tensor, generators: Generators) -> Tensor:
        """The starts of b rows, each of its instance, int64 (b,), drawn from its generator; (b, d)."""
        if isinstance(self.initial, Starts):
            return self.initial.make(instances, generators)
        return torch.stack([self.initial(i, g) for i, g in zip(instances.tolist(), generators, strict=True)])


class Estimate(NamedTuple):
    """What one step's queries revealed about the gradient at x."""

    gradient: Tensor
    """g, shape (B, d)."""
    slopes: Tensor
    """Signed directional derivatives delta along the directions, (B, q); of the unknown part of f alone where the known
    one is taken exactly."""
    gain: Tensor
    """grad f . g as the queries measured it, shape (B,): a step -eta g lowers the linear model of f by eta * gain."""
    vertex: Callable[[Tensor], Tensor] | None = None
    """Computes `Known.vertex` at x, (B, d), as if the unknown part were higher by so much, (B,). None where no part is
    known or inferred, or it has none."""
    field: Callable[[Tensor], Tensor] | None = None
    """What g would be at other points, (B, d) -> (B, d), as far as the sampler's memory tells. None: it does not."""


class Iterate(NamedTuple):
    """Where B runs stand."""

    x: Tensor
    """(B, d)."""
    fx: Tensor
    """f(x) as last queried, (B,)."""
    best_x: Tensor
    """The iterate with the least f so far, (B, d)."""
    best_f: Tensor
    """(B,)."""
    rule_state: State


class Step(NamedTuple):
    """One finished step of B runs: where they stand now, and everything that its queries revealed."""

    iterate: Iterate
    estimate: Estimate
    """What the step was made of."""
    directions: Tensor
    """The directions that were probed, (B, q, d)."""
    unknown: Tensor
    """What the queries say of the unknown part's gradient, (B, d): all of g unless the known part was added to it."""
    trial: Tensor
    """The move that was tried, (B, d)."""
    change: Tensor
    """f(x + trial) - f(x), (B,)."""
    echo: Tensor | None
    """What f(x) said anew less what it said before, (B,): noise alone. None where it was not asked again."""
    probe_slope: Tensor | None
    """delta along the probe, (B,), where one was given."""
    kept: Tensor | None
    """(B,) bool: was the move accepted? None where the rule keeps every move."""
    memory: State = None
    """What the sampler's `refine` remembers; None where there is none."""

    @property
    def move(self) -> Tensor:
        """x' - x, (B, d): the trial, or 0 where it was rejected."""
        return self.trial if self.kept is None else torch.where(self.kept.unsqueeze(1), self.trial, 0.0)


class Sampler(NamedTuple):
    """Which directions to try: pure functions over a state."""

    init: Callable[[Tensor], State]
    """x (B, d) -> state."""
    sample: Callable[[State, Tensor, int, Generators], tuple[Tensor, State]]
    """(state, x (B, d), q, generators) -> directions (B, q, d), state. Costs no queries."""
    observe: Callable[[State, Step], State]
    """(state, step) -> state, called after every step."""
    scale: Callable[[State, Tensor], Tensor] | None = None
    """(state, x (B, d)) -> standard deviation of each coordinate of the next directions, (B, d), squares summing to d.
    None where nothing of the kind is learned."""
    refine: Callable[[State, Tensor, Tensor, Estimate], tuple[Tensor, State]] | None = None
    """(state, x (B, d), directions (B, q, d), estimate) -> a better g (B, d) from what earlier steps told, state.
    None leaves the estimate as the step's own queries make it."""
    infer: Callable[[State], KnownHere] | None = None
    """state, as `refine` leaves it -> a part of f that has a formula, as earlier steps told: where no part is known, g
    and the move are as if this one were. None where nothing of the kind is learned."""
    field: Callable[[State, Tensor], Tensor] | None = None
    """(state, as `refine` leaves it, points (B, d)) -> what g would be there, (B, d). Costs no queries. None where
    memory does not tell."""
    wants: Callable[[State], Tensor] | None = None
    """state -> how many of its first directions each row wants probed now, int64 (B,), from 0 to q. None: all q."""


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
    propose: Callable[[State, Tensor, Tensor, Estimate], tuple[Tensor, State]]
    """(state, x (B, d), f(x) (B,), estimate) -> candidate x' (B, d), state."""
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
