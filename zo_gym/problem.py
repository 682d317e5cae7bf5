"""Objectives: one or more instances of one kind, evaluated as one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from zo_gym.checks import check_integer
from zo_gym.composite.term import CompositeTerm
from zo_gym.errors import ObjectiveError

Objective = Callable[[Tensor], Tensor]
"""f: points (m, d) -> values (m,). Costs m queries."""

Generators = Sequence[torch.Generator]
"""One generator per row, so that a row's random numbers do not depend on the rows that share its batch."""

_CHUNK_ELEMENTS = 2**20
"""The elements of the largest temporary: 8 MiB of float64, which stays near the cache."""


@dataclass(frozen=True)
class Problem:
    """Holds one or more objectives of one kind and dimension, its instances, e.g. the attack on each of many images.

    Each row of a batch faces one instance. `zo_gym.single_problem` makes a problem of size 1 from a plain objective.
    `copy.deepcopy` and, for functions defined anywhere, `cloudpickle` copy a problem.

    Attributes:
        name: The name that figures and run folders use.
        dim: d, the number of variables.
        fun: Computes f at points (b, m, d), row i for the i-th of the given instances, int64 (b,); (b, m). No value may
            depend on other points.
        initial: Draws starts (b, d) for instances int64 (b,), row i from generator i alone.
        size: The number of instances.
        gradient: Computes grad f at x (b, d) for instances (b,); (b, d). It serves diagnostics; of all methods only the
            reference "true-gradient" uses it. None if unknown.
        measure: Computes named numbers (b,) at x (b, d) for instances (b,), e.g. the distortion of an attack. Reports
            use it; it is never counted. None if there is nothing to report but f.
        minimum: Least known value of f over all instances, or None.
        composite: The part of f that needs no queries, or None. A method uses it only where it is told to.
        context: What a policy may observe of each instance besides x, (size, k), e.g. the label that an attack starts
            from; None if nothing.
        shape: Shape of the image that the vector holds, e.g. (28, 28); None for a plain vector.
        dtype: Floating type of x, f and the estimates; float64 unless the user chose otherwise.
        device: Where x lives and f is evaluated.
    """

    name: str
    dim: int
    fun: Callable[[Tensor, Tensor], Tensor]
    initial: Callable[[Tensor, Generators], Tensor]
    size: int = 1
    gradient: Callable[[Tensor, Tensor], Tensor] | None = None
    measure: Callable[[Tensor, Tensor], dict[str, Tensor]] | None = None
    minimum: float | None = None
    composite: CompositeTerm | None = None
    context: Tensor | None = None
    shape: tuple[int, ...] | None = None
    dtype: torch.dtype = torch.float64
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def values(self, points: Tensor, instance: int = 0) -> Tensor:
        """Compute f at points (m, d) of one instance, (m,). No oracle counts these evaluations."""
        return self.fun(points[None], self._index(instance))[0]

    def gradients(self, points: Tensor, instance: int = 0) -> Tensor:
        """Compute grad f at points (m, d) of one instance, (m, d). The gradient must be known."""
        assert self.gradient is not None
        return self.gradient(points, self._index(instance).expand(len(points)))

    def start(self, generator: torch.Generator, instance: int = 0) -> Tensor:
        """Draw one start (d,) of one instance."""
        return self.initial(self._index(instance), [generator])[0]

    def _index(self, instance: int) -> Tensor:
        return torch.tensor([instance], device=self.device)

    def instance(self, number: int) -> Problem:
        """Return one instance as a problem of size 1; a number that none has raises ValueError."""
        if check_integer("instance", number, 0) >= self.size:
            raise ValueError(
                f"instance must be < {self.size}, the size of '{self.name}', got {number}. Choose a smaller one."
            )
        return self if self.size == 1 else replace(self.subset([number]), name=f"{self.name}[{number}]")

    def subset(self, instances: Sequence[int]) -> Problem:
        """Return the problem of these instances, in this order; none, or one that does not exist, raises ValueError."""
        chosen = [check_integer("instances", i, 0) for i in instances]
        if not chosen or max(chosen) >= self.size:
            raise ValueError(f"instances must be from 0 to {self.size - 1} of '{self.name}', got {chosen!r:.80}.")
        index = torch.tensor(chosen, device=self.device)
        gradient, measure = self.gradient, self.measure
        return replace(
            self,
            size=len(chosen),
            fun=lambda points, rows: self.fun(points, index[rows]),
            initial=lambda rows, generators: self.initial(index[rows], generators),
            gradient=None if gradient is None else lambda x, rows: gradient(x, index[rows]),
            measure=None if measure is None else lambda x, rows: measure(x, index[rows]),
            composite=None if self.composite is None else self.composite.renumbered(index),
            context=None if self.context is None else self.context[index],
        )


def single_problem(
    name: str,
    dim: int,
    fun: Objective,
    initial: Callable[[torch.Generator], Tensor],
    gradient: Objective | None = None,
    **facts: Any,
) -> Problem:
    """Make a problem of size 1 from a plain objective.

    Args:
        name: The name that figures and run folders use.
        dim: d, the number of variables.
        fun: Computes f at points (m, d); (m,). The value of a point must not depend on the other points.
        initial: Draws one start (d,) from a generator.
        gradient: Computes grad f at points (m, d); (m, d). None if unknown.
        **facts: Further attributes of `Problem`: minimum, composite, context (1, k), shape, dtype, device.
    """

    def batched(points: Tensor, instances: Tensor) -> Tensor:  # (b, m, d), (b,) -> (b, m)
        rows = points.flatten(0, 1)
        values: Any = fun(rows)
        if not isinstance(values, Tensor):
            return values  # the oracle explains what is wrong
        if values.shape != rows.shape[:1]:
            raise ObjectiveError(
                f"f of problem '{name}' must return one value per point, shape ({len(rows)},) for points "
                f"{tuple(rows.shape)}, got shape {tuple(values.shape)}."
            )
        return values.view(points.shape[:2])

    return Problem(
        name,
        dim,
        fun=batched,
        initial=lambda instances, generators: torch.stack([initial(generator) for generator in generators]),
        gradient=None if gradient is None else lambda x, instances: gradient(x),
        **facts,
    )


def in_chunks(fun: Objective, width: int) -> Objective:
    """Return `fun` called on so few points at a time that a temporary (points, width) stays small."""
    size = max(4, _CHUNK_ELEMENTS // width // 4 * 4)  # kernels of BLAS compute 4 rows together

    def chunked(points: Tensor) -> Tensor:
        if points.shape[0] <= size:
            return fun(points)
        return torch.cat([fun(part) for part in torch.split(points, size)])

    return chunked


def repeated(problem: Problem, size: int) -> Problem:
    """Return a problem whose `size` instances are all instance 0 of the given one, e.g. for runs from many starts."""
    return problem.subset([0] * check_integer("size", size, 1))


def with_starts(problem: Problem, starts: Tensor) -> Problem:
    """Return the problem with a fixed start for each instance, (size, d), so that all methods begin alike."""
    return replace(problem, initial=lambda instances, generators: starts[instances])
