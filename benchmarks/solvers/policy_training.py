"""Train the policies of the benchmark, one a repeat, each way of training in folders of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.suites.policies import SOURCE, policy_folder
from benchmarks.suites.task import Task
from zo_gym.agents.offline import OFFLINE, train_policy
from zo_gym.agents.presets import Preset
from zo_gym.files import write_json

TRAININGS: dict[str, tuple[Preset, dict[str, Any]]] = {
    "slopes": (OFFLINE, {}),
    "rewards": (replace(OFFLINE, slope_weight=0.0, reward_weight=1.0), {}),
    "both": (replace(OFFLINE, reward_weight=1.0), {}),
    "in-the-loop": (replace(OFFLINE, random_probes=False, exploration=1.0), {}),
    "regression": (OFFLINE, {"plain": True}),
    "plain-images": (
        replace(OFFLINE, shift=0.0, training={**OFFLINE.training, "problem_options": {"augmented_share": 0.0}}),
        {},
    ),
    "quarter": (replace(OFFLINE, total_queries=OFFLINE.total_queries // 4, updates_per_step=8), {}),
}
"""Name -> how a policy is trained: its preset, and options of `zo_gym.agents.offline.train_policy`."""


def train_policies(name: str) -> Callable[[Task, Path], None]:
    """Return what trains the policies of a task in one of the ways of `TRAININGS`, unless they are there."""

    def prepare(task: Task, folder: Path) -> None:
        preset, options = TRAININGS[name]
        problem = SOURCE.get(task.name, task.name)
        for repeat in range(task.repeats):
            place = policy_folder(task, folder, name, repeat)
            if not (place / "config.json").is_file():
                began = time.perf_counter()
                train_policy(problem, place, preset, seed=repeat, images=task.sizes["train"], **options)
                seconds = time.perf_counter() - began
                write_json(place / "training.json", {"queries": preset.total_queries, "seconds": seconds})

    return prepare
