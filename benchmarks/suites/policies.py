"""Define the attacks that policies are trained for and tried on, and where the trained policies are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.suites.task import SPLIT, Role, Task

FRESH: dict[Role, str] = {**SPLIT, "test": "fresh"}
"""Role -> split of the images; the reported ones serve nothing else."""


def _attack(name: str) -> Task:
    sizes: dict[Role, int] = {"test": 50, "tuning": 8, "train": 50, "validation": 20}
    return Task(name, "attack", sizes, repeats=3, splits=FRESH, early=True)


SUITE: dict[str, Task] = {"mnist_attack": _attack("mnist_attack")}
"""The task that policies are trained for, one policy a repeat, and tried on."""
ABLATIONS: dict[str, Task] = {name: replace(task, budget=1000) for name, task in SUITE.items()}
"""The same with a fifth of the budget, by which most of the gain is made, to find what causes it."""
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
"""An attack on bundled 8 x 8 digits, in minutes."""

VALIDATION: dict[str, Task] = {
    name: replace(task, splits=SPLIT | {"test": "validation"}, repeats=1)
    for name, task in {**SUITE, "digits_attack": _attack("digits_attack")}.items()
}
"""The images that choices are made on, so that the fresh ones stay unseen until the choices are made."""

PRETRAINED: dict[str, Task] = {
    "mnist-attack": replace(SUITE["mnist_attack"], repeats=1),
    "digits-attack": replace(_attack("digits_attack"), repeats=1),
}
"""Name of a policy that ships -> the task that it is tried on."""
PRETRAINED_BY_PROBLEM: dict[str, Task] = {task.name: task for task in PRETRAINED.values()}
"""The same tasks by the names of their problems, as the runner finds them."""

SOURCE = dict.fromkeys(TRANSFER, "mnist_attack")
"""Task that tries the policies of another -> the name of that other task."""

ABLATIONS_FOLDER = "ablations"
"""Folder of the ablations within the results; their budget differs, so that they cannot share a table."""


def policy_folder(task: Task, folder: Path, training: str, repeat: int) -> Path:
    """Return the folder of a repeat's policy, among the results of the task that it is trained for.

    Args:
        task: The task that the policy is tried on.
        folder: Folder of that task's results.
        training: A key of `benchmarks.solvers.policy_training.TRAININGS`.
        repeat: Number of the repeat, which is the seed of its policy.
    """
    results = folder.parent.parent if task in ABLATIONS.values() else folder.parent
    return results / SOURCE.get(task.name, task.name) / "policies" / f"{training}-{repeat}"
