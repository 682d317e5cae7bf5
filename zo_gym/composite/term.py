"""Composite objectives f = black-box part + term, inside a box, where the term has a formula that costs no query."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class CompositeTerm(NamedTuple):
    """The part of f that needs no query.

    All functions take the instance of each row, int64 (b,), as `zo_gym.Problem` does.
    """

    value: Callable[[Tensor, Tensor], Tensor]
    """Computes the term at points (b, m, d) of these instances; (b, m)."""
    subgradient: Callable[[Tensor, Tensor, Tensor], Tensor]
    """Turns x (b, d) and the black-box part's gradient there (b, d) into the steepest feasible slope of f, (b, d): the
    element of least norm of that gradient + the term's subdifferential + the box's normal cone."""
    project_step: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    """Moves the end of a step from x (b, d) to x' (b, d), given the black-box gradient at x (b, d): into the box, and
    onto a kink of the term that the black-box part does not outweigh; (b, d)."""
    lower_bound: float | None = None
    """A lower bound of the black-box part, in units of f, where its gradient is 0; None where none is known."""
    minimise_model: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor] | None = None
    """Finds the y in the box that minimises max(lower_bound, linear model of the black-box part) + term, (b, d), from x
    (b, d), the black-box part at x minus `lower_bound` (b,) and its gradient (b, d). None where no formula exists."""

    def for_rows(self, instances: Tensor) -> RowTerm:
        """Bind the term to rows that face these instances, int64 (B,)."""
        minimise, bound = self.minimise_model, self.lower_bound
        return RowTerm(
            value=lambda points: self.value(points, instances),
            subgradient=lambda x, g: self.subgradient(x, g, instances),
            project_step=lambda x, target, g: self.project_step(x, target, g, instances),
            minimise_model=None
            if minimise is None or bound is None
            else lambda x, part, g, lift: minimise(x, part + lift - bound, g, instances),
        )

    def renumbered(self, index: Tensor) -> CompositeTerm:
        """Return the term whose instance i is this one's instance index[i]."""
        minimise = self.minimise_model
        return self._replace(
            value=lambda points, rows: self.value(points, index[rows]),
            subgradient=lambda x, g, rows: self.subgradient(x, g, index[rows]),
            project_step=lambda x, target, g, rows: self.project_step(x, target, g, index[rows]),
            minimise_model=None if minimise is None else lambda x, level, g, rows: minimise(x, level, g, index[rows]),
        )


class RowTerm(NamedTuple):
    """The composite term of B rows: a `CompositeTerm` with the instances filled in, or one that a model estimates."""

    value: Callable[[Tensor], Tensor] | None
    """Computes the term at points (B, m, d); (B, m). None: it adds nothing to f, and bounds x alone."""
    subgradient: Callable[[Tensor, Tensor], Tensor]
    """See `CompositeTerm.subgradient`: x (B, d), g (B, d) -> (B, d)."""
    project_step: Callable[[Tensor, Tensor, Tensor], Tensor]
    """See `CompositeTerm.project_step`: x (B, d), x' (B, d), g (B, d) -> (B, d)."""
    minimise_model: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor] | None
    """See `CompositeTerm.minimise_model`: x (B, d), the black-box part at x (B,), its gradient (B, d), and a number
    (B,) to add to the part first -> (B, d). None where no formula exists."""
    inside: Callable[[Tensor], Tensor] | None = None
    """Moves points (B, ..., d) to the nearest ones in the box, outside which f must not be queried; None: it may."""
    reflect: Callable[[Tensor, Tensor, float], Tensor] | None = None
    """Turns around the coordinates of directions (B, q, d) whose probes x + mu u would leave that box."""
