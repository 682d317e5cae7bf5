"""The options of `python evaluate.py --peers`, whose work is done in the folder benchmarks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PeerOptions:
    """For --peers: what is compared on which problems. What exists is kept: run it again to go on with it."""

    quick: bool = False
    """A few functions with d = 5 and small budgets, in under two minutes."""
    suites: tuple[str, ...] = ()
    """bbob (the default), bbob-largescale, bbob-noisy, classification, classification-noisy, attack."""
    dims: tuple[int, ...] = ()
    """Only these dimensions; the suites have their own defaults."""
    functions: tuple[str, ...] = ()
    """Only these functions of the suite, e.g. f001 f008, or breast_cancer."""
    instances: tuple[int, ...] = ()
    """Instances of each function; 1 2 3 unless others are named."""
    budgets: tuple[int, ...] = ()
    """Queries, in units of d; 20 50 200 unless others are named."""
    methods: tuple[str, ...] = ()
    """Methods of zo_gym.minimize; auto gp-tr gp rand-ada unless others are named."""
    solvers: tuple[str, ...] = ()
    """Only these peers, e.g. pycma scipy-l-bfgs-b; a wrong name lists them all."""
    seconds: float = 600.0
    """Wall time of one run, after which it counts with what it has."""
