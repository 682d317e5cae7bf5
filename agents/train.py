"""`python train.py`: train an agent on a problem, save its policy, and compare it at equal queries."""

from __future__ import annotations

import dataclasses
import json
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import torch
import tyro
from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.logger import Figure, HParam, configure
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecMonitor

from agents.build import PRESETS, Preset, build_agent, with_overrides
from agents.bundle import PolicyConfig, load_policy, save_policy
from agents.callbacks import Checkpoints, MetricsCallback, QueryBudget, TrainingDone, Trajectory, env_of
from agents.checkpoint import load_checkpoint, save_checkpoint
from agents.compare import FIRST_TEST_SEED, compare, markdown, print_table, rows_of
from agents.console import fail_clearly
from agents.files import provenance, write_atomically, write_json, write_text
from agents.plots import figure
from agents.rewards import RewardScale
from agents.vec_env import GymVecEnv
from zo_gym import ENV_ID
from zo_gym.metrics import NAMES
from zo_gym.problems import PROBLEMS
from zo_gym.registry import lookup

NEVER = 10**12
"""Steps or episodes: more than any run has. Queries end training, and MetricsCallback writes the log."""


@dataclass(frozen=True)
class TrainArgs:
    """Train an agent to choose perturbation directions, and compare it with its controls at equal queries."""

    algo: Literal["ddpg", "td3", "sac"] = "ddpg"
    """The agent."""
    problem: str = "breast_cancer"
    """What to minimise: a key of zo_gym.PROBLEMS."""
    problem_options: str = "{}"
    """Keywords of the problem as JSON, e.g. '{"labels": "01"}'."""
    preset: Literal["default", "paper"] = "default"
    """Hyper-parameters: "default" works, "paper" is as printed (CNN + BatchNorm, gamma .99, N(0, I) noise, gate)."""
    policy: Literal["mlp", "cnn"] | None = None
    """Network; None: the preset's."""
    gate: Literal["off", "paper", "calibrated", "hysteresis"] | None = None
    """When to follow the policy (Algorithm 2); None: the preset's."""
    gate_threshold: float = 0.5
    """The gate's epsilon."""
    num_directions: int = 20
    """q of the random phase behind a shut gate."""
    observation: Literal["x", "history"] = "x"
    """What the agent sees."""
    reward: Literal["decrease", "paper", "relative", "log"] = "decrease"
    """What it is paid."""
    update: str | None = None
    """The environment's update rule (sgd, adaptive, ...); None: the preset's."""
    learning_rate: float | None = None
    """The environment's eta; None: the preset's."""
    smoothing: float = 0.01
    """mu of the finite differences."""
    noise_std: float = 0.0
    """Standard deviation of noise on f."""
    budget: int = 5000
    """Queries of one episode, and of every run in the comparison."""
    total_queries: int = 20_000
    """Queries of all of training."""
    num_envs: int = 1
    """Episodes advanced as one batch; one update a batched step."""
    gamma: float | None = None
    """The agent's discount; None: the preset's."""
    agent_learning_rate: float | None = None
    """Of actor and critic; None: the preset's."""
    exploration: float | None = None
    """Norm of the Gaussian action noise relative to the unit action; None: the preset's."""
    eval_seeds: int = 5
    """Fresh starts in the comparison; 0 to leave it out."""
    seed: int = 0
    """Of everything random in training."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where networks, replay samples and the problem live; auto: CUDA where there is one."""
    threads: int = 1
    """CPU threads of torch; more do not help networks this small."""
    logdir: Path = Path("runs")
    """Where run folders are made; point TensorBoard here."""
    checkpoint_every: int = 2500
    """Steps between checkpoints."""
    progress: bool = True
    """Show a progress bar."""
    resume: Path | None = None
    """Go on with this run folder; every other argument but --progress then comes from there."""


@dataclass(frozen=True)
class Run:
    """A run as it is being trained."""

    args: TrainArgs
    folder: Path
    settings: dict[str, Any]
    preset: Preset
    agent: OffPolicyAlgorithm


