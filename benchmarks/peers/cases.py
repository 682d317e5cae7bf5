"""List the suites of problems and the cases in them: one function, dimension and instance each."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.peers.coco import coco_instance
from benchmarks.peers.oracle import Instance
from benchmarks.peers.own_problems import attack_instance, classification_instance
from zo_gym.registry import lookup

NOISE_STDS = (0.001, 0.01, 0.1)
"""Standard deviations of the noise on classification problems, whose f is between 0 and about 1."""


@dataclass(frozen=True)
class Case:
    """Names one problem, as it is opened for each run.

    Attributes:
        suite: A key of `SUITES`.
        function: One of the suite's functions, e.g. "f001" or "breast_cancer".
        dim: d.
        instance: Which of its instances, from 1 on: COCO's own number, the start's seed, or the image's number.
    """

    suite: str
    function: str
    dim: int
    instance: int

    @property
    def problem(self) -> str:
        """Return the name under which results are kept."""
        return f"{self.suite}-d{self.dim}-{self.function}"

    @property
    def seed(self) -> int:
        """Return the seed of every solver's run."""
        words = [zlib.crc32(self.problem.encode()), self.instance]
        return int(np.random.SeedSequence(words).generate_state(1)[0]) // 2  # some libraries take 31 bits

    def open(self) -> Instance:
        """Return the problem, fresh, with nothing remembered of earlier runs."""
        return SUITES[self.suite].open(self)


@dataclass(frozen=True)
class Suite:
    """Describes a suite of problems.

    Attributes:
        title: Its name in headings.
        groups: Heading -> functions, in order.
        open: Opens a case.
        dims: The dimensions that are run unless others are asked for; empty where each function has its own.
        dim_of: Function -> its dimension, where it has one.
        noisy: Whether f is noisy; then a run is judged by the true f at the point that the solver returns.
        needs_coco: Whether the package coco-experiment is needed.
    """

    title: str
    groups: Mapping[str, tuple[str, ...]]
    open: Callable[[Case], Instance]
    dims: tuple[int, ...] = ()
    dim_of: Mapping[str, int] = field(default_factory=dict)
    noisy: bool = False
    needs_coco: bool = False

    @property
    def functions(self) -> list[str]:
        """Return all functions, in order."""
        return [name for names in self.groups.values() for name in names]


def _numbered(first: int, last: int) -> tuple[str, ...]:
    return tuple(f"f{number:03d}" for number in range(first, last + 1))


def _open_coco(case: Case) -> Instance:
    return coco_instance(case.suite, case.function, case.dim, case.instance)


def _open_classification(case: Case) -> Instance:
    return classification_instance(case.function, case.instance)


def _open_noisy_classification(case: Case) -> Instance:
    name, _, std = case.function.rpartition("-s")
    return classification_instance(name, case.instance, float(std))


def _noisy_names(*names: str) -> tuple[str, ...]:
    return tuple(f"{name}-s{std}" for name in names for std in NOISE_STDS)


NOISELESS_GROUPS = {
    "separable": _numbered(1, 5),
    "moderate": _numbered(6, 9),
    "ill-conditioned": _numbered(10, 14),
    "multimodal": _numbered(15, 19),
    "weakly structured": _numbered(20, 24),
}
CLASSIFICATION = {"breast_cancer": 30, "heart_scale": 13, "german.numer_scale": 24, "a9a": 123}
ATTACKS = {"digits_attack": 64, "mnist_attack": 784}

SUITES: dict[str, Suite] = {
    "bbob": Suite("COCO bbob", NOISELESS_GROUPS, _open_coco, (5, 10, 20, 40), needs_coco=True),
    "bbob-largescale": Suite("COCO bbob-largescale", NOISELESS_GROUPS, _open_coco, (80, 160, 320), needs_coco=True),
    "bbob-noisy": Suite(
        "COCO bbob-noisy",
        {
            "moderate noise": _numbered(101, 106),
            "severe noise": _numbered(107, 121),
            "severe, multimodal": _numbered(122, 130),
        },
        _open_coco,
        (5, 10, 20, 40),
        noisy=True,
        needs_coco=True,
    ),
    "classification": Suite(
        "Classification", {name: (name,) for name in CLASSIFICATION}, _open_classification, dim_of=CLASSIFICATION
    ),
    "classification-noisy": Suite(
        "Classification with noise",
        {f"s = {std}": tuple(f"{name}-s{std}" for name in ("breast_cancer", "heart_scale")) for std in NOISE_STDS},
        _open_noisy_classification,
        dim_of={
            name: CLASSIFICATION[name.rpartition("-s")[0]] for name in _noisy_names("breast_cancer", "heart_scale")
        },
        noisy=True,
    ),
    "attack": Suite(
        "Attacks on image classifiers",
        {name: (name,) for name in ATTACKS},
        lambda case: attack_instance(case.function, case.instance),
        dim_of=ATTACKS,
    ),
}
"""The suites by name."""


def cases_of(suite: str, dims: Sequence[int], functions: Sequence[str], instances: Sequence[int]) -> list[Case]:
    """Return the cases of a suite; empty `dims` or `functions` mean all that it has.

    Raises:
        ValueError: The suite or a function is unknown.
    """
    found = lookup(SUITES, suite, "suite")
    for name in functions:
        lookup(dict.fromkeys(found.functions), name, f"function of suite '{suite}'")
    return [
        Case(suite, function, dim, instance)
        for instance in instances  # the outer loop, so that half a run is one of all functions
        for function in functions or found.functions
        for dim in _dims(found, function, dims)
    ]


def _dims(suite: Suite, function: str, dims: Sequence[int]) -> Sequence[int]:
    own = suite.dim_of.get(function)
    if own is None:
        return dims or suite.dims
    return [own] if not dims or own in dims else []
