"""Define the problems of the paper's section 4: classification on three data sets, and the attack on MNIST."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.suites.task import Task
from zo_gym.meta.stage import MetaTraining


def _classification(name: str, starts: int, budget: int) -> Task:
    return Task(name, "classification", {"test": starts, "tuning": 3, "train": 20, "validation": 10}, budget)


SUITE: dict[str, Task] = {
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
"""The tasks of `make paper`."""

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
"""The tasks of `make paper-quick`, which take minutes; heart_scale is small and the digits are bundled."""
