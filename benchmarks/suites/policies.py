"""Which images policies are trained and tried on, and where what is trained is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.suites.paper import SPLIT, Role, Task

_FRESH: dict[Role, str] = {**SPLIT, "test": "fresh"}


def _attack(name: str) -> Task:
    sizes: dict[Role, int] = {"test": 50, "tuning": 8, "train": 50, "validation": 20}
    return Task(name, "attack", sizes, repeats=3, splits=_FRESH, early=True)


TASKS: dict[str, Task] = {"mnist_attack": _attack("mnist_attack")}
"""What policies are trained for, one a repeat, and tried on."""
ABLATIONS: dict[str, Task] = {name: replace(task, budget=1000) for name, task in TASKS.items()}
"""The same for what tells where the gain comes from: most of it is made by then."""
TRANSFER: dict[str, Task] = {name: _attack(name) for name in ("mnist_mlp_attack", "mnist_wide_attack")}
"""Other victims for the same policies."""
QUICK: dict[str, Task] = {
    "digits_attack": replace(
        _attack("digits_attack"),
        sizes={"test": 20, "tuning": 4, "train": 50, "validation": 10},
        budget=1000,
        repeats=2,
    )
}
"""Small data, minutes."""

VALIDATION: dict[str, Task] = {
    name: replace(task, splits=SPLIT | {"test": "validation"}, repeats=1)
    for name, task in {**TASKS, "digits_attack": _attack("digits_attack")}.items()
}
"""The images that choices are made on, so that the fresh ones stay unseen until the choices are made."""

PRETRAINED: dict[str, Task] = {
    "mnist-attack": replace(TASKS["mnist_attack"], repeats=1),
    "digits-attack": replace(_attack("digits_attack"), repeats=1),
}
"""Where the policies that ship are tried, by their names; `BY_TASK` finds them by the names of the problems."""
BY_TASK: dict[str, Task] = {task.name: task for task in PRETRAINED.values()}

SOURCE = dict.fromkeys(TRANSFER, "mnist_attack")
"""Task -> the one whose policies it tries, where that is another."""

APART = "ablations"
"""Within the results, the folder of those with another budget."""


def repeat_of(task: Task, seeds: Sequence[int]) -> int:
    """Which repeat of the task rows with these seeds are: the seed of its policy."""
    return (seeds[0] - task.first_seed) // task.sizes["test"]


def policy_folder(task: Task, folder: Path, training: str, repeat: int) -> Path:
    """Where a policy that was trained so is kept among the results of its own task."""
    results = folder.parent.parent if task in ABLATIONS.values() else folder.parent
    return results / SOURCE.get(task.name, task.name) / "policies" / f"{training}-{repeat}"
