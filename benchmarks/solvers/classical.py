"""Who takes part in a comparison: the package's own methods and the peers, each with what is tuned about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from zo_gym.agents.query_grid import direction_generators

from benchmarks.recorder import Outcome, Recorder, join
from benchmarks.suites.paper import Task
from zo_gym.base import Method
from zo_gym.baselines import run_baseline
from zo_gym.directions import cosine
from zo_gym.meta.rnn import load_optimizer, save_optimizer
from zo_gym.meta.train import meta_train
from zo_gym.methods import build
from zo_gym.oracle import Oracle
from zo_gym.problem import Objective, Problem
from zo_gym.rng import make_generator
from zo_gym.run import run

Group = Literal["policy", "ablation", "paper", "control", "further", "peer", "reference"]

DELTAS = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
"""Section 4.1: eta = delta / d, delta on this logarithmic range."""
FINER = (10 ** (-2 / 3), 10 ** (-1 / 3), 10 ** (1 / 3), 10 ** (2 / 3))
"""Then around the best."""


@dataclass(frozen=True)
class Setup:
    """What a solver runs with.

    Attributes:
        task: Which problem.
        family: Its rows: each an instance with its start.
        seeds: Of each row's directions, one a row.
        options: The values that are tuned, by name.
        folder: Results of this task: learned weights are kept there.
    """

    task: Task
    family: Problem
    seeds: tuple[int, ...]
    options: Mapping[str, float]
    folder: Path


Run = Callable[[Setup], Outcome]


@dataclass(frozen=True)
class Solver:
    """A method in the comparison.

    Attributes:
        label: What legends and tables call it.
        group: Which part of the table it is in.
        run: Runs all rows of a setup.
        search: Values to try for one option, by its name; empty: nothing to tune.
        finer: Factors to try around the best of them.
        tuning_rows: How many of the task's tuning rows each value is tried on; None: all.
        tuning_share: Share of the budget that each value is tried with: less than all for methods whose steps cost few
            queries, and so take long.
        tuning_shares: Name of a task whose f takes long -> the share there instead.
        prepare: Makes what `run` needs besides, e.g. learned weights, for (task, folder); None where nothing is needed.
        needs: Name of another solver whose `prepare` this one's run needs too.
        batched: All rows advance as one batch; else each row is a run, and a file, of its own.
        borrows: Kind of task -> the solver whose tuned options are taken there instead of a search.
        training_queries: Queries that were spent before the run, of (task, folder).
    """

    label: str
    group: Group
    run: Run
    search: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    finer: tuple[float, ...] = FINER
    tuning_rows: int | None = None
    tuning_share: float = 1.0
    tuning_shares: Mapping[str, float] = field(default_factory=dict)
    prepare: Callable[[Task, Path], None] | None = None
    needs: str | None = None
    batched: bool = True
    borrows: Mapping[str, str] = field(default_factory=dict)
    training_queries: Callable[[Task, Path], int] = lambda task, folder: 0


def starts_of(family: Problem) -> Tensor:
    """Every instance's start, (B, d)."""
    return family.initial(
        torch.arange(family.size, device=family.device), [make_generator(0, family.device)] * family.size
    )


def own(method: str, *, composite: bool = False, **fixed: Any) -> Run:
    """Runs a method of `zo_gym.METHODS`, or an installed one, on all rows at once.

    Args:
        method: Its name.
        composite: Take the known part of f exactly.
        **fixed: Of `zo_gym.methods.build`; the tuned option "delta" becomes eta = delta / d.
    """

    def run(setup: Setup) -> Outcome:
        return run_own(setup, method, composite=composite, **fixed)

    return run


def run_own(setup: Setup, method: str, *, composite: bool = False, **fixed: Any) -> Outcome:
    """See `own`."""
    family = setup.family
    options = {name: value for name, value in setup.options.items() if name != "delta"} | fixed
    if "delta" in setup.options:
        options["learning_rate"] = setup.options["delta"] / family.dim
    if method == "true-gradient":
        unknown = replace(family, gradient=unknown_gradient(family)) if composite else family
        options["gradient"] = true_gradient(unknown)
    known = family.composite if composite else None
    return run_built(
        setup, build(method, family.dim, **options, context=family.context, composite=known), composite=composite
    )


def run_built(setup: Setup, method: Method, *, composite: bool = False) -> Outcome:
    """Run a method that is built already on all rows at once."""
    family, budget = setup.family, setup.task.budget
    gradient = true_gradient(family)
    oracle = Oracle(family, family.size, budget=budget)
    recorder = Recorder(family, budget, setup.task.early)
    for moment in run(
        oracle,
        method,
        starts_of(family),
        direction_generators(setup.seeds, family.device),
        smoothing=setup.task.smoothing,
        composite=composite,
    ):
        cos = None
        if moment.gradient is not None and gradient is not None and recorder.wants_cosine(int(oracle.queries.max())):
            cos = cosine(moment.gradient, gradient(moment.before))
        recorder.add(oracle.queries.copy(), moment.iterate.best_f, moment.iterate.x, cos)
    return recorder.finish(moment.iterate.best_x)


def true_gradient(family: Problem) -> Objective | None:
    """x (size, d), row i of instance i -> grad f there; None where the family does not know it."""
    gradient = family.gradient
    instances = torch.arange(family.size, device=family.device)
    return None if gradient is None else lambda x: gradient(x, instances)


