"""`make bench`: how much the project adds to the cost of f and of SB3, as ratios measured within one run.

Absolute times vary with the machine and the hour; each figure here is a ratio of two times taken in turn, repeated,
and the median is what counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from gymnasium.vector import AutoresetMode
from rich.console import Console
from rich.table import Table
from stable_baselines3.common.logger import Logger
from zo_gym.agents import pretrained
from zo_gym.agents.arguments import TrainArgs
from zo_gym.agents.build import PRESETS, build_agent
from zo_gym.agents.console import fail_clearly
from zo_gym.agents.sb3.vec_env import GymVecEnv
from zo_gym.agents.train import prepare, train_in_memory

from benchmarks.overhead import attack_query, profile, share_outside, training_share
from zo_gym.checks import check_integer
from zo_gym.envs.env import ZOSamplingEnv
from zo_gym.envs.vector_env import ZOSamplingVectorEnv
from zo_gym.files import provenance, write_json, write_text
from zo_gym.problems import make_problem
from zo_gym.rng import make_generator

ENDLESS = 10**12
OVERHEAD_BUDGET, ATTACK_QUERIES = 1000, 2000


@dataclass(frozen=True)
class SpeedArgs:
    """Measure the overhead of environment and training."""

    repeats: int = 9
    """Pairs of measurements behind every median."""
    rows: int = 1024
    """Rows of the batched environment."""
    training_steps: int = 400
    """Environment steps in each training measurement; the first 100 make no updates."""
    threads: int = 1
    """CPU threads of torch."""
    overhead_problem: str = "a9a"
    """Whose ZO-SGD run is profiled."""
    policy: str = "mnist-attack"
    """The policy that ships whose attack is measured, and whose training."""
    out: Path = Path("results/bench")
    """Where the table (speed.json) and the profile (profile.txt) go."""


@dataclass(frozen=True)
class Figure:
    """One measured ratio: median, least and greatest, and the bar it is held to."""

    name: str
    median: float
    least: float
    most: float
    bar: str


class DoNothing(gym.vector.VectorEnv[Any, Any, Any]):
    """The spaces of another vector environment and no work: what training costs without an environment."""

    def __init__(self, like: ZOSamplingVectorEnv) -> None:
        self.num_envs = like.num_envs
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space = like.single_observation_space
        self.single_action_space = like.single_action_space
        self.observation_space, self.action_space = like.observation_space, like.action_space
        shape = like.observation_space.shape
        assert shape is not None
        self._observations = np.zeros(shape, dtype=np.float32)
        self._flags = np.zeros(self.num_envs, dtype=bool)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Zeros."""
        return self._observations.copy(), {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Zeros."""
        return self._observations.copy(), np.zeros(self.num_envs), self._flags.copy(), self._flags.copy(), {}


def seconds(action: Callable[[], Any], calls: int) -> float:
    """Wall time of one call, mean over so many."""
    started = time.perf_counter()
    for _ in range(calls):
        action()
    return (time.perf_counter() - started) / calls


def ratios(above: Callable[[], float], below: Callable[[], float], repeats: int) -> np.ndarray:
    """above() / below(), the two measured in turn; one pair before the first is thrown away."""
    above(), below()
    return np.array([above() / below() for _ in range(repeats)])


def scalar_step(problem: str, calls: int, update: str = "sgd") -> Callable[[], float]:
    """Measures one step of the scalar environment."""
    env = ZOSamplingEnv(problem, budget=ENDLESS, update=update, learning_rate=0.1)
    env.reset(seed=0)
    action = np.random.default_rng(0).standard_normal(env.config.problem.dim).astype(np.float32)
    return lambda: seconds(lambda: env.step(action), calls)


def vector_step(problem: str, rows: int, calls: int) -> Callable[[], float]:
    """Measures one step of the batched environment."""
    env = ZOSamplingVectorEnv(problem, num_envs=rows, budget=ENDLESS, learning_rate=0.1)
    env.reset(seed=0)
    actions = np.random.default_rng(0).standard_normal((rows, env.config.problem.dim)).astype(np.float32)
    return lambda: seconds(lambda: env.step(actions), calls)


def two_evaluations(problem: str, rows: int, calls: int) -> Callable[[], float]:
    """Measures two evaluations of f at `rows` points."""
    found = make_problem(problem)
    points = torch.stack([found.initial(make_generator(row)) for row in range(rows)])
    return lambda: 2 * seconds(lambda: found.fun(points), 2 * calls)


def training(steps: int) -> Callable[[], float]:
    """Measures a step of train.py's default run: environment, agent, metrics."""
    args = TrainArgs(total_queries=2 * steps, progress=False)

    def measure() -> float:
        run = prepare(args, Path())
        started = time.perf_counter()
        train_in_memory(run)
        return (time.perf_counter() - started) / run.agent.num_timesteps

    return measure


def training_on_nothing(steps: int) -> Callable[[], float]:
    """Measures a step of the same agent on `DoNothing`."""

    def measure() -> float:
        env = GymVecEnv(DoNothing(ZOSamplingVectorEnv(num_envs=1)))
        agent = build_agent(
            "ddpg", env, PRESETS["default"], shape=None, seed=0, device="cpu", buffer_size=max(1000, steps)
        )
        agent.set_logger(Logger(None, []))
        started = time.perf_counter()
        agent.learn(steps, log_interval=ENDLESS)
        return (time.perf_counter() - started) / agent.num_timesteps

    return measure


def measure_all(args: SpeedArgs) -> list[Figure]:
    """Every figure of the table."""
    n, rows = args.repeats, args.rows
    results = []
    watched = make_problem(args.overhead_problem)  # first of all: its data may be missing

    def add(name: str, values: np.ndarray, bar: str) -> None:
        results.append(Figure(name, float(np.median(values)), float(values.min()), float(values.max()), bar))

    for update in ("sgd", "adaptive"):
        scalar = ratios(scalar_step("breast_cancer", 300, update), two_evaluations("breast_cancer", 1, 300), n)
        add(f"scalar step / 2 evaluations of f, d = 30, {update}", scalar, "<= 4")
    batch = ratios(vector_step("breast_cancer", rows, 10), two_evaluations("breast_cancer", rows, 10), n)
    add(f"batched step / 2 batched evaluations, {rows} rows", batch, "<= 1.5")
    for problem, bar, calls in (("breast_cancer", ">= 8", 10), ("quadratic", ">= 50", 100)):
        gain = rows * ratios(scalar_step(problem, 300), vector_step(problem, rows, calls), n)
        add(f"env-steps/s, {rows} rows / scalar, {problem}", gain, bar)
    outside = share_outside(watched, OVERHEAD_BUDGET)
    outside()
    add(
        f"ZO-SGD on {args.overhead_problem}: share of time outside f",
        np.array([outside() for _ in range(n)]),
        "<= 0.30",
    )
    few = max(3, n // 3)
    attack, ask = attack_query(args.policy, 50, ATTACK_QUERIES)
    name = f"attack on 50 images, {args.policy}, {ATTACK_QUERIES:,} queries / its queries asked of f alone"
    add(name, ratios(attack, ask, few), "<= 3")
    problem = pretrained.load(args.policy).config.environment["problem"]
    for count in (50, 1024):
        share = training_share(problem, count, 20)
        add(
            f"training a policy on {problem}, {count} rows: share of time in f and updates",
            np.array([share() for _ in range(few)]),
            ">= 0.80",
        )
    write_text(args.out / "profile.txt", profile(watched, OVERHEAD_BUDGET))
    pace = ratios(training_on_nothing(args.training_steps), training(args.training_steps), few)
    add("training steps/s / same agent on a do-nothing env", pace, ">= 0.85")
    return results


def run_bench(args: SpeedArgs) -> None:
    """Measure, print the table, and keep it with the profile.

    Raises:
        ValueError: --training-steps ends before the agent learns.
        NotADirectoryError, FileNotFoundError: As `zo_gym.datasets.locate`, for the data of --overhead-problem.
    """
    check_integer("--training-steps", args.training_steps, 200)
    torch.set_num_threads(args.threads)
    figures = measure_all(args)
    write_json(args.out / "speed.json", {"figures": [asdict(f) for f in figures], **provenance()})
    table = Table(title="Ratios within this run (median, least and greatest of the repeats)", title_justify="left")
    for name in ("what", "median", "least", "greatest", "bar"):
        table.add_column(name, justify="left" if name == "what" else "right", no_wrap=name != "what")
    for f in figures:
        table.add_row(f.name, f"{f.median:.2f}", f"{f.least:.2f}", f"{f.most:.2f}", f.bar)
    Console(width=100).print(table)
    print(f"Table and profile: {args.out}")


def main() -> None:
    """Entry point of `make bench`."""
    with fail_clearly():
        run_bench(tyro.cli(SpeedArgs))


if __name__ == "__main__":
    main()
