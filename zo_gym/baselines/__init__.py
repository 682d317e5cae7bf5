"""Baselines: complete methods with a loop of their own, which compete at the same queries.

A baseline receives a start and one function, `evaluate`, its only access to f: points (m, d) -> values (m,). It counts
every point; for a call that no longer fits it raises `BudgetError` and evaluates nothing. All baselines first evaluate
x0, alone (1 query), so that a run is never worse than its start. The result is the best point that was ever evaluated;
the caller, who supplies `evaluate`, records it, as `minimize` does.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from zo_gym.baselines.cma_es import cma_es
from zo_gym.baselines.l_bfgs_b import l_bfgs_b
from zo_gym.baselines.start import Start
from zo_gym.baselines.zo_svrg import zo_svrg
from zo_gym.errors import BudgetError
from zo_gym.problem import Objective
from zo_gym.registry import lookup, reject_unknown
from zo_gym.space import Box

BASELINES: dict[str, Callable[..., None]] = {"zo-svrg": zo_svrg, "cma-es": cma_es, "l-bfgs-b": l_bfgs_b}
"""Minimises, given (evaluate, `Start`, generator, **options); it returns only where it converges."""


def run_baseline(
    name: str,
    evaluate: Objective,
    x0: Tensor,
    generator: torch.Generator,
    *,
    box: Box | None = None,
    coarsest: torch.dtype | None = None,
    **options: Any,
) -> bool:
    """Run a baseline; return True where it converges, False where `evaluate` has no room for its next call.

    Args:
        name: A key of `BASELINES`.
        evaluate: Computes f, counted, as above. Any other exception that it raises ends the run and reaches the caller.
        x0: The start, (d,).
        generator: Draws all random numbers of the run.
        box: Bounds that no point leaves.
        coarsest: The floating dtype to which f's argument is rounded; None: that of x0.
        **options: The baseline's own keywords.

    Raises:
        TypeError, ValueError: The name or an option is unknown or out of its range.
        ImportError: The library behind the baseline is not installed.
    """
    baseline = lookup(BASELINES, name, "baseline")
    known = [p.name for p in inspect.signature(baseline).parameters.values() if p.kind is p.KEYWORD_ONLY]
    reject_unknown(options, known, f"method '{name}'")
    try:
        baseline(evaluate, Start(x0.detach().clone(), box, coarsest or x0.dtype), generator, **options)
    except BudgetError:
        return False
    return True
