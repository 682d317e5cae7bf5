"""Make solvers of the methods of `zo_gym.METHODS`: those of the paper, controls, further ones and references."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.recorder import Recorder
from benchmarks.solvers.base import COARSE_DELTAS, Group, Run, Setup, Solver, SolverOutcome, options_of, starts_of
from benchmarks.suites.task import Task
from zo_gym.agents.curves import direction_generators
from zo_gym.base import Method
from zo_gym.directions import cosine
from zo_gym.meta.rnn import load_optimizer, save_optimizer
from zo_gym.meta.train import meta_train
from zo_gym.methods import build
from zo_gym.oracle import Oracle
from zo_gym.problem import Objective, Problem
from zo_gym.run import run


def method_run(name: str, *, composite: bool = False, **fixed: Any) -> Run:
    """Return what runs a method of `zo_gym.METHODS`, or an added one, on all rows at once.

    Args:
        name: Its name.
        composite: Take the problem's composite term exactly.
        **fixed: Arguments of `zo_gym.methods.build` besides the tuned ones, see `options_of`.
    """
    return lambda setup: run_by_name(setup, name, composite=composite, **fixed)


def run_by_name(setup: Setup, name: str, *, composite: bool = False, **fixed: Any) -> SolverOutcome:
    """Run a method on all rows at once; see `method_run`."""
    problem = setup.problem
    options = options_of(setup, fixed)
    if name == "true-gradient":
        black_box = replace(problem, gradient=black_box_gradient(problem)) if composite else problem
        options["gradient"] = gradient_of_rows(black_box)
    term = problem.composite if composite else None
    method = build(name, problem.dim, **options, context=problem.context, composite=term)
    return run_built(setup, method, composite=composite)


def run_built(setup: Setup, method: Method, *, composite: bool = False) -> SolverOutcome:
    """Run a method that is built already on all rows at once."""
    problem, budget = setup.problem, setup.task.budget
    gradient = gradient_of_rows(problem)
    oracle = Oracle(problem, problem.size, budget=budget)
    recorder = Recorder(problem, budget, setup.task.early)
    for moment in run(
        oracle,
        method,
        starts_of(problem),
        direction_generators(setup.seeds, problem.device),
        smoothing=setup.task.smoothing,
        composite=composite,
    ):
        cos = None
        if moment.gradient is not None and gradient is not None and recorder.wants_cosine(int(oracle.queries.max())):
            cos = cosine(moment.gradient, gradient(moment.before))
        recorder.add(oracle.queries.copy(), moment.iterate.best_f, moment.iterate.x, cos)
    return recorder.finish(moment.iterate.best_x)


def gradient_of_rows(problem: Problem) -> Objective | None:
    """Return the function x (size, d) -> grad f (size, d), row i under instance i; None if the gradient is unknown."""
    gradient = problem.gradient
    instances = torch.arange(problem.size, device=problem.device)
    return None if gradient is None else lambda x: gradient(x, instances)


def black_box_gradient(problem: Problem) -> Callable[[Tensor, Tensor], Tensor] | None:
    """Return the gradient of the black-box part of f, a function of x (B, d) and instances (B,) as `Problem.gradient`.

    It is grad f itself without a composite term, and None if grad f is unknown.
    """
    whole, term = problem.gradient, problem.composite
    if whole is None or term is None:
        return whole

    def gradient(x: Tensor, instances: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = x.detach().clone().requires_grad_()
            (slope,) = torch.autograd.grad(term.value(leaf[:, None], instances).sum(), leaf)
        return whole(x, instances) - slope

    return gradient


def lstm_file(folder: Path) -> Path:
    """Return where the weights of ZO-LSTM are kept in the folder of a task's results."""
    return folder / "zo-lstm" / "weights.safetensors"


def train_lstm(task: Task, folder: Path) -> None:
    """Train ZO-LSTM on the task's training rows, unless its weights are there."""
    file = lstm_file(folder)
    if not file.is_file():
        save_optimizer(meta_train(task.problem("train"), task.problem("validation"), task.lstm, seed=0), file)


def _run_lstm(setup: Setup) -> SolverOutcome:
    return run_by_name(setup, "zo-lstm", weights=lstm_file(setup.folder))


def _lstm_queries(task: Task, folder: Path) -> int:
    return int(load_optimizer(lstm_file(folder)).record["queries"])


def _adaptive(method: str, label: str, group: Group, **shares: float) -> Solver:
    """Return a solver with the adaptive rule.

    Its first step is searched on 10 starts, because where such a run ends is partly chance.
    """
    run = method_run(method, update="adaptive")
    search = {"learning_rate": COARSE_DELTAS}
    return Solver(label, group, run, search, tuning_rows=10, tuning_share=0.4, tuning_shares=shares)


DELTA = {"delta": COARSE_DELTAS}
"""The search of eta = delta / d."""

SOLVERS: dict[str, Solver] = {
    "zo-sgd": Solver("ZO-SGD (ZO-GS)", "paper", method_run("zo-sgd"), DELTA),
    "guided-es": Solver("Guided ES", "paper", method_run("guided-es", estimator="forward", num_directions=20), DELTA),
    "zo-lstm": Solver("ZO-LSTM", "paper", _run_lstm, prepare=train_lstm, training_queries=_lstm_queries),
    "zo-sgd-q1": Solver("ZO-SGD, q = 1", "control", method_run("zo-sgd-q1"), DELTA, tuning_share=0.4),
    "zo-sgd-sphere": Solver("ZO-SGD, sphere", "control", method_run("zo-sgd-sphere"), DELTA),
    "rand-ada": _adaptive("rand-ada", "random direction, adaptive step", "control", mnist_attack=0.1),
    "zo-sign": Solver("ZO-signSGD", "further", method_run("zo-sign"), DELTA),
    "zo-adam": Solver("ZO-Adam", "further", method_run("zo-adam"), DELTA),
    "zo-adamm": Solver("ZO-AdaMM", "further", method_run("zo-adamm"), DELTA),
    "history-rgf": Solver("history-prior RGF", "further", method_run("history-rgf"), DELTA, tuning_share=0.4),
    "history-rgf-ada": _adaptive("history-rgf", "history-prior RGF, adaptive step", "further", mnist_attack=0.1),
    "true-gradient": Solver(
        "true gradient direction", "reference", method_run("true-gradient"), DELTA, tuning_share=0.4
    ),
    "true-gradient-ada": _adaptive("true-gradient", "true gradient direction, adaptive step", "reference"),
}
"""The methods that `zo_gym.step` drives."""
