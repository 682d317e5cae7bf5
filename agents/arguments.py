"""The arguments of train.py: what they are, what they may be, and how a run folder remembers them."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from zo_gym.checks import check_at_least, check_integer, check_positive
from zo_gym.problems import has_splits

from .presets import DIRECTIONAL, DIRECTIONAL_PRESETS, PRESETS, Preset


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
    policy: Literal["mlp", "cnn", "directional"] | None = None
    """Network; None: the preset's. "directional" is an actor-critic that is fitted to signed slopes, with a preset of
    its own: online on one objective, or offline on the images of an attack."""
    gate: Literal["open", "paper", "calibrated", "hysteresis"] | None = None
    """When to follow the policy (Algorithm 2); None: the preset's."""
    gate_threshold: float = 0.5
    """The gate's epsilon."""
    num_directions: int = 20
    """q of the random phase behind a shut gate."""
    observation: Literal["x", "history", "context"] | None = None
    """What the agent sees; None: the preset's."""
    reward: Literal["decrease", "paper", "relative", "log"] = "decrease"
    """What the agent maximises."""
    update: str | None = None
    """The environment's update rule (sgd, adaptive, ...); None: the preset's."""
    learning_rate: float | None = None
    """The environment's eta; None: the preset's."""
    smoothing: float = 0.01
    """mu of the finite differences, in units of x."""
    noise_std: float = 0.0
    """Standard deviation of noise on f, in units of f."""
    budget: int = 5000
    """Queries of one episode, and of every run in the comparison; a preset may train on shorter episodes."""
    total_queries: int | None = None
    """Queries of all of training; None: the preset's, 20,000 (80,000 for attacks with --policy directional)."""
    num_envs: int | None = None
    """Episodes advanced as one batch; None: the preset's, 1 (50 for attacks with --policy directional)."""
    gamma: float | None = None
    """The agent's discount; None: the preset's."""
    agent_learning_rate: float | None = None
    """Learning rate of actor and critic; None: the preset's."""
    exploration: float | None = None
    """Norm of the Gaussian action noise relative to the unit action; None: the preset's."""
    slope_weight: float | None = None
    """Weight of the errors of signed slopes, with --policy directional; None: the preset's."""
    reward_weight: float | None = None
    """Weight of the TD errors beside them; None: the preset's."""
    eval_seeds: int = 5
    """Fresh starts in the comparison; 0 leaves it out."""
    seed: int = 0
    """Seed of everything random in training."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where networks, replay samples and the problem live; auto: CUDA where torch sees a device."""
    threads: int | None = None
    """CPU threads of torch; None: the preset's, 1 (2 for attacks with --policy directional)."""
    logdir: Path = Path("runs")
    """Where run folders are made; point TensorBoard here."""
    checkpoint_every: int = 500
    """Steps between checkpoints; one is also written where the last is a minute old."""
    progress: bool = True
    """Show a progress bar."""
    resume: Path | None = None
    """Go on with this run folder. A larger --total-queries, the new total, trains it longer. Every other argument but
    --progress comes from the folder; one that asks for something else is refused."""


FLAGS = {name: f"--{name.replace('_', '-')}" for name in TrainArgs.__dataclass_fields__}
"""Argument -> its spelling on the command line."""
MAY_CHANGE = ("total_queries", "progress", "resume")
"""Arguments that may differ from those of the run that is resumed."""


