"""The shapes that modules share. Read this file first.

A zeroth-order method is a **sampler** (which directions to probe), an **estimator** (which points to query and how to
turn their values into a gradient estimate), optionally a **gradient model** (a prediction of grad f from the slopes of
earlier steps) and an **update rule** (how to move, and whether to keep the move). `zo_gym.step.ask_step` puts the four
together: probe, estimate, correct, move. `zo_gym.run` repeats it over a counted oracle; the environments, `minimize`
and the ask-and-tell `Optimizer` are shells around these two.

Shape letters: ``B`` rows (independent runs advanced as one batch; a single run is B = 1), ``d`` dimension, ``q``
directions per step, ``m`` points queried per row, ``r`` remembered slopes. Values are always minimised.

Symbols follow Anonymous (2022), "Learning Sampling Policy for Faster Derivative Free Optimization" ("the paper"):
x the iterate, u a direction, mu the smoothing, eta the learning rate, g a gradient estimate. A *slope* is a signed
directional derivative as measured, (f(x + mu u) - f(x)) / mu, the paper's delta.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zo_gym.composite.term import RowTerm
from zo_gym.problem import Generators

State = Any
"""What a sampler, model, rule or gate carries from step to step: nested tuples of tensors with leading dimension B."""


class Estimate(NamedTuple):
    """The gradient at x as estimated from one step's queries, and by a gradient model where there is one."""

    gradient: Tensor
    """g, (B, d)."""
    slopes: Tensor
    """Slopes along the directions, (B, q); of the black-box part alone where the composite term is taken exactly."""
    gain: Tensor
    """grad f . g as measured, (B,): a step -eta g lowers the linear model of f by eta * gain."""
    minimise_model: Callable[[Tensor], Tensor] | None = None
    """Computes `RowTerm.minimise_model` at x, (B, d), with the black-box part raised by so much, (B,). None without a
    composite term that has the formula."""
    gradient_at: Callable[[Tensor], Tensor] | None = None
    """Predicts grad f at other points, (B, d) -> (B, d), from the gradient model. None where no model predicts it."""
    inside: Callable[[Tensor], Tensor] | None = None
    """Computes `RowTerm.inside`. None without bounds."""


class Iterate(NamedTuple):
    """The points that B runs have reached."""

    x: Tensor
    """The current points, (B, d)."""
    fx: Tensor
    """f(x) as last queried, (B,)."""
    best_x: Tensor
    """The iterate with the least f so far, (B, d)."""
    best_f: Tensor
    """f at `best_x`, (B,)."""
    rule_state: State
    """The update rule's state."""


class RunState(NamedTuple):
    """Everything that B runs carry from one step to the next."""

    iterate: Iterate
    sampler: State
    """The sampler's state."""
    model: State = None
    """The gradient model's state; None without a model."""


class Step(NamedTuple):
    """One finished step of B runs: where they are now, and everything that its queries revealed."""

    iterate: Iterate
    """Where the runs are now."""
    estimate: Estimate
    """The estimate that the step followed."""
    directions: Tensor
    """The directions that were probed, (B, q, d)."""
    black_box_gradient: Tensor
    """The estimated gradient of the black-box part, (B, d); g itself unless a composite term was added."""
    proposed_step: Tensor
    """The proposed x' - x, (B, d)."""
    change: Tensor
    """f(x + proposed_step) - f(x), (B,)."""
    reevaluation_difference: Tensor | None = None
    """Second minus first evaluation of f at the same x, (B,); its variance is 2 s^2 under noise of standard deviation
    s. None unless `reevaluate`."""
    probe_slope: Tensor | None = None
    """The slope along the extra probe, (B,); None without one."""
    accepted: Tensor | None = None
    """Whether the proposed step was kept, (B,) bool; None where the rule keeps every step."""
    model: State = None
    """The gradient model's state after it corrected the estimate."""

    @property
    def move(self) -> Tensor:
        """Return x' - x, (B, d): the proposed step, or 0 where it was rejected."""
        if self.accepted is None:
            return self.proposed_step
        return torch.where(self.accepted.unsqueeze(1), self.proposed_step, 0.0)


