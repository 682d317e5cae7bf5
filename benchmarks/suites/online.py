"""Define classification from untried starts, for methods that learn the gradient while they descend."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.suites.task import Role, Task

UNTRIED_SEED = 50_000
"""Seed of the first reported start; no method was chosen on this one or those that follow."""


def _task(name: str) -> Task:
    sizes: dict[Role, int] = {"test": 10, "tuning": 3, "train": 20, "validation": 10}
    return Task(name, "classification", sizes, first_seed=UNTRIED_SEED)


SUITE: dict[str, Task] = {name: _task(name) for name in ("heart_scale", "german.numer_scale", "breast_cancer", "a9a")}
"""The data sets of the paper's section 4.3, and the bundled one."""
QUICK: dict[str, Task] = {
    "heart_scale": replace(
        _task("heart_scale"), sizes={"test": 2, "tuning": 2, "train": 2, "validation": 2}, budget=2000
    )
}
"""One data set from two starts, in minutes."""