def resolve_device(name: str) -> str:
    """The device by that name; "auto" is CUDA where there is one.

    Raises:
        ValueError: CUDA was asked for by name and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch sees no CUDA device. Use --device auto (or cpu).")
    return "cuda" if name != "cpu" and torch.cuda.is_available() else "cpu"


def environment_settings(args: TrainArgs, preset: Preset) -> dict[str, Any]:
    """The keywords of `ZOSampling-v0` for these arguments."""
    lookup(PROBLEMS, args.problem, "problem")
    try:
        options = json.loads(args.problem_options)
    except json.JSONDecodeError as error:
        raise ValueError(f"--problem-options must be a JSON object, got {args.problem_options!r}: {error}.") from error
    return {
        "problem": args.problem,
        "problem_options": options,
        "observation": args.observation,
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


def require_room(args: TrainArgs, preset: Preset) -> None:
    """Raise ValueError unless the training queries hold a start and a step of every row."""
    step = 2 if preset.gate == "off" else args.num_directions + 2
    least = args.num_envs * (step + 2 + (args.noise_std > 0))
    if args.total_queries < least:
        raise ValueError(
            f"--total-queries must be at least {least} for the start and one step of {args.num_envs} rows, "
            f"got {args.total_queries}. Raise it, or lower --num-envs."
        )


def prepare(args: TrainArgs, folder: Path) -> Run:
    """Build environment and agent for these arguments; nothing has been queried yet."""
    device = resolve_device(args.device)
    torch.set_num_threads(args.threads)
    preset = with_overrides(
        PRESETS[args.preset],
        network=args.policy,
        gate=args.gate,
        update=args.update,
        learning_rate=args.learning_rate,
        gamma=args.gamma,
        agent_learning_rate=args.agent_learning_rate,
        exploration=args.exploration,
    )
    settings = environment_settings(args, preset)
    require_room(args, preset)
    env = build_env(settings, args.num_envs, preset.scale_rewards, device)
    most_steps = args.total_queries // 2 + args.num_envs
    agent = build_agent(
        args.algo,
        env,
        preset,
        shape=env_of(env).mdp.problem.shape,
        seed=args.seed,
        device=device,
        buffer_size=max(1000, min(most_steps, 1_000_000)),
    )
    return Run(args, folder, settings, preset, agent)


def policy_config(run: Run) -> PolicyConfig:
    """What the policy bundle says about itself."""
    mdp = env_of(run.agent.env).mdp
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


def learn(run: Run) -> tuple[bool, MetricsCallback]:
    """Train until the query budget or Ctrl-C; log, checkpoint, save the policy.

    Returns:
        Whether it was interrupted, and the metrics.
    """
    args, agent = run.args, run.agent
    agent.set_logger(configure(str(run.folder), ["tensorboard"]))
    metrics = MetricsCallback()
    budget = QueryBudget(args.total_queries, args.progress)
    checkpoints = Checkpoints(run.folder / "checkpoint.pt", args.checkpoint_every)
    interrupted = False
    try:
        # The budget of queries, not a number of steps, ends training.
        agent.learn(
            NEVER, callback=CallbackList([budget, checkpoints, metrics]), log_interval=NEVER, reset_num_timesteps=False
        )
    except TrainingDone as done:
        interrupted = done.interrupted
    finally:
        budget.close()
    save_checkpoint(agent, run.folder / "checkpoint.pt")
    save_policy(agent, policy_config(run), run.folder / "policy")
    return interrupted, metrics


def train_in_memory(run: Run) -> tuple[list[int], list[float]]:
    """Train until the query budget; nothing is written.

    Returns:
        Queries spent and best f of the first row after every step.
    """
    trace = Trajectory()
    budget = QueryBudget(run.args.total_queries, progress=False)
    try:
        run.agent.set_logger(configure(None, []))
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


def load_args(folder: Path) -> TrainArgs:
    """The arguments that a run folder was made with.

    Raises:
        FileNotFoundError, ValueError: It is not a run folder.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise FileNotFoundError(f"{folder} is not a run folder: config.json is missing.")
    stored = json.loads(file.read_text(encoding="utf-8"))["args"]
    names = {field.name for field in dataclasses.fields(TrainArgs)}
    if set(stored) != names:
        raise ValueError(f"{file} was written by another version: {sorted(set(stored) ^ names)} differ. Train anew.")
    return TrainArgs(**{**stored, "logdir": Path(stored["logdir"]), "resume": None})


def run_training(args: TrainArgs) -> Path:
    """What `python train.py` does; returns the run folder."""
    started = time.perf_counter()
    if args.resume is not None:
        folder = args.resume
        args = dataclasses.replace(load_args(folder), progress=args.progress)
        run = prepare(args, folder)
        load_checkpoint(run.agent, folder / "checkpoint.pt")
        print(f"Resuming {folder} at step {run.agent.num_timesteps}.")
    else:
        run = prepare(args, Path())
        folder = new_folder(args)
        run = dataclasses.replace(run, folder=folder)
        config = {"args": asdict(args), "preset": asdict(run.preset), "environment": run.settings, **provenance()}
        write_json(folder / "config.json", config)
    print(f"Run folder: {folder}   (watch it: tensorboard --logdir {args.logdir})")
    interrupted, metrics = learn(run)
    if interrupted:
        print(f"\nInterrupted; everything is saved. Go on with: python train.py --resume {folder}")
        return folder
    finish(run, metrics, time.perf_counter() - started)
    print(f"Saved policy and results in {folder}. Look closer: python evaluate.py {folder}")
    return folder


def main() -> None:
    """Entry point of train.py."""
    warnings.filterwarnings("default", module="zo_gym")
    with fail_clearly():
        run_training(tyro.cli(TrainArgs))


if __name__ == "__main__":
    main()
