"""Check orderings of methods that must hold in any sound run of the paper's experiments."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.stored_runs import load_all

RANDOM = ("zo-sgd", "zo-sgd-q1", "zo-sgd-sphere", "rand-ada")
"""Methods that draw directions from a fixed distribution."""
REFERENCES = ("true-gradient", "true-gradient-ada")
"""Methods that are given the true gradient."""


@dataclass(frozen=True)
class Ordering:
    """Claims that the best of `better` ends with a lower mean f than every one of `worse`.

    Attributes:
        task: Name of the task.
        better: Methods, the best of which counts.
        worse: Methods.
        why: Why it must hold.
    """

    task: str
    better: tuple[str, ...]
    worse: tuple[str, ...]
    why: str


ORDERINGS: tuple[Ordering, ...] = (
    Ordering("heart_scale", REFERENCES, RANDOM, "the true gradient is the best direction there is"),
    Ordering("heart_scale", ("guided-es",), ("zo-sgd",), "recent estimates are informative where f is smooth"),
    Ordering("heart_scale", ("rand-ada",), ("zo-sgd",), "a step of 2 queries wastes none where d > 2"),
    Ordering("digits_attack", REFERENCES, RANDOM, "the true gradient is the best direction there is"),
    Ordering("digits_attack", ("true-gradient",), ("zo-rl-frozen",), "so it is against an untrained actor"),
)


def broken(folder: Path, orderings: tuple[Ordering, ...] = ORDERINGS) -> list[str]:
    """Return the orderings that do not hold in these results, one sentence each.

    Raises:
        FileNotFoundError: A method that an ordering names has no results.
    """
    found = []
    for claim in orderings:
        best = min(_final(folder, claim.task, name) for name in claim.better)
        for name in claim.worse:
            value = _final(folder, claim.task, name)
            if not best < value:
                better, values = " / ".join(claim.better), f"{best:.6g} and {value:.6g}"
                found.append(f"{claim.task}: {better} must end below {name} ({claim.why}), got {values}.")
    return found


def _final(folder: Path, task: str, method: str) -> float:
    records = load_all(folder, task, method)
    if not records:
        raise FileNotFoundError(f"No results of {method} on {task} in {folder}. Run it first.")
    return float(np.mean(np.concatenate([record.best[:, -1] for record in records])))
