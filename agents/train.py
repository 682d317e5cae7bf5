"""`python train.py`: train an agent on a problem, save its policy, and compare it at equal queries."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tyro
from stable_baselines3.common.logger import Figure, HParam, configure

from zo_gym.files import write_atomically, write_json, write_text
from zo_gym.interruption import Interruption
from zo_gym.metrics import NAMES

from .algorithms.directional import Directional
from .arguments import TrainArgs, load_args
from .compare import FIRST_TEST_SEED, compare, markdown, print_table, rows_of
from .console import fail_clearly, saving_to
from .plots import figure
from .policies.bundle import Policy, save_policy
from .sb3.callbacks import Checkpoints, MetricsCallback
from .sb3.checkpoint import Episode, save_checkpoint, steps_in
from .training_run import Run, begin, learn_within, policy_config, resume

NO_HYPER_PARAMETERS = ("progress", "checkpoint_every", "eval_seeds", "threads")
"""Arguments on which results do not depend; TensorBoard's table leaves them out."""


def learn(run: Run, episodes: Sequence[Episode] = ()) -> tuple[bool, MetricsCallback, Policy]:
    """Train until the query budget or a signal; log, checkpoint, save the policy. A resumed run has `episodes` already.

    No signal acts while all is saved. A second Ctrl-C before, or the first one after, raises KeyboardInterrupt.
    Return whether a signal ended it, the metrics with all episodes that ended, and the policy as it was saved.

    Raises:
        ObjectiveError: f failed; the policy is saved as it was then.
        OSError: The disk is full.
    """
    args, agent, folder, queries = run.args, run.agent, run.folder, run.preset.total_queries
    metrics = MetricsCallback(episodes)
    checkpoints = Checkpoints(folder / "checkpoint.pt", args.checkpoint_every, metrics)
    logger = configure(str(folder), ["tensorboard"])
    with Interruption() as interruption:
        try:
            learn_within(
                agent, queries, checkpoints, metrics, logger=logger, progress=args.progress, interruption=interruption
            )
        except Exception:
            save_policy(agent, policy_config(run), folder / "policy")  # what was learned until then is not lost
            raise
        interruption.hold()
        metrics.flush()
        save_checkpoint(agent, folder / "checkpoint.pt", metrics.episodes)
        policy = save_policy(agent, policy_config(run), folder / "policy")
    interrupted = bool(interruption.noted)
    if not interrupted and isinstance(agent, Directional):
        agent.finish(run.preset.final_updates)
        policy = save_policy(agent, policy_config(run), folder / "policy")
    return interrupted, metrics, policy


def finish(run: Run, metrics: MetricsCallback, policy: Policy, seconds: float) -> None:
    """Compare, print the table, and write result.json, comparison.md and the figure."""
    args, folder = run.args, run.folder
    result: dict[str, Any] = {
        "training_queries": metrics.total_queries(),
        "training_steps": run.agent.num_timesteps,
        "training_seconds": round(seconds, 1),
        "episodes": [{"queries": queries, "best_f": best} for queries, best in metrics.episodes],
    }
    if metrics.episodes:
        first_queries, first = metrics.episodes[0]
        print(f"First episode, learning from scratch: f = {first:.6g} after {first_queries} queries, all counted.")
    if args.eval_seeds > 0:
        seeds = range(FIRST_TEST_SEED, FIRST_TEST_SEED + args.eval_seeds)
        curves = compare(policy, run.settings, seeds)
        rows = rows_of(curves)
        result["comparison"] = rows
        print_table(
            rows,
            f"{args.problem}: best f, mean ± std over {args.eval_seeds} fresh starts; the policy was trained on "
            f"{result['training_queries']} queries before.",
        )
        drawing = figure(curves, f"{args.problem}, {args.algo}")
        with saving_to(folder):
            write_text(folder / "comparison.md", markdown(rows))
            write_atomically(folder / "comparison.png", lambda path: drawing.savefig(path, dpi=120, format="png"))
        log_comparison(run, rows, drawing)
    with saving_to(folder):
        write_json(folder / "result.json", result)


def log_comparison(run: Run, rows: Sequence[Mapping[str, Any]], drawing: Any) -> None:
    """Log final values, the figure and the hyper-parameters for TensorBoard."""
    logger, last = run.agent.logger, f"f at {run.args.budget}"
    values = {"final/policy_f": rows[0][last], "final/untrained_f": rows[1][last], "final/zo_sgd_f": rows[-1][last]}
    plain = {
        name: value
        for name, value in {**asdict(run.args), **asdict(run.preset)}.items()
        if isinstance(value, (bool, int, float, str)) and name not in NO_HYPER_PARAMETERS
    }
    for name, value in values.items():
        assert name in NAMES, name
        logger.record(name, value)
    logger.record("final/comparison", Figure(drawing, close=False))
    logger.record("hparams", HParam(plain, values))
    logger.dump(run.agent.num_timesteps)


def run_training(args: TrainArgs) -> Path:
    """Do what `python train.py` does, and return the run folder.

    A wrong argument, a failure of f or a full disk raises OSError, TypeError or ValueError.
    """
    started = time.perf_counter()
    if args.resume is None:
        run, episodes = begin(args), list[Episode]()
    else:
        run, episodes = resume(args)
        print(f"Resuming {run.folder} at step {run.agent.num_timesteps}.")
    folder, checkpoint = run.folder, run.folder / "checkpoint.pt"
    print(f"Run folder: {folder}   (watch it: tensorboard --logdir {run.args.logdir})")
    try:
        interrupted, metrics, policy = learn(run, episodes)
        if not interrupted:
            finish(run, metrics, policy, time.perf_counter() - started)
            print(f"Saved policy and results in {folder}. Look closer: python evaluate.py {folder}")
            return folder
        ended = "Interrupted; everything is saved."
    except KeyboardInterrupt:  # a second Ctrl-C, or one in what follows the last query
        if not checkpoint.is_file():
            raise
        ended = f"Interrupted at once; what is saved is the last checkpoint, of step {steps_in(checkpoint)}."
    print(f"\n{ended} Go on from there: python train.py --resume {folder}")
    return folder


def parse(arguments: Sequence[str] | None = None) -> TrainArgs:
    """Read the command line; with --resume, what is not given there comes from the run folder.

    Raises:
        FileNotFoundError, ValueError: --resume is not a run folder.
        SystemExit: --help, or an argument that does not exist.
    """
    args = tyro.cli(TrainArgs, args=arguments)
    if args.resume is None:
        return args
    stored = dataclasses.replace(load_args(args.resume), progress=True)
    return tyro.cli(TrainArgs, args=arguments, default=stored)


def main() -> None:
    """Run train.py."""
    warnings.filterwarnings("default", module="zo_gym")
    with fail_clearly():
        run_training(parse())


if __name__ == "__main__":
    main()
