"""Training of ZO-LSTM's networks on problems whose gradient is known, or can be measured.

Stage 1 trains UpdateRNN with Gaussian directions, stage 2 freezes it and trains QueryRNN, both by back-propagation
through runs of the optimizer (`zo_gym.meta.differentiable_run`).

    python -m zo_gym.meta.train --problem heart_scale --out lstm.safetensors

Reference: Ruan et al. (2019), "Learning to learn by zeroth-order oracle", section 3.3.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from zo_gym.base import Method
from zo_gym.checks import check_at_least, check_flag, check_integer, check_positive
from zo_gym.estimators import forward
from zo_gym.meta.differentiable_run import Setting, advance, start, without_history
from zo_gym.meta.rnn import INPUTS, CoordinateLSTM, LSTMOptimizer, Part, save_optimizer
from zo_gym.oracle import Oracle
from zo_gym.problem import Problem
from zo_gym.problems import make_problem
from zo_gym.rng import make_generator, seed_sequence
from zo_gym.run import run
from zo_gym.samplers import gaussian, query_rnn
from zo_gym.samplers.query_rnn import QueryState
from zo_gym.step import require_smoothing
from zo_gym.updates import update_rnn


@dataclass(frozen=True)
class MetaTraining:
    """How ZO-LSTM is trained; the defaults are the source's but for `smoothing` (there 1e-6) and `validation_rows`.

    Attributes:
        directions: q per step.
        smoothing: mu, in units of x.
        steps: Of an unroll.
        window: Steps that are differentiated through at once (truncated back-propagation through time).
        unrolls: Per epoch.
        rows: Instances that are unrolled side by side; their losses are averaged.
        update_epochs: Of stage 1.
        query_epochs: Of stage 2; 0 trains no QueryRNN.
        update_learning_rate: Of Adam in stage 1.
        query_learning_rate: Of Adam in stage 2.
        penalty: On the sum of the squares of QueryRNN's outputs, per step.
        clip: Largest size of an entry of the networks' gradients.
        validation_rows: Runs that the networks are judged by after an epoch.
        patience: Epochs without a lower validation loss after which a stage ends early; 0: never (the source's).
        black_box: Measure gradients, 2 d queries a step and row, instead of asking the problem for them.
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
        """Check the numbers.

        Raises:
            TypeError, ValueError: One is not as described.
        """
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
    """What `progress` sees before the first epoch of a stage (epoch 0) and after every epoch."""

    stage: Part
    epoch: int
    loss: float
    """Mean f over the validation runs, at their end."""
    best_loss: float
    """The least one of this stage so far."""
    queries: int
    """Spent on training so far."""


class _Exam(NamedTuple):
    """Where the networks are judged: the same runs every time."""

    problem: Problem
    seed: int
    rows: int
    smoothing: float
    budget: int
    """Queries of one run."""


Reporter = Callable[[EpochReport], Any]


def meta_train(
    train: Problem,
    validation: Problem,
    config: MetaTraining | None = None,
    *,
    seed: int = 0,
    progress: Reporter | None = None,
) -> LSTMOptimizer:
    """Train UpdateRNN, then QueryRNN.

    Every unroll faces instances drawn from `train`; of a `Problem`, other starts. After every epoch the networks run
    on fixed instances, starts and directions of `validation`, QueryRNN with probability 1/2 as in use, and the ones
    with the least mean f at the end are kept; those at the start of a stage compete, too.

    An unroll costs rows (1 + steps (q + 1)) queries, with `black_box` 2 d rows (1 + steps) more; a validation,
    validation_rows (1 + steps (q + 1)). The result's `record` has their sum.

    Args:
        train: What to learn from.
        validation: What to judge by. It may be the same `Problem`: its starts are drawn apart.
        config: The settings; None for the defaults.
        seed: Of the weights, instances, starts and directions. torch's global generator is neither read nor moved.
        progress: Called after every epoch.

    Returns:
        The networks, frozen, and how they were made.

    Raises:
        ValueError: `train` has no gradient and black_box is off, or `validation` is of another dtype or device.
        ObjectiveError: f failed.

    Reference: Ruan et al. (2019), section 3.3. Deviation: they keep the networks with the least training loss on test
    images; f at the end is what an optimizer is for, and the images that it is tested on stay unseen here.
    """
    config = config or MetaTraining()
    _check_problems(train, validation, config)
    weights_seed, train_seed, validation_seed = (int(s) for s in seed_sequence(seed).generate_state(3))
    generator = make_generator(weights_seed)
    update, query = CoordinateLSTM(INPUTS["update"], generator), CoordinateLSTM(INPUTS["query"], generator)
    setting = Setting(
        Oracle(train, config.rows), _generators(train, train_seed, config.rows), config.smoothing, config.black_box
    )
    budget = 1 + config.steps * (config.directions + 1)
    exam = _Exam(validation, validation_seed, config.validation_rows, config.smoothing, budget)
    report = progress or (lambda report: None)

    drawn = Method(gaussian(), forward, update_rnn(weights=update), config.directions)
    losses = {"update": _stage("update", update, setting, exam, config, drawn, drawn, report)}
    if config.query_epochs > 0:
        always, sometimes = (replace(drawn, sampler=query_rnn(query, p)) for p in (1.0, 0.5))
        losses["query"] = _stage("query", query, setting, exam, config, always, sometimes, report)
    validation_queries = sum(len(stage) for stage in losses.values()) * config.validation_rows * budget
    record = {
        "train": train.name,
        "validation": validation.name,
        "dim": train.dim,
        "seed": seed,
        "settings": asdict(config),
        "queries": setting.oracle.total + validation_queries,
        "validation_queries": validation_queries,
        "validation_losses": losses,
    }
    return LSTMOptimizer(update, query if config.query_epochs > 0 else None, record)


def _check_problems(train: Problem, validation: Problem, config: MetaTraining) -> None:
    if (train.dtype, train.device) != (validation.dtype, validation.device):
        raise ValueError(
            f"validation must have the dtype and device of train, {train.dtype} on {train.device}, "
            f"got {validation.dtype} on {validation.device}."
        )
    if train.gradient is None and not config.black_box:
        raise ValueError(f"train must know its gradient, and '{train.name}' does not. Pass black_box=True.")
    require_smoothing(config.smoothing, train.dtype)


def _generators(problem: Problem, seed: int, rows: int) -> list[torch.Generator]:
    return [make_generator(int(s), problem.device) for s in seed_sequence(seed).generate_state(rows)]


def _stage(
    name: Part,
    network: CoordinateLSTM,
    setting: Setting,
    exam: _Exam,
    config: MetaTraining,
    method: Method,
    judged: Method,
    report: Reporter,
) -> list[float]:
    """Train the network inside `method`; leave it frozen with the weights that did best inside `judged`.

    Returns:
        The validation losses, that of the start first.
    """
    epochs, learning_rate = {
        "update": (config.update_epochs, config.update_learning_rate),
        "query": (config.query_epochs, config.query_learning_rate),
    }[name]
    adam = torch.optim.Adam(network.parameters(), lr=learning_rate)
    best, losses = deepcopy(network.state_dict()), [_judge(exam, judged)]
    report(EpochReport(name, 0, losses[0], losses[0], setting.oracle.total))
    for epoch in range(1, epochs + 1):
        network.requires_grad_(True)
        for _ in range(config.unrolls):
            _learn(setting, method, config, adam)
        network.requires_grad_(False)
        loss = _judge(exam, judged)
        if loss < min(losses):
            best = deepcopy(network.state_dict())
        losses.append(loss)
        report(EpochReport(name, epoch, loss, min(losses), setting.oracle.total))
        if 0 < config.patience <= epoch - losses.index(min(losses)):
            break
    network.load_state_dict(best)
    return losses


def _judge(exam: _Exam, method: Method) -> float:
    """Mean f over the validation runs, at their end."""
    generators = _generators(exam.problem, exam.seed, exam.rows)
    oracle = Oracle(exam.problem, exam.rows, budget=exam.budget)
    x = exam.problem.initial(oracle.instances, generators)
    *_, last = run(oracle, method, x, generators, smoothing=exam.smoothing)
    return last.iterate.fx.mean().item()


def _learn(setting: Setting, method: Method, config: MetaTraining, adam: torch.optim.Adam) -> None:
    """One unroll from fresh starts, with a step of Adam after every window of it.

    The loss is sum_t t (f_t - f_{t-1}) over the window, t counted from the start of the unroll, plus the penalty.
    f_{t-1} counts as a constant: else the sum would be T f_T less the values on the way, and reward high ones.
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


@dataclass(frozen=True)
class Arguments:
    """Train ZO-LSTM and save it.

    Attributes:
        problem: A problem's name; or a family's, to learn on its split "train" and be judged on "validation".
        out: File to write.
        seed: Of everything random.
        training: The settings.
    """

    problem: str
    out: Path
    seed: int = 0
    training: MetaTraining = field(default_factory=MetaTraining)


def main(arguments: list[str] | None = None) -> None:
    """The command line; `--help` lists everything."""
    import tyro

    chosen = tyro.cli(tyro.conf.OmitArgPrefixes[Arguments], args=arguments)
    optimizer = meta_train(*_find(chosen.problem), chosen.training, seed=chosen.seed, progress=_print)
    save_optimizer(optimizer, chosen.out)
    print(f"Wrote {chosen.out} after {optimizer.record['queries']} queries.")


def _find(name: str) -> tuple[Problem, Problem]:
    """Return the problem to learn on, and the one that judges."""
    problem = make_problem(name)
    if problem.size == 1:
        return problem, problem
    return make_problem(name, split="train"), make_problem(name, split="validation")


def _print(report: EpochReport) -> None:
    stage, epoch, loss, best, queries = report
    print(f"{stage:6} epoch {epoch:3}  f {loss:.6g}  least {best:.6g}  {queries} queries", flush=True)


if __name__ == "__main__":
    main()