def unknown_gradient(family: Problem) -> Callable[[Tensor, Tensor], Tensor] | None:
    """x (B, d), instances (B,) -> the gradient of the unknown part of f; None where the family does not know grad f."""
    whole, known = family.gradient, family.composite
    if whole is None or known is None:
        return whole

    def gradient(x: Tensor, instances: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = x.detach().clone().requires_grad_()
            (slope,) = torch.autograd.grad(known.value(leaf[:, None], instances).sum(), leaf)
        return whole(x, instances) - slope

    return gradient


def peer(name: str, **fixed: Any) -> Run:
    """Runs a method of `zo_gym.BASELINES`, row by row; the option "delta" becomes eta = delta / d."""

    def run(setup: Setup) -> Outcome:
        family = setup.family
        options = {key: value for key, value in setup.options.items() if key != "delta"} | fixed
        if "delta" in setup.options:
            options["learning_rate"] = setup.options["delta"] / family.dim
        rows = [_run_peer(setup, name, row, options) for row in range(family.size)]
        return join(rows)

    return run


def _run_cma(setup: Setup) -> Outcome:
    """The full matrix where the budget can teach it, else its diagonal."""
    return peer("cma-es", diagonal=setup.family.dim**2 > setup.task.budget)(setup)


def _run_lbfgs(setup: Setup) -> Outcome:
    """Further descents begin at x0 plus noise as long as the starts of the classification problems."""
    fixed = {"maxcor": int(setup.options["maxcor"]), "restart_std": setup.family.dim**-0.5}
    return peer("l-bfgs-b", **fixed)(replace(setup, options={}))


def _run_peer(setup: Setup, name: str, row: int, options: Mapping[str, Any]) -> Outcome:
    family, budget = setup.family.subset([row]), setup.task.budget
    oracle = Oracle(family, 1, budget=budget)
    (generator,) = direction_generators(setup.seeds[row : row + 1], family.device)
    x0 = starts_of(family)[0]
    recorder = Recorder(family, budget, setup.task.early)
    best_x, best_f = x0, float("inf")

    def evaluate(points: Tensor) -> Tensor:
        nonlocal best_x, best_f
        values = oracle(points[None])[0]
        least = int(values.argmin())
        if values[least].item() < best_f:
            best_x, best_f = points[least].clone(), values[least].item()
            recorder.add(int(oracle.queries[0]), [best_f], best_x[None])
        return values

    run_baseline(name, evaluate, x0, generator, **options)
    recorder.add(int(oracle.queries[0]), [best_f])
    return recorder.finish(best_x[None])


_ETA = {"delta": DELTAS}
_FIRST_ETA = {"learning_rate": DELTAS}


def _adaptive(method: str, label: str, group: Group, **shares: float) -> Solver:
    """With the adaptive rule: its first step is searched on more starts, as where a run ends is partly chance."""
    run = own(method, update="adaptive")
    return Solver(label, group, run, _FIRST_ETA, tuning_rows=10, tuning_share=0.4, tuning_shares=shares)


def lstm_file(folder: Path) -> Path:
    """Where the weights of ZO-LSTM for a task are kept among its results."""
    return folder / "zo-lstm" / "weights.safetensors"


def train_lstm(task: Task, folder: Path) -> None:
    """Train ZO-LSTM on the task's training rows, unless its weights are there."""
    file = lstm_file(folder)
    if not file.is_file():
        save_optimizer(meta_train(task.family("train"), task.family("validation"), task.lstm, seed=0), file)


def _run_lstm(setup: Setup) -> Outcome:
    return run_own(setup, "zo-lstm", weights=lstm_file(setup.folder))


def _lstm_queries(task: Task, folder: Path) -> int:
    return int(load_optimizer(lstm_file(folder)).record["queries"])


SOLVERS: dict[str, Solver] = {
    "zo-sgd": Solver("ZO-SGD (ZO-GS)", "paper", own("zo-sgd"), _ETA),
    "guided-es": Solver("Guided ES", "paper", own("guided-es", estimator="forward", num_directions=20), _ETA),
    "zo-lstm": Solver("ZO-LSTM", "paper", _run_lstm, prepare=train_lstm, training_queries=_lstm_queries),
    "zo-sgd-q1": Solver("ZO-SGD, q = 1", "control", own("zo-sgd-q1"), _ETA, tuning_share=0.4),
    "zo-sgd-sphere": Solver("ZO-SGD, sphere", "control", own("zo-sgd-sphere"), _ETA),
    "rand-ada": _adaptive("rand-ada", "random direction, adaptive step", "control", mnist_attack=0.1),
    "zo-sign": Solver("ZO-signSGD", "further", own("zo-sign"), _ETA),
    "zo-adam": Solver("ZO-Adam", "further", own("zo-adam"), _ETA),
    "zo-adamm": Solver("ZO-AdaMM", "further", own("zo-adamm"), _ETA),
    "history-rgf": Solver("history-prior RGF", "further", own("history-rgf"), _ETA, tuning_share=0.4),
    "history-rgf-ada": _adaptive("history-rgf", "history-prior RGF, adaptive step", "further", mnist_attack=0.1),
    "zo-svrg": Solver("ZO-SVRG", "further", peer("zo-svrg"), _ETA),
    "cma-es": Solver(
        "CMA-ES (diagonal for d > 70)", "peer", _run_cma, {"sigma0": (0.01, 0.1, 1.0)}, (), tuning_share=0.4
    ),
    "l-bfgs-b": Solver(
        "L-BFGS-B, finite differences, restarted",
        "peer",
        _run_lbfgs,
        {"maxcor": (5.0, 10.0, 20.0, 40.0)},
        (),
        tuning_rows=10,  # which local minimum a run ends in is chance
    ),
    "true-gradient": Solver("true gradient direction", "reference", own("true-gradient"), _ETA, tuning_share=0.4),
    "true-gradient-ada": _adaptive("true-gradient", "true gradient direction, adaptive step", "reference"),
}
"""The methods of this package and the peers. ZO-RL is added by who can build its agents."""
