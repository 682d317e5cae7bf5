"""`make bench`: measure what the package adds to the cost of f and of Stable-Baselines3, as ratios within one run.

Absolute times vary with the machine and the hour. So each figure is a ratio of two times that are taken in turn and
repeatedly, and the median counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.overhead import attack_query, profile, share_outside, training_share
from benchmarks.seconds_per_step import (
    importing,
    scalar_step,
    training,
    training_on_nothing,
    two_evaluations,
    vector_step,
)
from zo_gym.agents.console import fail_clearly
from zo_gym.agents.policies import pretrained
from zo_gym.checks import check_integer
from zo_gym.files import provenance, write_json, write_text
from zo_gym.problem import Problem
from zo_gym.problems import make_problem

OVERHEAD_BUDGET, ATTACK_QUERIES = 1000, 2000
"""Queries of a run that is timed, and of an attack on each image."""
IMPORTED, COMPARED = "zo_gym", "torch, gymnasium"
"""Modules whose import is timed, and those that it is compared with."""


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
    """The problem whose ZO-SGD run is profiled."""
    policy: str = "mnist-attack"
    """The policy that ships whose attack and whose training are measured."""
    out: Path = Path("results/bench")
    """Folder of the table (speed.json) and the profile (profile.txt)."""


@dataclass(frozen=True)
class Ratio:
    """Holds a measured ratio: median, least and greatest of the repeats, and the bar that it is held to."""

    name: str
    median: float
    least: float
    most: float
    bar: str


def ratios(above: Callable[[], float], below: Callable[[], float], repeats: int) -> np.ndarray:
    """Measure above() / below(), the two in turn; one pair before the first is thrown away."""
    above(), below()
    return np.array([above() / below() for _ in range(repeats)])


def measure_all(args: SpeedArgs) -> list[Ratio]:
    """Measure every ratio of the table, and write the profile."""
    few = max(3, args.repeats // 3)
    watched = make_problem(args.overhead_problem)  # first of all: its data may be missing
    found = [*_steps(args.rows, args.repeats), _outside(args.overhead_problem, watched, args.repeats)]
    found += _policy_ratios(args.policy, few)
    write_text(args.out / "profile.txt", profile(watched, OVERHEAD_BUDGET))
    pace = ratios(training_on_nothing(args.training_steps), training(args.training_steps), few)
    found.append(_ratio("training steps/s / same agent on a do-nothing env", pace, ">= 0.85"))
    both = ratios(importing(IMPORTED), importing(COMPARED), args.repeats)
    return [*found, _ratio(f"import {IMPORTED} / import {COMPARED}, each in a fresh interpreter", both, "<= 1.15")]


def _ratio(name: str, values: np.ndarray, bar: str) -> Ratio:
    return Ratio(name, float(np.median(values)), float(values.min()), float(values.max()), bar)


def _steps(rows: int, n: int) -> Iterator[Ratio]:
    """Measure steps of the environments, against f and against each other."""
    for update in ("sgd", "adaptive"):
        scalar = ratios(scalar_step("breast_cancer", 300, update), two_evaluations("breast_cancer", 1, 300), n)
        yield _ratio(f"scalar step / 2 evaluations of f, d = 30, {update}", scalar, "<= 4")
    batch = ratios(vector_step("breast_cancer", rows, 10), two_evaluations("breast_cancer", rows, 10), n)
    yield _ratio(f"batched step / 2 batched evaluations, {rows} rows", batch, "<= 1.5")
    for problem, bar, calls in (("breast_cancer", ">= 8", 10), ("quadratic", ">= 50", 100)):
        gain = rows * ratios(scalar_step(problem, 300), vector_step(problem, rows, calls), n)
        yield _ratio(f"env-steps/s, {rows} rows / scalar, {problem}", gain, bar)


def _outside(name: str, problem: Problem, n: int) -> Ratio:
    """Measure the share of a ZO-SGD run outside f; one run before the first is thrown away."""
    outside = share_outside(problem, OVERHEAD_BUDGET)
    outside()
    shares = np.array([outside() for _ in range(n)])
    return _ratio(f"ZO-SGD on {name}: share of time outside f", shares, "<= 0.30")


def _policy_ratios(policy: str, n: int) -> Iterator[Ratio]:
    """Measure the attack with a policy against its queries, and the share of training it that is not overhead."""
    attack, ask = attack_query(policy, 50, ATTACK_QUERIES)
    name = f"attack on 50 images, {policy}, {ATTACK_QUERIES:,} queries / its queries asked of f alone"
    yield _ratio(name, ratios(attack, ask, n), "<= 3")
    problem = pretrained.load(policy).config.environment["problem"]
    for count in (50, 1024):
        share = training_share(problem, count, 20)
        name = f"training a policy on {problem}, {count} rows: share of time in f and updates"
        yield _ratio(name, np.array([share() for _ in range(n)]), ">= 0.80")


def run_bench(args: SpeedArgs) -> None:
    """Measure, print the table, and store it with the profile.

    Raises:
        ValueError: --training-steps ends before the agent learns.
        NotADirectoryError, FileNotFoundError: As `zo_gym.datasets.locate`, for the data of --overhead-problem.
    """
    check_integer("--training-steps", args.training_steps, 200)
    torch.set_num_threads(args.threads)
    found = measure_all(args)
    write_json(args.out / "speed.json", {"ratios": [asdict(ratio) for ratio in found], **provenance()})
    table = Table(title="Ratios within this run (median, least and greatest of the repeats)", title_justify="left")
    for name in ("what", "median", "least", "greatest", "bar"):
        table.add_column(name, justify="left" if name == "what" else "right", no_wrap=name != "what")
    for ratio in found:
        table.add_row(ratio.name, f"{ratio.median:.2f}", f"{ratio.least:.2f}", f"{ratio.most:.2f}", ratio.bar)
    Console(width=100).print(table)
    print(f"Table and profile: {args.out}")


def main() -> None:
    """Run `make bench` from the command line."""
    with fail_clearly():
        run_bench(tyro.cli(SpeedArgs))


if __name__ == "__main__":
    main()
