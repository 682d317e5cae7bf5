"""Find the least known f of a classification problem, so that tables can show f - f*."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from benchmarks.suites.task import Task
from zo_gym.files import write_json

RUNS = 6
"""L-BFGS runs, each from another of the training starts."""


def minimum_file(folder: Path) -> Path:
    """Return where the least known f is kept in the folder of a task's results."""
    return folder / "minimum.json"


def store_minimum(task: Task, folder: Path) -> None:
    """Write the least f of 6 L-BFGS runs with exact gradients.

    It is the value of a local minimum, so that f - f* can be negative.
    """
    from scipy.optimize import minimize

    problem = task.problem("train", RUNS)
    assert problem.gradient is not None
    gradient = problem.gradient
    row = torch.zeros(1, dtype=torch.int64)

    def value_and_gradient(x: np.ndarray) -> tuple[float, np.ndarray]:
        point = torch.from_numpy(x)[None]
        return problem.fun(point[None], row).item(), gradient(point, row)[0].numpy()

    # Tolerances are far below scipy's defaults, at which L-BFGS stops on a flat stretch of a9a.
    options = {"maxiter": 5000, "maxfun": 20_000, "ftol": 1e-14, "gtol": 1e-9}
    ends = []
    for instance in range(RUNS):
        start = problem.start(torch.Generator(), instance).numpy()
        ends.append(float(minimize(value_and_gradient, start, jac=True, method="L-BFGS-B", options=options).fun))
    write_json(minimum_file(folder), {"f_star": min(ends), "runs": ends, "method": "L-BFGS-B with exact gradients"})