class Sampler(NamedTuple):
    """Chooses which directions to probe: pure functions over a state."""

    init: Callable[[Tensor], State]
    """x (B, d) -> state."""
    sample: Callable[[State, Tensor, int, Generators], tuple[Tensor, State]]
    """(state, x (B, d), q, generators) -> directions (B, q, d), state. Costs no queries."""
    observe: Callable[[State, Step], State]
    """(state, step) -> state; called after every step."""
    scale: Callable[[State, Tensor], Tensor] | None = None
    """(state, x (B, d)) -> standard deviation of each coordinate of the next directions, (B, d), squares summing to d.
    None where no scale is learned."""


class GradientModel(NamedTuple):
    """Models grad f from the slopes of earlier steps: pure functions over a state."""

    init: Callable[[Tensor], State]
    """x (B, d) -> state."""
    probe: Callable[[State, Tensor, int, Generators], tuple[Tensor, State]]
    """(state, x (B, d), q, generators) -> directions (B, q, d), the most uncertain ones, state. Costs no queries."""
    correct: Callable[[State, Tensor, Tensor, Estimate], tuple[Tensor, State]]
    """(state, x (B, d), directions (B, q, d), estimate) -> a better g (B, d) that uses earlier steps too, state."""
    observe: Callable[[State, Step], State]
    """(state, step) -> state; called after every step."""
    num_probes: Callable[[State], Tensor] | None = None
    """state -> how many of its first directions each row probes next, int64 (B,), from 0 to q. None: all q."""
    gradient_at: Callable[[State, Tensor], Tensor] | None = None
    """(state after `correct`, points (B, d)) -> predicted grad f there, (B, d). Costs no queries. None where the model
    predicts nothing away from x."""
    composite_term: Callable[[State], RowTerm] | None = None
    """state after `correct` -> a term of f that the model estimates, used where the problem declares none; or None."""


class Estimator(NamedTuple):
    """Chooses which points to query, and turns their values into a gradient estimate."""

    num_queries: Callable[[int, int], int]
    """(q, d) -> m, a row's queries for one estimate, without f(x), which is cached; ValueError where q is too large."""
    points: Callable[[Tensor, Tensor, float], Tensor]
    """(x (B, d), directions (B, q, d), mu) -> points (B, m, d)."""
    combine: Callable[[Tensor, Tensor, Tensor, float], Estimate]
    """(values (B, m), f(x) (B,), directions (B, q, d), mu) -> estimate."""
    probed: Callable[[Tensor, Tensor, float], Tensor]
    """(x (B, d), points (B, m, d), mu) -> the directions (B, q, d) along which such points measure slopes."""
    prepare: Callable[[Tensor], Tensor] | None = None
    """directions (B, q, d) -> the directions really probed. None probes them as they are."""


class UpdateRule(NamedTuple):
    """Decides how to move, and whether to keep the move."""

    init: Callable[[Tensor], State]
    """x (B, d) -> state."""
    propose: Callable[[State, Tensor, Tensor, Estimate], tuple[Tensor, State]]
    """(state, x (B, d), f(x) (B,), estimate) -> candidate x' (B, d), state."""
    judge: Callable[[State, Tensor, Tensor, Estimate], tuple[Tensor, State]] | None = None
    """(state, f(x) (B,), f(x') (B,), estimate) -> accepted (B,) bool, state. None keeps every step."""


class Gate(NamedTuple):
    """Decides when to follow the policy's direction (Algorithm 2, lines 3, 8 and 10-14): a pure state machine."""

    init: Callable[[int, torch.device], State]
    """(B, device) -> state."""
    is_open: Callable[[State], Tensor]
    """state -> (B,) bool: True where the next step follows the policy."""
    update: Callable[[State, Tensor], State]
    """(state, rho (B,), NaN where it was not measured) -> state."""


@dataclass(frozen=True)
class Method:
    """A zeroth-order method, ready to run at one dimension; without sampler and model it raises ValueError.

    Attributes:
        sampler: Which directions to probe; None: those that the gradient model is most uncertain of.
        estimator: How their values become a gradient estimate.
        update: How to move.
        num_directions: q.
        model: What earlier slopes say of the gradient; None: each step's estimate is its own queries' alone.
    """

    sampler: Sampler | None
    estimator: Estimator
    update: UpdateRule
    num_directions: int
    model: GradientModel | None = None

    def __post_init__(self) -> None:
        """Refuse a method that has no directions."""
        if self.sampler is None and self.model is None:
            raise ValueError("sampler must be a Sampler where there is no gradient model, got None. Pass one of them.")
