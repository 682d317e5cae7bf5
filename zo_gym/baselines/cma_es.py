"""CMA-ES, computed by the library pycma."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from zo_gym.baselines.start import Start
from zo_gym.checks import check_flag, check_integer, check_positive
from zo_gym.problem import Objective


def cma_es(
    evaluate: Objective,
    begin: Start,
    generator: torch.Generator,
    *,
    sigma0: float = 0.3,
    popsize: int | None = None,
    diagonal: bool = False,
) -> None:
    """Minimise by covariance matrix adaptation. Costs `popsize` queries a generation; memory O(d^2), O(d) if diagonal.

    pycma draws from `generator`, not from numpy's global state, prints nothing and writes no file. It stops by its
    own criteria, above all when the population has contracted; it is then started anew at the best point so far with
    the original sigma0 and popsize, so that the budget is always used.

    Args:
        evaluate: Computes f, counted.
        begin: The mean of the first population.
        generator: Draws all normal variates.
        sigma0: The standard deviation of the first population, in units of x.
        popsize: The points of a generation, >= 2; None for pycma's 4 + 3 log d.
        diagonal: Adapt variances alone, which takes d times fewer queries: for budgets far below d^2.

    References: Hansen (2016), "The CMA evolution strategy: a tutorial", arXiv:1604.00772; Ros and Hansen (2008), "A
    simple modification in CMA-ES achieving linear time and space complexity", PPSN (`diagonal`).
    """
    try:
        import cma
    except ImportError as error:
        raise ImportError("Method 'cma-es' needs pycma. Install it: pip install 'zo-gym[baselines]'.") from error

    def randn(*shape: int) -> np.ndarray:
        return torch.randn(shape, generator=generator, dtype=torch.float64, device=generator.device).cpu().numpy()

    # seed = NaN: leave numpy's global state alone. verbose <= -10: print nothing, read no signals file.
    options: dict[str, Any] = {"randn": randn, "seed": math.nan, "verbose": -10, "verb_log": 0, "verb_disp": 0}
    options |= {"maxiter": math.inf, "CMA_diagonal": check_flag("diagonal", diagonal)}
    if begin.box is not None:
        options["bounds"] = [bound.cpu().double().numpy() for bound in begin.box]
    if popsize is not None:
        options["popsize"] = check_integer("popsize", popsize, 2)
    spread = check_positive("sigma0", sigma0)
    x0 = begin.x
    best_x, best_f = x0, evaluate(x0[None])[0]
    while True:
        strategy = cma.CMAEvolutionStrategy(best_x.cpu().double().numpy(), spread, options)
        stopped = False
        while not stopped:
            asked = strategy.ask()
            points = torch.from_numpy(np.stack(asked)).to(x0)
            values = evaluate(points)
            least = int(values.argmin())
            if values[least] < best_f:
                best_x, best_f = points[least], values[least]
            strategy.tell(asked, values.tolist())
            stopped = bool(strategy.stop())
