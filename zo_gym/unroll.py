"""A run that can be differentiated: the step of every method, answered with values that know their slope.

`advance` drives `zo_gym.step.ask_step` and answers its questions with

    f(points) + (points - points.detach()) . g,

g the gradient of f at the iterate: the values are those of f, and their derivative is of first order. Hessians are
dropped, as Andrychowicz et al. (2016) do: g itself counts as a constant, and moving a direction by du changes the slope
along it by g . du.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from zo_gym.base import Estimate, Family, Generators, Iterate, Problem, State, Step
from zo_gym.estimators import central
from zo_gym.family import gradient_of
from zo_gym.methods import Method
from zo_gym.oracle import Oracle
from zo_gym.rows import leaves, with_leaves
from zo_gym.step import ask_step, begin, observed, refinement


class Ground(NamedTuple):
    """Where runs are unrolled: B rows, each with an instance of its own."""

    oracle: Oracle
    generators: Generators
    """One a row: instances, starts and directions."""
    smoothing: float
    """mu."""
    black_box: bool
    """Measure g instead of asking the problem for it."""


class Thread(NamedTuple):
    """B runs between two steps."""

    last: Step
    """The last step; at the start one that moved nowhere."""
    slope: Tensor
    """g, the gradient of f at x, (B, d)."""
    sampler: State
    """Has not observed the last step yet: that is the first thing the next one does, so no derivative is lost where
    the thread is cut in between."""

    @property
    def iterate(self) -> Iterate:
        """Where the runs stand."""
        return self.last.iterate


def initial(problem: Family | Problem, instance: int, generator: torch.Generator) -> Tensor:
    """A start (d,), of a problem whatever the instance."""
    return problem.initial(instance, generator) if isinstance(problem, Family) else problem.initial(generator)


def start(ground: Ground, method: Method) -> Thread:
    """Fresh runs on instances that the generators draw, all memories empty. Costs 1 query per row and g."""
    oracle, generators = ground.oracle, ground.generators
    problem = oracle.problem
    size = problem.size if isinstance(problem, Family) else 1
    instances = [int(torch.randint(size, (), generator=g, device=g.device)) for g in generators]
    oracle.restart(np.arange(len(instances)), generators, torch.tensor(instances, device=problem.device))
    x = torch.stack([initial(problem, i, g) for i, g in zip(instances, generators, strict=True)])
    iterate = begin(x, oracle(x[:, None, :])[:, 0], method.update)
    zero = torch.zeros_like(x)  # what was before the first step: a network that reads it says 0 and remembers nothing
    nothing = Estimate(zero, zero[:, :1], zero[:, 0])
    last = Step(iterate, nothing, zero[:, None], zero, zero, zero[:, 0], None, None, None)
    return Thread(last, slope_at(ground, x), method.sampler.init(x))


def cut(thread: Thread) -> Thread:
    """The same runs without their history: where truncated back-propagation stops."""
    whole: Thread = with_leaves(thread, [leaf.detach() for leaf in leaves(thread)])
    return whole


def advance(ground: Ground, method: Method, thread: Thread) -> Thread:
    """One step of every row, differentiable in what the thread holds and in the weights of the method's networks.

    Costs what the step costs (`zo_gym.step.cost`), and g at the new iterate.
    """
    iterate = thread.iterate
    state = observed(method.sampler, thread.sampler, thread.last)
    u, state = method.sampler.sample(state, iterate.x, method.num_directions, ground.generators)
    refine = refinement(method.sampler, state)
    questions = ask_step(iterate, u, method.estimator, method.update, ground.smoothing, refine=refine)
    target = questions.send(_answer(ground, next(questions), thread.slope))  # x', (B, 1, d)
    slope = slope_at(ground, target.detach().squeeze(1))
    try:
        questions.send(_answer(ground, target, slope))
    except StopIteration as finished:
        done: Step = finished.value
    return Thread(done, slope, state)


def _answer(ground: Ground, points: Tensor, slope: Tensor) -> Tensor:
    """f at points (B, m, d) with the derivative `slope` (B, d): values (B, m)."""
    values = ground.oracle(points.detach())
    return values + ((points - points.detach()) * slope.unsqueeze(1)).sum(-1)


def slope_at(ground: Ground, x: Tensor) -> Tensor:
    """g at x (B, d), each row of its own instance: free, or `black_box` by central differences along every axis.

    Those cost 2 d queries per row, and err by O(mu^2).
    """
    if not ground.black_box:
        exact = gradient_of(ground.oracle.problem, x, ground.oracle.instances)
        if exact is None:
            raise ValueError(f"problem '{ground.oracle.problem.name}' must know its gradient. Or pass black_box=True.")
        return exact
    axes = torch.eye(x.shape[1], dtype=x.dtype, device=x.device).expand(len(x), -1, -1)
    values = ground.oracle(central.points(x, axes, ground.smoothing))  # (B, 2 d)
    return central.combine(values, values[:, 0], axes, ground.smoothing).slopes
