"""One stage of the training of ZO-LSTM: back-propagation through runs, with a validation after every epoch."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch

from zo_gym.base import Method
from zo_gym.checks import check_at_least, check_flag, check_integer, check_positive
from zo_gym.meta.differentiable_run import Setting, advance, start, without_history
from zo_gym.meta.rnn import CoordinateLSTM, Part
from zo_gym.oracle import Oracle
from zo_gym.problem import Problem
from zo_gym.rng import make_generator, seed_sequence
from zo_gym.run import run
from zo_gym.samplers.query_rnn import QueryState


@dataclass(frozen=True)
class MetaTraining:
    """The settings of a training; the defaults are the source's, except `smoothing` (there 1e-6) and `validation_rows`.

    Attributes:
        directions: q, the directions per step.
        smoothing: mu, in units of x.
        steps: The steps of an unrolled run.
        window: The steps that are differentiated through at once (truncated back-propagation through time).
        unrolls: The unrolled runs per epoch.
        rows: The instances that are unrolled side by side; their losses are averaged.
        update_epochs: The epochs of stage 1.
        query_epochs: The epochs of stage 2; 0 trains no QueryRNN.
        update_learning_rate: The learning rate of Adam in stage 1.
        query_learning_rate: The learning rate of Adam in stage 2.
        penalty: The weight of the sum of the squares of QueryRNN's outputs in the loss, per step.
        clip: The largest size of an entry of the networks' gradients.
        validation_rows: The runs that the networks are judged by after an epoch.
        patience: The epochs without a lower validation loss after which a stage ends early; 0: never (the source's).
        black_box: Measure gradients, 2 d queries a step and row, instead of asking the problem for them.

    Raises:
        TypeError, ValueError: A number is not as described.
    """

    directions: int = 20
    smoothing: float = 0.01
    steps: int = 200
    window: int = 20
    unrolls: int = 10
    rows: int = 1
    update_epochs: int = 20
    query_epochs: int = 40
    update_learning_rate: float = 1e-3
    query_learning_rate: float = 5e-3
    penalty: float = 0.005
    clip: float = 1.0
    validation_rows: int = 10
    patience: int = 0
    black_box: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        for item in fields(self):
            value = getattr(self, item.name)
            if item.type == "bool":
                check_flag(item.name, value)
            elif item.type == "int":
                check_integer(item.name, value, 0 if item.name.endswith(("_epochs", "patience")) else 1)
            elif item.name == "penalty":
                check_at_least(item.name, value, 0.0)
            else:
                check_positive(item.name, value)


class EpochReport(NamedTuple):
    """The progress of a stage, before its first epoch (epoch 0) and after every epoch."""

    stage: Part
    """Which network is trained."""
    epoch: int
    """The number of epochs done."""
    loss: float
    """The mean of f at the end of the validation runs."""
    best_loss: float
    """The least loss of this stage so far."""
    queries: int
    """The queries spent on training so far."""


Reporter = Callable[[EpochReport], Any]


class Validation(NamedTuple):
    """The runs that judge a network, the same ones every time."""

    problem: Problem
    """The problem to minimise."""
    seed: int
    """Seeds instances, starts and directions."""
    rows: int
    """The number of runs."""
    smoothing: float
    """mu, in units of x."""
    budget: int
    """The queries of one run."""


class Stage(NamedTuple):
    """A network to train."""

    part: Part
    """Which of the two it is."""
    network: CoordinateLSTM
    """The network."""
    method: Method
    """The method that is unrolled in training; it holds the network."""
    judged: Method
    """The method that the validation runs; it holds the network, too."""


def row_generators(problem: Problem, seed: int, rows: int) -> list[torch.Generator]:
    """Make one generator for each row."""
    return [make_generator(int(s), problem.device) for s in seed_sequence(seed).generate_state(rows)]


def train_stage(
    stage: Stage, setting: Setting, validation: Validation, config: MetaTraining, report: Reporter
) -> list[float]:
    """Train the network; leave it frozen with the weights that had the least validation loss.

    Return the validation losses, that of the start first.
    """
    epochs, learning_rate = {
        "update": (config.update_epochs, config.update_learning_rate),
        "query": (config.query_epochs, config.query_learning_rate),
    }[stage.part]
    network, spent = stage.network, setting.oracle
    adam = torch.optim.Adam(network.parameters(), lr=learning_rate)
    best, losses = deepcopy(network.state_dict()), [_judge(validation, stage.judged)]
    report(EpochReport(stage.part, 0, losses[0], losses[0], spent.total))
    for epoch in range(1, epochs + 1):
        network.requires_grad_(True)
        for _ in range(config.unrolls):
            _unroll(setting, stage.method, config, adam)
        network.requires_grad_(False)
        loss = _judge(validation, stage.judged)
        if loss < min(losses):
            best = deepcopy(network.state_dict())
        losses.append(loss)
        report(EpochReport(stage.part, epoch, loss, min(losses), spent.total))
        if 0 < config.patience <= epoch - losses.index(min(losses)):
            break
    network.load_state_dict(best)
    return losses


def _judge(validation: Validation, method: Method) -> float:
    """Return the mean of f at the end of the validation runs."""
    problem, rows = validation.problem, validation.rows
    generators = row_generators(problem, validation.seed, rows)
    oracle = Oracle(problem, rows, budget=validation.budget)
    x = problem.initial(oracle.instances, generators)
    *_, last = run(oracle, method, x, generators, smoothing=validation.smoothing)
    return last.iterate.fx.mean().item()


def _unroll(setting: Setting, method: Method, config: MetaTraining, adam: torch.optim.Adam) -> None:
    """Unroll a run from fresh starts, with a step of Adam after every window of it.

    The loss is sum_t t (f_t - f_{t-1}) over the window, t counted from the start of the unroll, plus the penalty.
    f_{t-1} counts as a constant: else the sum would be T f_T minus the values on the way, and reward high ones.
    """
    runs = start(setting, method)
    for first in range(0, config.steps, config.window):
        runs = without_history(runs)
        loss = torch.zeros_like(runs.state.iterate.fx[0])
        for t in range(first + 1, min(first + config.window, config.steps) + 1):
            before, runs = runs.state.iterate.fx.detach(), advance(setting, method, runs)
            loss = loss + t * (runs.state.iterate.fx - before).mean()
            if isinstance(runs.state.sampler, QueryState):
                loss = loss + config.penalty * runs.state.sampler.signal.square().sum(1).mean()
        adam.zero_grad()
        torch.autograd.backward(loss)
        for group in adam.param_groups:
            torch.nn.utils.clip_grad_value_(group["params"], config.clip)
        adam.step()
