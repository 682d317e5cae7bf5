"""`python train.py`: train an agent on a problem, save its policy, and compare it at equal queries."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
import tyro
from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.logger import Figure, HParam, Logger, configure
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecMonitor

from zo_gym import ENV_ID
from zo_gym.files import provenance, write_atomically, write_json, write_text
from zo_gym.metrics import NAMES
from zo_gym.problems import find

from .algorithms.directional import Directional
from .arguments import TrainArgs, check, load_args, preset_of, problem_options, resolve_device
from .build import Preset, build_agent
from .compare import FIRST_TEST_SEED, compare, markdown, print_table, rows_of
from .console import fail_clearly
from .plots import figure
from .policies.bundle import PolicyConfig, load_policy, save_policy
from .sb3.callbacks import Checkpoints, MetricsCallback, QueryBudget, TrainingDone, Trajectory, env_of
from .sb3.checkpoint import Episode, load_checkpoint, save_checkpoint
from .sb3.reward_scale import RewardScale
from .sb3.vec_env import GymVecEnv

NEVER = 10**12
"""Steps or episodes: more than any run has. Queries end training, and MetricsCallback writes the log."""


@dataclass(frozen=True)
class Run:
    """A run as it is being trained."""

    args: TrainArgs
    folder: Path
    settings: dict[str, Any]
    preset: Preset
    agent: OffPolicyAlgorithm


def environment_settings(args: TrainArgs, preset: Preset) -> dict[str, Any]:
    """The keywords of `ZOSampling-v0` for these arguments."""
    find(args.problem)  # refuses an unknown name
    return {
        "problem": args.problem,
        "problem_options": problem_options(args),
        "observation": preset.observation,
        "reward": args.reward,
        "smoothing": args.smoothing,
        "learning_rate": preset.learning_rate,
        "update": preset.update,
        "budget": args.budget,
        "noise_std": args.noise_std,
        "reevaluate": args.noise_std > 0,
        "gate": preset.gate,
        "gate_threshold": args.gate_threshold,
        "num_directions": args.num_directions,
    }


def build_env(settings: dict[str, Any], num_envs: int, scale_rewards: bool, device: str) -> VecEnv:
    """The batched environment as SB3 wants it."""
    env: VecEnv = VecMonitor(GymVecEnv(gym.make_vec(ENV_ID, num_envs=num_envs, device=device, **settings)))
    return RewardScale(env) if scale_rewards else env


def while_training(settings: dict[str, Any], preset: Preset) -> dict[str, Any]:
    """The settings with what the preset trains with instead; problem options that were asked for stay."""
    own = dict(preset.training)
    problem = {**own.pop("problem_options", {}), **settings["problem_options"]}
    return {**settings, **own, "problem_options": problem}


def prepare(args: TrainArgs, folder: Path) -> Run:
    """Build environment and agent for these arguments; nothing has been queried yet.

    Raises:
        ValueError, TypeError: An argument is not as described.
    """
    check(args)
    device = resolve_device(args.device)
    preset = preset_of(args)
    torch.set_num_threads(preset.threads)
    settings = environment_settings(args, preset)
    env = build_env(while_training(settings, preset), preset.num_envs, preset.scale_rewards, device)
    most_steps = preset.total_queries // 2 + preset.num_envs
    agent = build_agent(
        args.algo,
        env,
        preset,
        shape=env_of(env).config.problem.shape,
        seed=args.seed,
        device=device,
        buffer_size=max(1000, min(most_steps, 1_000_000)),
    )
    return Run(args, folder, settings, preset, agent)


def policy_config(run: Run) -> PolicyConfig:
    """What the policy bundle says about itself."""
    mdp = env_of(run.agent.env).config
    sigma = run.preset.exploration
    return PolicyConfig(
        algo=run.args.algo,
        network=run.preset.network,
        dim=mdp.problem.dim,
        observation_dim=mdp.observation_dim,
        shape=mdp.problem.shape,
        exploration=mdp.problem.dim**0.5 if sigma is None else sigma,
        environment=run.settings,
    )


def learn(run: Run, episodes: Sequence[Episode] = ()) -> tuple[bool, MetricsCallback]:
    """Train until the query budget or Ctrl-C; log, checkpoint, save the policy.

    Args:
        run: What to train.
        episodes: Those that had ended before a resume.

    Returns:
        Whether it was interrupted, and the metrics.
    """
    args, agent = run.args, run.agent
    agent.set_logger(configure(str(run.folder), ["tensorboard"]))
    metrics = MetricsCallback(episodes)
    budget = QueryBudget(run.preset.total_queries, args.progress)
    checkpoints = Checkpoints(run.folder / "checkpoint.pt", args.checkpoint_every, metrics)
    interrupted = False
    try:
        # The budget of queries, not a number of steps, ends training.
        agent.learn(
            NEVER, callback=CallbackList([budget, checkpoints, metrics]), log_interval=NEVER, reset_num_timesteps=False
        )
    except TrainingDone as done:
        interrupted = done.interrupted
    except Exception:
        save_policy(agent, policy_config(run), run.folder / "policy")  # what was learned until then is not lost
        raise
    finally:
        budget.close()
    metrics.flush()
    save_checkpoint(agent, run.folder / "checkpoint.pt", metrics.episodes)
    if not interrupted:
        anneal(run)
    save_policy(agent, policy_config(run), run.folder / "policy")
    return interrupted, metrics


def anneal(run: Run) -> None:
    """The updates after the last query, where the preset has any."""
    if isinstance(run.agent, Directional):
        run.agent.finish(run.preset.final_updates)


def train_in_memory(run: Run) -> tuple[list[int], list[float]]:
    """Train until the query budget; nothing is written.

    Returns:
        Queries spent and best f of the first row, at the start and after every step.
    """
    trace = Trajectory()
    budget = QueryBudget(run.preset.total_queries, progress=False)
    try:
        run.agent.set_logger(Logger(None, []))
        run.agent.learn(NEVER, callback=CallbackList([budget, trace]), log_interval=NEVER)
    except TrainingDone as done:
        if done.interrupted:
            raise KeyboardInterrupt from done
    finally:
        budget.close()
    return trace.queries, trace.best


def finish(run: Run, metrics: MetricsCallback, seconds: float) -> None:
    """Compare, print the table, and write result.json, comparison.md and the figure."""
    args, folder = run.args, run.folder
    policy = load_policy(folder / "policy")
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
            f"{args.problem}: best f, mean ± std over {args.eval_seeds} fresh starts; the trained policy saw "
            f"{result['training_queries']} queries before.",
        )
        write_text(folder / "comparison.md", markdown(rows))
        drawing = figure(curves, f"{args.problem}, {args.algo}")
        write_atomically(folder / "comparison.png", lambda path: drawing.savefig(path, dpi=120, format="png"))
        log_comparison(run, rows, drawing)
    write_json(folder / "result.json", result)


def log_comparison(run: Run, rows: Sequence[Mapping[str, Any]], drawing: Any) -> None:
    """Final values, the figure and the hyper-parameters for TensorBoard."""
    logger, last = run.agent.logger, f"f at {run.args.budget}"
    values = {"final/policy_f": rows[0][last], "final/untrained_f": rows[1][last], "final/zo_sgd_f": rows[-1][last]}
    asked = {name: value for name, value in asdict(run.args).items() if value is not None}
    hyper = {**asked, **asdict(run.preset)}
    for name in ("progress", "checkpoint_every", "eval_seeds", "threads"):
        del hyper[name]
    plain = {name: value for name, value in hyper.items() if isinstance(value, (bool, int, float, str))}
    for name, value in values.items():
        assert name in NAMES, name
        logger.record(name, value)
    logger.record("final/comparison", Figure(drawing, close=False))
    logger.record("hparams", HParam(plain, values))
    logger.dump(run.agent.num_timesteps)


def new_folder(args: TrainArgs) -> Path:
    """A run folder of its own: runs/<time>-<algo>-<problem>, numbered where that exists."""
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{args.algo}-{args.problem}"
    for number in range(1, 1000):
        folder = args.logdir / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(f"--logdir {args.logdir} holds too many runs named {stem}. Choose another folder.")


def run_training(args: TrainArgs) -> Path:
    """What `python train.py` does; returns the run folder."""
    started = time.perf_counter()
    if args.resume is not None:
        folder = args.resume
        args = dataclasses.replace(load_args(folder), progress=args.progress)
        run = prepare(args, folder)
        episodes = load_checkpoint(run.agent, folder / "checkpoint.pt")
        print(f"Resuming {folder} at step {run.agent.num_timesteps}.")
    else:
        run, episodes = prepare(args, Path()), list[Episode]()
        folder = new_folder(args)
        run = dataclasses.replace(run, folder=folder)
        config = {"args": asdict(args), "preset": asdict(run.preset), "environment": run.settings, **provenance()}
        write_json(folder / "config.json", config)
    print(f"Run folder: {folder}   (watch it: tensorboard --logdir {args.logdir})")
    try:
        interrupted, metrics = learn(run, episodes)
        if not interrupted:
            finish(run, metrics, time.perf_counter() - started)
    except KeyboardInterrupt:  # in what follows the last query
        if not (folder / "checkpoint.pt").is_file():
            raise
        interrupted = True
    if interrupted:
        print(f"\nInterrupted; everything is saved. Go on with: python train.py --resume {folder}")
        return folder
    print(f"Saved policy and results in {folder}. Look closer: python evaluate.py {folder}")
    return folder


def main() -> None:
    """Entry point of train.py."""
    warnings.filterwarnings("default", module="zo_gym")
    with fail_clearly():
        run_training(tyro.cli(TrainArgs))


if __name__ == "__main__":
    main()
