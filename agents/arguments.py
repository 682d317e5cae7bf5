"""The arguments of train.py: what they are, what they may be, and how a run folder remembers them."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from agents.build import PRESETS, Preset, with_overrides
from zo_gym.checks import check_at_least, check_integer


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
    observation: Literal["x", "history", "context"] = "x"
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


def resolve_device(name: str) -> str:
    """The device by that name; "auto" is CUDA where there is one.

    Raises:
        ValueError: CUDA was asked for by name and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch sees no CUDA device. Use --device auto (or cpu).")
    return "cuda" if name != "cpu" and torch.cuda.is_available() else "cpu"


def preset_of(args: TrainArgs) -> Preset:
    """The preset with what the arguments override."""
    return with_overrides(
        PRESETS[args.preset],
        network=args.policy,
        gate=args.gate,
        update=args.update,
        learning_rate=args.learning_rate,
        gamma=args.gamma,
        agent_learning_rate=args.agent_learning_rate,
        exploration=args.exploration,
    )


def problem_options(args: TrainArgs) -> dict[str, Any]:
    """--problem-options as keywords."""
    try:
        options = json.loads(args.problem_options)
    except json.JSONDecodeError as error:
        raise ValueError(f"--problem-options must be a JSON object, got {args.problem_options!r}: {error}.") from error
    if not isinstance(options, dict):
        raise ValueError(f"--problem-options must be a JSON object, got {args.problem_options!r}.")
    return options


def check(args: TrainArgs) -> None:
    """Raise ValueError for a number out of its range, or training queries that hold no step of every row."""
    least_of = {"threads": 1, "checkpoint_every": 1, "num_envs": 1, "num_directions": 1, "seed": 0, "eval_seeds": 0}
    for name, least in least_of.items():
        check_integer(f"--{name.replace('_', '-')}", getattr(args, name), least)
    preset = preset_of(args)
    check_at_least("--exploration", preset.exploration or 0.0, 0.0)
    if not 0 <= preset.gamma <= 1:
        raise ValueError(f"--gamma must be in [0, 1], got {preset.gamma}.")
    if not 0 < preset.agent_learning_rate < float("inf"):
        raise ValueError(f"--agent-learning-rate must be a finite number > 0, got {preset.agent_learning_rate}.")
    step = 2 if preset.gate == "off" else args.num_directions + 2
    least = args.num_envs * (step + 2 + (args.noise_std > 0))
    if args.total_queries < least:
        raise ValueError(
            f"--total-queries must be at least {least} for the start and one step of {args.num_envs} rows, "
            f"got {args.total_queries}. Raise it, or lower --num-envs."
        )


def load_args(folder: Path) -> TrainArgs:
    """The arguments that a run folder was made with.

    Raises:
        FileNotFoundError, ValueError: It is not a run folder.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise FileNotFoundError(f"{folder} is not a run folder: config.json is missing.")
    try:
        stored = dict(json.loads(file.read_text(encoding="utf-8"))["args"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{file} is not the config.json of a run ({error!r}). Pass a folder that train.py made."
        ) from error
    names = {field.name for field in dataclasses.fields(TrainArgs)}
    if set(stored) != names:
        raise ValueError(f"{file} was written by another version: {sorted(set(stored) ^ names)} differ. Train anew.")
    return TrainArgs(**{**stored, "logdir": Path(stored["logdir"]), "resume": None})
