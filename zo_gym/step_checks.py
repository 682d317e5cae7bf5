"""Checks of what every step needs: a smoothing that rounding does not drown, and a budget that holds a step."""

from __future__ import annotations

import torch

from zo_gym.checks import check_integer, check_positive
from zo_gym.oracle import OnFailure, worst_case

MOST_QUERIES = 2**62
"""The largest budget, in queries: int64 holds its counts."""


def require_smoothing(smoothing: float, dtype: torch.dtype) -> float:
    """Return mu if it is positive and not lost in the rounding of x.

    Raises:
        ValueError: It is not.
    """
    smoothing = check_positive("smoothing", smoothing)
    least = 8 * torch.finfo(dtype).eps
    if smoothing < least:
        raise ValueError(
            f"smoothing must be at least {least:.1e} for {dtype}, got {smoothing}: smaller differences are rounding "
            "noise. Use a larger smoothing, or x0 in float64."
        )
    return smoothing


def require_budget(budget: int | None, step_cost: int, on_failure: OnFailure) -> None:
    """Raise unless the budget holds the start (1 query) and one step, and int64 can count it.

    Raises:
        TypeError, ValueError: It does not, or is no integer.
    """
    queries = check_integer("budget", budget, 1)
    if queries > MOST_QUERIES:
        raise ValueError(f"budget must be at most {MOST_QUERIES} queries, got {budget}. Lower it.")
    least = int(worst_case(1 + step_cost, on_failure))
    if queries < least:
        retries = ", all of them retried" if on_failure == "retry" else ""
        raise ValueError(
            f"budget must be at least {least} queries (1 for the start, {step_cost} for one step{retries}), "
            f"got {budget}. Raise budget, or lower num_directions."
        )
