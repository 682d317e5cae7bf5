"""The paper's problems as experiments: which starts or images to report on, to tune on, and to learn from.

Every task is a `Problem`: the attack on each of 50 images, or one classification problem from each of 10 starts. So one
runner serves both, and all rows advance as one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from zo_gym.meta.settings import MetaTraining
from zo_gym.problem import Problem, repeated, with_starts
from zo_gym.problems import make_problem
from zo_gym.problems.attack.objective import Attack, AttackOptions, attack_on
from zo_gym.rng import make_generator, seed_sequence

Role = Literal["test", "tuning", "train", "validation"]

FIRST_SEED: dict[Role, int] = {"test": 0, "tuning": 100, "train": 1000, "validation": 2000}
"""Starts of a classification task: nothing is chosen on the seeds that are reported."""
SPLIT: dict[Role, str] = {"test": "test", "tuning": "train", "train": "train", "validation": "validation"}
"""Images of an attack: baselines are tuned on images that learned methods train on."""


@dataclass(frozen=True)
class Task:
    """One problem of section 4.

    Attributes:
        name: A key of `zo_gym.PROBLEMS` or of `zo_gym.problems.FAMILIES`.
        kind: "classification": rows are starts, one result file each; "attack": rows are images, one file for all.
        sizes: How many rows each role has.
        budget: Queries a row may spend.
        smoothing: mu.
        lstm: How ZO-LSTM is trained for it.
        repeats: How often an attack is repeated on its test images, each time along other directions; one file each.
        splits: Which of `zo_gym.problems.attack.objective.SPLITS` each role's images are from.
        early: Do the curves tell f after each of the first queries? For methods that need few.
        first_seed: Of a classification task's starts that are reported.
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
        """What is reported, by number: a start each, or an image in each of the repeats."""
        return range(self.sizes["test"] * self.repeats)

    def seed_of(self, row: int) -> int:
        """The seed that the file with this row's result is named after: the start's, or the repeat's."""
        return row // self.sizes["test"] if self.kind == "attack" else self.first_seed + row

    def attack(self, role: Role, size: int | None = None) -> Attack:
        """The first `size` images of a role (None: all of them), with what a gallery shows of them."""
        options = AttackOptions(split=self.splits[role], size=size or self.sizes[role])
        return attack_on(self.name.removesuffix("_attack"), options)

    def family(self, role: Role, size: int | None = None) -> Problem:
        """The first `size` rows of a role (None: all of them), each with its start fixed."""
        count = self.sizes[role] if size is None else size
        if self.kind == "attack":
            images = self.attack(role, count).problem
            return with_starts(images, torch.stack([images.start(start_generator(i), i) for i in range(count)]))
        first = self.first_seed if role == "test" else FIRST_SEED[role]
        return from_starts(make_problem(self.name), range(first, first + count))


def start_generator(seed: int) -> torch.Generator:
    """What `zo_gym.minimize(seed=seed)` draws a problem's start from."""
    return make_generator(int(seed_sequence(seed).generate_state(3)[0]))


def from_starts(problem: Problem, seeds: Sequence[int]) -> Problem:
    """One problem from several starts: instance i begins where `minimize(problem, seed=seeds[i])` does."""
    return with_starts(
        repeated(problem, len(seeds)), torch.stack([problem.start(start_generator(seed)) for seed in seeds])
    )


def _classification(name: str, repeats: int, budget: int) -> Task:
    return Task(name, "classification", {"test": repeats, "tuning": 3, "train": 20, "validation": 10}, budget)


TASKS: dict[str, Task] = {
    "heart_scale": _classification("heart_scale", 10, 5000),
    "german.numer_scale": _classification("german.numer_scale", 10, 5000),
    "a9a": _classification("a9a", 10, 5000),
    "mnist_attack": Task(
        "mnist_attack",
        "attack",
        {"test": 50, "tuning": 8, "train": 50, "validation": 20},
        repeats=3,
    ),
}
"""`make paper`."""

_QUICK_LSTM = MetaTraining(steps=60, unrolls=4, update_epochs=3, query_epochs=1)

QUICK: dict[str, Task] = {
    "heart_scale": replace(_classification("heart_scale", 2, 2000), lstm=_QUICK_LSTM),
    "digits_attack": Task(
        "digits_attack",
        "attack",
        {"test": 20, "tuning": 4, "train": 20, "validation": 10},
        budget=2000,
        lstm=_QUICK_LSTM,
    ),
}
"""`make paper-quick`: bundled or small data, minutes."""
