"""Turn arguments into a training run, new or resumed: its environment, agent and folder."""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from zo_gym.files import provenance, write_json
from zo_gym.interruption import Interruption

from .arguments import TrainArgs, check, check_resumed, environment_settings, load_args, resolve_device
from .build import agent_for, while_training
from .policies.bundle import PolicyConfig
from .presets import Preset
from .sb3.callbacks import NEVER, QueryBudget, TrainingDone, Trajectory
from .sb3.checkpoint import Episode, load_checkpoint
from .sb3.vec_env import env_of

MOST_TRANSITIONS = 1_000_000
"""Transitions that a replay buffer holds at most."""


@dataclass(frozen=True)
class Run:
    """Holds a run that is being trained."""

    args: TrainArgs
    """What the user asked for."""
    folder: Path
    """Where it is kept."""
    settings: dict[str, Any]
    """Keywords of the environment that the policy is meant for."""
    preset: Preset
    """Hyper-parameters, resolved."""
    agent: OffPolicyAlgorithm
    """The agent on its training environment."""


def prepare(args: TrainArgs, folder: Path = Path()) -> Run:
    """Build environment and agent for these arguments, or raise TypeError or ValueError. Costs no queries."""
    preset = check(args)
    device = resolve_device(args.device)
    torch.set_num_threads(preset.threads)
    settings = environment_settings(args, preset)
    agent = agent_for(
        args.algo,
        while_training(settings, preset),
        preset,
        rows=preset.num_envs,
        seed=args.seed,
        transitions=min(preset.total_queries // 2 + preset.num_envs, MOST_TRANSITIONS),
        device=device,
    )
    return Run(args, folder, settings, preset, agent)


def begin(args: TrainArgs) -> Run:
    """Prepare a new run, and make its folder with config.json; no folder is made where `prepare` raises."""
    run = prepare(args)
    run = dataclasses.replace(run, folder=new_folder(args))
    config = {"args": asdict(args), "preset": asdict(run.preset), "environment": run.settings, **provenance()}
    write_json(run.folder / "config.json", config)
    return run


def resume(args: TrainArgs) -> tuple[Run, list[Episode]]:
    """Prepare the run of the folder `args.resume` where its checkpoint left it, at no query; return its episodes, too.

    Args:
        args: The run's own arguments, but for --progress and --total-queries, which extends it.

    Raises:
        FileNotFoundError, ValueError: It is no run folder, its checkpoint is damaged, another argument differs, or more
            queries are spent than --total-queries.
    """
    folder = args.resume
    assert folder is not None
    stored = load_args(folder)
    check_resumed(args, stored)
    run = prepare(dataclasses.replace(args, resume=None), folder)
    episodes = load_checkpoint(run.agent, folder / "checkpoint.pt")
    spent, total = env_of(run.agent.env).oracle.total, run.preset.total_queries
    if spent > total:
        raise ValueError(f"--total-queries must be >= {spent}, which the run has spent, got {total}. Raise it.")
    if args.total_queries != stored.total_queries:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        write_json(folder / "config.json", {**config, "args": asdict(run.args), "preset": asdict(run.preset)})
    return run, episodes


def new_folder(args: TrainArgs) -> Path:
    """Make a run folder of its own: LOGDIR/<time>-<algo>-<problem>, numbered where that exists."""
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{args.algo}-{args.problem}"
    for number in range(1, 1000):
        folder = args.logdir / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(f"--logdir {args.logdir} holds too many runs named {stem}. Choose another folder.")


def policy_config(run: Run) -> PolicyConfig:
    """Return the description that is saved with the run's policy."""
    spec = env_of(run.agent.env).config
    sigma = run.preset.exploration
    return PolicyConfig(
        algo=run.args.algo,
        network=run.preset.network,
        dim=spec.problem.dim,
        observation_dim=spec.observation_dim,
        shape=spec.problem.shape,
        exploration=spec.problem.dim**0.5 if sigma is None else sigma,
        environment=run.settings,
    )


def learn_within(
    agent: OffPolicyAlgorithm,
    queries: int,
    *callbacks: BaseCallback,
    logger: Logger | None = None,
    progress: bool = False,
    interruption: Interruption | None = None,
) -> None:
    """Train until so many queries are spent, or a signal is noted.

    Without a logger Stable-Baselines3 logs nothing. An agent that was trained before goes on.
    """
    budget = QueryBudget(queries, progress, interruption)
    agent.set_logger(logger or Logger(None, []))
    try:
        agent.learn(NEVER, CallbackList([budget, *callbacks]), log_interval=NEVER, reset_num_timesteps=False)
    except TrainingDone:
        pass
    finally:
        budget.close()


def train_in_memory(run: Run) -> tuple[list[int], list[float]]:
    """Train until the query budget, and write nothing; a signal raises KeyboardInterrupt.

    Return queries spent and best f of the first row, at the start and after every step.
    """
    trace = Trajectory()
    with Interruption() as interruption:
        learn_within(run.agent, run.preset.total_queries, trace, interruption=interruption)
    if interruption.noted:
        raise KeyboardInterrupt
    return trace.queries, trace.best
