"""Open problems of the COCO platform, with their optimal values, and without their noise.

The package coco-experiment (module cocoex) holds them. It does not tell f_opt, but writes the optimum to a file of a
fixed name in the working folder; f there is f_opt, which COCO itself confirms (`final_target_hit`).

The noise-free value of a function of bbob-noisy is not told either. As Finck et al. (2009) define them, its functions
come in threes that share the function below the noise, and the third has additive noise that most queries are spared: a
query is f + 1000 alpha + 1.01e-8, plus a Cauchy variate with probability 0.05 or 0.2. So the median of 101 of its
queries is exact, but with probability below 1e-10.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks.peers.oracle import Instance
from benchmarks.scratch_folder import scratch_folder

INSTALL = "pip install coco-experiment"
OPTIMUM_FILE = "._bbob_problem_best_parameter.txt"
FIRST_NOISY = 101
"""Number of the first function of bbob-noisy."""
SEVERE = 107
"""Number of the first function of bbob-noisy whose noise is severe."""
MEDIAN_OF = 101
TOLERANCE = 1.01e-8
"""What the models of noise add to f."""


def require_coco() -> None:
    """Raise ImportError, with what to install, where the package coco-experiment is missing."""
    if find_spec("cocoex") is None:
        raise ImportError(f"COCO's problems need the package coco-experiment. Install it: {INSTALL}")


def coco_instance(suite: str, function: str, dim: int, instance: int) -> Instance:
    """Open a problem of COCO afresh, e.g. ("bbob", "f001", 10, 1).

    Raises:
        ImportError: The package coco-experiment is missing.
        ValueError: COCO has no such problem.
    """
    number = int(function.removeprefix("f"))
    problem = _problem(suite, number, dim, instance)
    noisy = suite == "bbob-noisy"
    exact = _without_noise(number, dim, instance) if noisy else None
    return Instance(
        fun=lambda x: float(problem(x)),
        true=exact,
        start=np.array(problem.initial_solution),
        lower=np.array(problem.lower_bounds),
        upper=np.array(problem.upper_bounds),
        f_opt=_optimal_value(suite, number, dim, instance, exact),
    )


def _problem(suite: str, number: int, dim: int, instance: int) -> Any:
    require_coco()
    import cocoex

    index = number - FIRST_NOISY + 1 if suite == "bbob-noisy" else number
    try:
        found = cocoex.Suite(suite, f"instances:{instance}", f"dimensions:{dim} function_indices:{index}")
        return found.get_problem_by_function_dimension_instance(number, dim, instance)
    except Exception as error:  # its own class, which says nothing
        raise ValueError(f"COCO's suite {suite} has no f{number:03d} with d = {dim}, instance {instance}.") from error


def _optimal_value(
    suite: str, number: int, dim: int, instance: int, exact: Callable[[np.ndarray], float] | None
) -> float:
    """Return f at the optimum, evaluated on a copy of the problem that is used for nothing else."""
    copy = _problem(suite, number, dim, instance)
    with scratch_folder():
        copy._best_parameter("print")
        optimum = np.loadtxt(OPTIMUM_FILE, ndmin=1)
    if exact is not None:
        return exact(optimum)
    value = float(copy(optimum))
    if not copy.final_target_hit:
        raise RuntimeError(f"COCO does not accept its own optimum of {copy.id}: f = {value}.")
    return value


def _without_noise(number: int, dim: int, instance: int) -> Callable[[np.ndarray], float]:
    """Return what computes the noise-free f of a function of bbob-noisy."""
    third = number + 2 - (number - FIRST_NOISY) % 3
    offset = 1000.0 * (0.01 if number < SEVERE else 1.0) + TOLERANCE

    def exact(x: np.ndarray) -> float:
        sibling = _problem("bbob-noisy", third, dim, instance)
        return float(np.median([sibling(x) for _ in range(MEDIAN_OF)])) - offset

    return exact
