"""A run that can be differentiated: the step of every method, answered with values that carry a derivative.

`advance` drives `zo_gym.step.ask_step` and answers its questions with

    f(points) + (points - points.detach()) . g,

g the gradient of f at the iterate: the values are those of f, and their derivative is of first order. Hessians are
dropped, as in the source: g itself counts as a constant, and moving a direction by du changes its slope by g . du.

Reference: Andrychowicz et al. (2016), "Learning to learn by gradient descent by gradient descent", NeurIPS,
arXiv:1606.04474.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from zo_gym.base import Estimate, Method, RunState, Step
from zo_gym.estimators import central
from zo_gym.oracle import Oracle
from zo_gym.problem import Generators
from zo_gym.step import ask_step, observe, sample
from zo_gym.step import start as start_state
from zo_gym.tree import leaves, with_leaves


class Setting(NamedTuple):
    """The fixed part of B unrolled runs, each with an instance of its own."""

    oracle: Oracle
    """Evaluates f; B rows."""
    generators: Generators
    """One generator per row, for instances, starts and directions."""
    smoothing: float
    """mu, in units of x."""
    black_box: bool
    """Whether to measure g instead of asking the problem for it."""


class DifferentiableRun(NamedTuple):
    """B runs between two steps."""

    state: RunState
    """The state before it has observed the last step; the next one does, so that a cut between loses no derivative."""
    last: Step
    """The last step; at the start one that moved nowhere."""
    gradient: Tensor
    """g, the gradient of f at x, (B, d)."""


def start(setting: Setting, method: Method) -> DifferentiableRun:
    """Start fresh runs on instances that the generators draw, all memories empty. Costs 1 query per row and g."""
    oracle, generators = setting.oracle, setting.generators
    problem = oracle.problem
    drawn = [int(torch.randint(problem.size, (), generator=g, device=g.device)) for g in generators]
    instances = torch.tensor(drawn, device=problem.device)
    oracle.restart(np.arange(len(drawn)), generators, instances)
    x = problem.initial(instances, generators)
    state = start_state(method, x, oracle(x[:, None, :])[:, 0])
    zero = torch.zeros_like(x)  # before the first step: a network that reads zeros returns 0 and keeps an empty memory
    last = Step(
        iterate=state.iterate,
        estimate=Estimate(gradient=zero, slopes=zero[:, :1], gain=zero[:, 0]),
        directions=zero[:, None],
        black_box_gradient=zero,
        proposed_step=zero,
        change=zero[:, 0],
    )
    return DifferentiableRun(state, last, gradient_at(setting, x))


def without_history(runs: DifferentiableRun) -> DifferentiableRun:
    """Return the same runs detached from their history: here truncated back-propagation stops."""
    detached: DifferentiableRun = with_leaves(runs, [leaf.detach() for leaf in leaves(runs)])
    return detached


def advance(setting: Setting, method: Method, runs: DifferentiableRun) -> DifferentiableRun:
    """Step every row, differentiable in what `runs` holds and in the weights of the method's networks.

    Costs what the step costs (`zo_gym.step.cost`), and g at the new iterate.
    """
    state = observe(method, runs.state, runs.last)
    directions, state = sample(method, state, setting.generators)
    questions = ask_step(method, state, directions, setting.smoothing)
    target = questions.send(_answer(setting, next(questions), runs.gradient))  # x', (B, 1, d)
    gradient = gradient_at(setting, target.detach().squeeze(1))
    try:
        questions.send(_answer(setting, target, gradient))
    except StopIteration as finished:
        done: Step = finished.value
    return DifferentiableRun(state._replace(iterate=done.iterate), done, gradient)


def _answer(setting: Setting, points: Tensor, gradient: Tensor) -> Tensor:
    """Evaluate f at points (B, m, d) with the derivative `gradient` (B, d); values (B, m)."""
    values = setting.oracle(points.detach())
    return values + ((points - points.detach()) * gradient.unsqueeze(1)).sum(-1)


def gradient_at(setting: Setting, x: Tensor) -> Tensor:
    """Return g at x (B, d), each row of its own instance: free, or `black_box` by central differences along all axes.

    Those cost 2 d queries per row, and err by O(mu^2).
    """
    oracle = setting.oracle
    if not setting.black_box:
        if oracle.problem.gradient is None:
            raise ValueError(f"problem '{oracle.problem.name}' must know its gradient. Or pass black_box=True.")
        return oracle.problem.gradient(x, oracle.instances)
    axes = torch.eye(x.shape[1], dtype=x.dtype, device=x.device).expand(len(x), -1, -1)
    values = oracle(central.points(x, axes, setting.smoothing))  # (B, 2 d)
    return central.combine(values, values[:, 0], axes, setting.smoothing).slopes
