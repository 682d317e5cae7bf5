"""Describe a problem as an experiment: which starts or images to report on, to tune on, and to learn from.

Every task yields a `Problem` with one row per run: the attack on each of 50 images, or one classification problem from
each of 10 starts. So one runner serves both kinds, and all rows advance as one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from zo_gym.meta.stage import MetaTraining
from zo_gym.problem import Problem, repeated, with_starts
from zo_gym.problems import make_problem
from zo_gym.problems.attack.problem import Attack, AttackOptions, attack_on
from zo_gym.rng import make_generator, seed_sequence

Role = Literal["test", "tuning", "train", "validation"]

FIRST_SEED: dict[Role, int] = {"test": 0, "tuning": 100, "train": 1000, "validation": 2000}
"""Role -> seed of the first start of a classification task. Nothing is chosen on the seeds that are reported."""
SPLIT: dict[Role, str] = {"test": "test", "tuning": "train", "train": "train", "validation": "validation"}
"""Role -> split of an attack's images. Baselines are tuned on images that learned methods train on."""


@dataclass(frozen=True)
class Task:
    """Describes one problem of an experiment.

    Attributes:
        name: A key of `zo_gym.PROBLEMS`.
        kind: "classification": rows are starts, with one result file each; "attack": rows are images, with one file
            for all of them.
        sizes: How many rows each role has.
        budget: How many queries a row may spend.
        smoothing: mu.
        lstm: How ZO-LSTM is trained for it.
        repeats: How often an attack is repeated on its test images, each time along other directions; one file each.
        splits: Role -> split of the images, a key of `zo_gym.problems.attack.problem.SPLITS`.
        early: Whether the curves hold f after each of the first 100 queries, for methods that need few.
        first_seed: Seed of the first reported start of a classification task.
    """

    name: str
    kind: Literal["classification", "attack"]
    sizes: dict[Role, int]
    budget: int = 5000
    smoothing: float = 0.01
    lstm: MetaTraining = field(default_factory=MetaTraining)
    repeats: int = 1
    splits: dict[Role, str] = field(default_factory=lambda: SPLIT)
    early: bool = False
    first_seed: int = FIRST_SEED["test"]

    @property
    def rows(self) -> range:
        """Return the numbers of the reported rows: a start each, or an image in each of the repeats."""
        return range(self.sizes["test"] * self.repeats)

    def seed_of(self, row: int) -> int:
        """Return the seed that names the file with this row's result: the start's, or the repeat's number."""
        return row // self.sizes["test"] if self.kind == "attack" else self.first_seed + row

    def repeat_of(self, seeds: Sequence[int]) -> int:
        """Return the repeat that rows with these seeds of directions belong to."""
        return (seeds[0] - self.first_seed) // self.sizes["test"]

    def attack(self, role: Role, size: int | None = None) -> Attack:
        """Make the attack on the first `size` images of a role (None: all of them)."""
        options = AttackOptions(split=self.splits[role], size=size or self.sizes[role])
        return attack_on(self.name.removesuffix("_attack"), options)

    def problem(self, role: Role, size: int | None = None) -> Problem:
        """Make the problem of the first `size` rows of a role (None: all of them), each with its start fixed."""
        count = self.sizes[role] if size is None else size
        if self.kind == "attack":
            images = self.attack(role, count).problem
            return with_starts(images, torch.stack([images.start(start_generator(i), i) for i in range(count)]))
        first = self.first_seed if role == "test" else FIRST_SEED[role]
        return from_starts(make_problem(self.name), range(first, first + count))


def start_generator(seed: int) -> torch.Generator:
    """Make the generator that `zo_gym.minimize(seed=seed)` draws a problem's start from."""
    return make_generator(int(seed_sequence(seed).generate_state(3)[0]))


def from_starts(problem: Problem, seeds: Sequence[int]) -> Problem:
    """Repeat a problem of size 1 so that instance i begins where `minimize(problem, seed=seeds[i])` does."""
    return with_starts(
        repeated(problem, len(seeds)), torch.stack([problem.start(start_generator(seed)) for seed in seeds])
    )