def resolve_device(name: str) -> str:
    """Return the device by that name; "auto" is CUDA where torch sees a device, and "cuda" raises where it does not."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch sees no CUDA device. Use --device auto (or cpu).")
    return "cuda" if name != "cpu" and torch.cuda.is_available() else "cpu"


def preset_of(args: TrainArgs) -> Preset:
    """Return the preset that the arguments name, with what they override: every field that both have."""
    base = PRESETS[args.preset]
    if args.policy == DIRECTIONAL:
        base = DIRECTIONAL_PRESETS["offline" if has_splits(args.problem) else "online"]
    asked, known = {**vars(args), "network": args.policy}, Preset.__dataclass_fields__
    given = {name: value for name, value in asked.items() if name in known and value is not None}
    return dataclasses.replace(base, **given)


def problem_options(args: TrainArgs) -> dict[str, Any]:
    """Parse --problem-options, which must be a JSON object, into keywords."""
    try:
        options = json.loads(args.problem_options)
    except json.JSONDecodeError as error:
        raise ValueError(f"--problem-options must be a JSON object, got {args.problem_options!r}: {error}.") from error
    if not isinstance(options, dict):
        raise ValueError(
            f'--problem-options must be a JSON object, got {args.problem_options!r}. Write e.g. \'{{"labels": "01"}}\'.'
        )
    return options


def environment_settings(args: TrainArgs, preset: Preset) -> dict[str, Any]:
    """Return the keywords of `ZOSampling-v0` for these arguments."""
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


def check(args: TrainArgs) -> Preset:
    """Return the preset; raise ValueError for a number out of range, or too few queries for one step of every row."""
    preset = preset_of(args)
    _check_directional(args, preset)
    for name, least in {"checkpoint_every": 1, "num_directions": 1, "seed": 0, "eval_seeds": 0}.items():
        check_integer(FLAGS[name], getattr(args, name), least)
    for name in ("num_envs", "threads"):
        check_integer(FLAGS[name], getattr(preset, name), 1)
    check_at_least("--exploration", preset.exploration or 0.0, 0.0)
    check_positive("--agent-learning-rate", preset.agent_learning_rate)
    if not 0 <= preset.gamma <= 1:
        raise ValueError(f"--gamma must be in [0, 1], got {preset.gamma}.")
    step = 2 if preset.gate == "open" else args.num_directions + 2
    least = preset.num_envs * (step + 2 + (args.noise_std > 0))
    if preset.total_queries < least:
        raise ValueError(
            f"--total-queries must be at least {least} for the start and one step of {preset.num_envs} rows, "
            f"got {preset.total_queries}. Raise it, or lower --num-envs."
        )
    return preset


def _check_directional(args: TrainArgs, preset: Preset) -> None:
    """Raise ValueError for what does not go with --policy directional, or only with it."""
    if preset.network != DIRECTIONAL:
        for name in ("slope_weight", "reward_weight"):
            if (given := getattr(args, name)) is not None:
                raise ValueError(f"{FLAGS[name]} is for --policy directional, got {given}. Drop it.")
        return
    if args.preset != "default":
        raise ValueError(f"--policy directional brings a preset of its own, got --preset {args.preset}. Drop --preset.")
    for name in ("slope_weight", "reward_weight"):
        check_at_least(FLAGS[name], getattr(preset, name), 0.0)
    if preset.slope_weight == preset.reward_weight == 0:
        raise ValueError(
            "--slope-weight or --reward-weight must be > 0, got 0 for both. Raise one: nothing is learned."
        )


def load_args(folder: Path) -> TrainArgs:
    """Return the arguments of a run folder; what is no run folder raises FileNotFoundError or ValueError."""
    file = folder / "config.json"
    if not file.is_file():
        raise FileNotFoundError(f"{folder} is not a run folder: config.json is missing. Pass one that train.py made.")
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


def check_resumed(args: TrainArgs, stored: TrainArgs) -> None:
    """Raise ValueError for arguments that differ from those of the resumed run and may not."""
    preset = preset_of(stored)
    for name, asked in vars(args).items():
        own = getattr(stored, name)
        if own is None and asked is not None:
            own = getattr(preset, "network" if name == "policy" else name, None)  # what None stands for
        if name not in MAY_CHANGE and asked != own:
            raise ValueError(
                f"{FLAGS[name]} must be the resumed run's own, {own}, got {asked}. Drop it, or train a new run; "
                "with --resume only --total-queries and --progress can change."
            )
