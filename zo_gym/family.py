"""Families of problems: one row of a batch, one instance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from zo_gym.base import Family, Known, Problem, Starts
from zo_gym.checks import check_integer


def member(family: Family, instance: int) -> Problem:
    """One instance of the family as a problem of its own.

    Raises:
        ValueError: There is no such instance.
    """
    number = check_integer("instance", instance, 0)
    if number >= family.size:
        raise ValueError(f"instance must be < {family.size}, the size of '{family.name}', got {number}.")
    index = torch.tensor([number], device=family.device)
    gradient, known = family.gradient, family.known
    return Problem(
        name=f"{family.name}[{number}]",
        dim=family.dim,
        fun=lambda points: family.fun(points[None], index)[0],
        initial=lambda generator: family.initial(number, generator),
        gradient=None if gradient is None else lambda points: gradient(points, index.expand(len(points))),
        known=None if known is None else renumbered(known, index),
        context=None if family.context is None else family.context[number],
        shape=family.shape,
        dtype=family.dtype,
        device=family.device,
    )


def subset(family: Family, instances: Sequence[int]) -> Family:
    """These instances, in this order, as a family of their own.

    Raises:
        ValueError: It is empty, or one of them does not exist.
    """
    chosen = [check_integer("instances", i, 0) for i in instances]
    if not chosen or max(chosen) >= family.size:
        raise ValueError(f"instances must be from 0 to {family.size - 1} of '{family.name}', got {chosen!r:.80}.")
    index = torch.tensor(chosen, device=family.device)
    gradient, measure = family.gradient, family.measure
    return replace(
        family,
        size=len(chosen),
        fun=lambda points, rows: family.fun(points, index[rows]),
        initial=Starts(lambda rows, generators: family.starts(index[rows], generators)),
        gradient=None if gradient is None else lambda x, rows: gradient(x, index[rows]),
        measure=None if measure is None else lambda x, rows: measure(x, index[rows]),
        known=None if family.known is None else renumbered(family.known, index),
        context=None if family.context is None else family.context[index],
    )


def copies(problem: Problem, size: int) -> Family:
    """The same problem as each of `size` instances: runs from several starts as one batch."""
    check_integer("size", size, 1)
    gradient, context = problem.gradient, problem.context
    same = torch.zeros(size, dtype=torch.int64, device=problem.device)
    return Family(
        name=problem.name,
        dim=problem.dim,
        size=size,
        fun=lambda points, instances: problem.fun(points.flatten(0, 1)).view(points.shape[:2]),
        initial=lambda instance, generator: problem.initial(generator),
        gradient=None if gradient is None else lambda x, instances: gradient(x),
        known=None if problem.known is None else renumbered(problem.known, same),
        context=None if context is None else context.expand(size, -1),
        shape=problem.shape,
        dtype=problem.dtype,
        device=problem.device,
    )


def with_starts(family: Family, starts: Sequence[Tensor]) -> Family:
    """The family with a fixed start (d,) for every instance, so that all methods begin at the same points."""
    return replace(family, initial=lambda instance, generator: starts[instance].clone())


def renumbered(known: Known, index: Tensor) -> Known:
    """The known part of a family whose instance i is the given one's instance index[i]."""
    vertex = known.vertex
    return known._replace(
        value=lambda points, rows: known.value(points, index[rows]),
        subgradient=lambda x, g, rows: known.subgradient(x, g, index[rows]),
        land=lambda x, target, g, rows: known.land(x, target, g, index[rows]),
        vertex=None if vertex is None else lambda x, level, g, rows: vertex(x, level, g, index[rows]),
    )


def gradient_of(problem: Problem | Family, x: Tensor, instances: Tensor) -> Tensor | None:
    """grad f at x (b, d), each row of its own instance, (b, d); None where it is unknown."""
    if isinstance(problem, Family):
        return None if problem.gradient is None else problem.gradient(x, instances)
    return None if problem.gradient is None else problem.gradient(x)
