"""Orderings that must hold in any honest run of the experiments: a check that the whole chain is sound."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.records import load_all, stack

RANDOM = ("zo-sgd", "zo-sgd-q1", "zo-sgd-sphere", "rand-ada")
REFERENCES = ("true-gradient", "true-gradient-ada")


@dataclass(frozen=True)
class Ordering:
    """One claim: the best of `better` ends with a lower mean f than every one of `worse`.

    Attributes:
        task: Where.
        better: Methods; the best of them counts.
        worse: Methods.
        why: The reason that it must hold.
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
    """What does not hold in these results, one line each.

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
    _, best = stack(records)
    return float(np.mean(best[:, -1]))
