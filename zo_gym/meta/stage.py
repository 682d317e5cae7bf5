"""One stage of the training of ZO-LSTM: back-propagation through runs, with a validation after every epoch."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any, NamedTuple

import torch

from zo_gym.base import Method
from zo_gym.meta.differentiable_run import Setting, advance, start, without_history
from zo_gym.meta.rnn import CoordinateLSTM, Part
from zo_gym.meta.settings import MetaTraining
from zo_gym.oracle import Oracle
from zo_gym.problem import Problem
from zo_gym.rng import make_generator, seed_sequence
from zo_gym.run import run
from zo_gym.samplers.query_rnn import QueryState


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

    Returns:
        The validation losses, that of the start first.
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
