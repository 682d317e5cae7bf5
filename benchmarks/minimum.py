"""The least f that is known of a classification problem, so that tables can show f - f*."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from benchmarks.suites.paper import Task
from zo_gym.files import write_json

RUNS = 6


def minimum_file(folder: Path) -> Path:
    """Where it is kept among a task's results."""
    return folder / "minimum.json"


def store_minimum(task: Task, folder: Path) -> None:
    """Write the best of 6 L-BFGS runs with exact gradients: a local optimum, so that f - f* can be negative."""
    from scipy.optimize import minimize

    family = task.family("train", RUNS)
    assert family.gradient is not None
    gradient = family.gradient
    row = torch.zeros(1, dtype=torch.int64)

    def value_and_gradient(x: np.ndarray) -> tuple[float, np.ndarray]:
        point = torch.from_numpy(x)[None]
        return family.fun(point[None], row).item(), gradient(point, row)[0].numpy()

    # Far below scipy's defaults, at which a flat stretch of a9a counts as an end.
    options = {"maxiter": 5000, "maxfun": 20_000, "ftol": 1e-14, "gtol": 1e-9}
    ends = []
    for instance in range(RUNS):
        start = family.start(torch.Generator(), instance).numpy()
        ends.append(float(minimize(value_and_gradient, start, jac=True, method="L-BFGS-B", options=options).fun))
    write_json(minimum_file(folder), {"f_star": min(ends), "runs": ends, "method": "L-BFGS-B with exact gradients"})
