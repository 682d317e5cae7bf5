"""The training of ZO-LSTM's networks on problems whose gradient is known, or can be measured.

Stage 1 trains UpdateRNN with Gaussian directions, stage 2 freezes it and trains QueryRNN, both by back-propagation
through runs of the optimizer (`zo_gym.meta.differentiable_run`).

    python -m zo_gym.meta.train --problem heart_scale --out lstm.safetensors

Reference: Ruan et al. (2019), "Learning to learn by zeroth-order oracle", arXiv:1910.09464, section 3.3.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from zo_gym.base import Method
from zo_gym.checks import check_smoothing
from zo_gym.estimators import forward
from zo_gym.meta.differentiable_run import Setting
from zo_gym.meta.rnn import INPUTS, CoordinateLSTM, LSTMOptimizer, save_optimizer
from zo_gym.meta.stage import EpochReport, MetaTraining, Reporter, Stage, Validation, row_generators, train_stage
from zo_gym.oracle import Oracle
from zo_gym.problem import Problem
from zo_gym.problems import make_problem
from zo_gym.rng import make_generator, seed_sequence
from zo_gym.samplers import gaussian, query_rnn
from zo_gym.updates import update_rnn


def meta_train(
    train: Problem,
    validation: Problem,
    config: MetaTraining | None = None,
    *,
    seed: int = 0,
    progress: Reporter | None = None,
) -> LSTMOptimizer:
    """Train UpdateRNN, then QueryRNN; return them frozen, with a record of how they were made.

    Every unrolled run faces instances drawn from `train`, from fresh starts. After every epoch the networks run on
    fixed instances, starts and directions of `validation`, QueryRNN with probability 1/2 as in use, and those with the
    least mean f at the end are kept; the ones at the start of a stage compete, too.

    An unrolled run costs rows (1 + steps (q + 1)) queries, with `black_box` 2 d rows (1 + steps) more; a validation
    costs validation_rows (1 + steps (q + 1)). The record has their sum.

    Args:
        train: What to learn from.
        validation: What to judge by. It may be the same `Problem`: its starts are drawn apart.
        config: The settings; None for the defaults.
        seed: Seeds weights, instances, starts and directions. torch's global generator is neither read nor moved.
        progress: Called before the first epoch of a stage and after every epoch.

    Raises:
        ValueError: `train` has no gradient and black_box is off, or `validation` is of another dtype or device.
        ObjectiveError: f failed.

    Deviation from the source: it keeps the networks with the least training loss on images that it is tested on.
    """
    config = config or MetaTraining()
    _check_problems(train, validation, config)
    weights_seed, train_seed, validation_seed = (int(s) for s in seed_sequence(seed).generate_state(3))
    generator = make_generator(weights_seed)
    update, query = CoordinateLSTM(INPUTS["update"], generator), CoordinateLSTM(INPUTS["query"], generator)
    rows, mu = config.rows, config.smoothing
    setting = Setting(Oracle(train, rows), row_generators(train, train_seed, rows), mu, config.black_box)
    budget = 1 + config.steps * (config.directions + 1)
    judge = Validation(validation, validation_seed, config.validation_rows, mu, budget)
    report = progress or (lambda report: None)
    drawn = Method(gaussian(), forward, update_rnn(weights=update), config.directions)
    losses = {"update": train_stage(Stage("update", update, drawn, drawn), setting, judge, config, report)}
    if config.query_epochs > 0:
        always, sometimes = (replace(drawn, sampler=query_rnn(query, p)) for p in (1.0, 0.5))
        losses["query"] = train_stage(Stage("query", query, always, sometimes), setting, judge, config, report)
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
    check_smoothing(config.smoothing, train.dtype)


@dataclass(frozen=True)
class Arguments:
    """Train ZO-LSTM and save it.

    Attributes:
        problem: The name of a problem; one of many instances is learned on its split "train", judged on "validation".
        out: The file to write.
        seed: Seeds everything random.
        training: The settings.
    """

    problem: str
    out: Path
    seed: int = 0
    training: MetaTraining = field(default_factory=MetaTraining)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; `--help` lists every argument."""
    try:
        import tyro
    except ModuleNotFoundError:
        print("error: zo_gym.meta.train needs tyro. Install it: pip install 'zo-gym[agents]'.", file=sys.stderr)
        raise SystemExit(2) from None
    chosen = tyro.cli(tyro.conf.OmitArgPrefixes[Arguments], args=arguments)
    optimizer = meta_train(*_find(chosen.problem), chosen.training, seed=chosen.seed, progress=_print)
    save_optimizer(optimizer, chosen.out)
    print(f"Wrote {chosen.out} after {optimizer.record['queries']} queries.")


def _find(name: str) -> tuple[Problem, Problem]:
    """Return the problem to learn on, and the one to judge by."""
    problem = make_problem(name)
    if problem.size == 1:
        return problem, problem
    return make_problem(name, split="train"), make_problem(name, split="validation")


def _print(report: EpochReport) -> None:
    stage, epoch, loss, best, queries = report
    print(f"{stage:6} epoch {epoch:3}  f {loss:.6g}  least {best:.6g}  {queries} queries", flush=True)


if __name__ == "__main__":
    main()
