"""A baseline's run, kept by the log of `minimize`, which also ends it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from zo_gym.baselines import run_baseline
from zo_gym.baselines.start import Start
from zo_gym.errors import BudgetError
from zo_gym.registry import refuse
from zo_gym.result import Result, Status
from zo_gym.rng import make_generator
from zo_gym.run_log import RunLog


class _Stop(Exception):  # noqa: N818, no error
    """Ends a baseline's run from inside its call of f, with the `Status` why."""


def run_logged(
    log: RunLog,
    method: str,
    begin: Start,
    seed: int,
    arguments: Mapping[str, Any],
    options: Mapping[str, Any],
    refused: Mapping[str, Any],
) -> Result:
    """Let a baseline run until it converges, or the budget, the target or the callback ends it."""
    refuse(refused, f"method '{method}' is a baseline and complete")
    log.oracle.require_step(0)
    given = {name: value for name, value in arguments.items() if value is not None}
    for name in given.keys() & options.keys():
        raise TypeError(f"options= must not repeat an argument, got '{name}' in both. Drop one of the two.")
    given |= {name: value for name, value in options.items() if value is not None}

    def evaluate(points: Tensor) -> Tensor:
        if not log.oracle.fits(len(points))[0]:
            raise BudgetError(f"{len(points)} more queries do not fit.")
        values = log.oracle(points[None])[0]
        least = int(values.argmin())
        x, fun = points[least].clone(), values[least].item()
        status = log.add(x, fun, *(log.best if log.best is not None and fun >= log.best[1] else (x, fun)))
        if status is not None:
            raise _Stop(status)
        return values

    try:
        generator = make_generator(seed, begin.x.device)
        converged = run_baseline(method, evaluate, begin.x, generator, box=begin.box, coarsest=begin.coarsest, **given)
    except _Stop as stop:
        return log.result(stop.args[0])
    return log.result(Status.CONVERGED if converged else Status.BUDGET)
