"""The errors that f and budgets raise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from zo_gym.result import Result


class ObjectiveError(ValueError):
    """f could not be evaluated, or returned something that is not a finite real number.

    Attributes:
        point: Where f failed, numpy (d,), or None where a whole batch failed.
        result: The `Result` up to there, set by `minimize`, so that the best point found is not lost.
    """

    def __init__(self, message: str, point: np.ndarray | None = None) -> None:
        super().__init__(message)
        self.point = point
        self.result: Result | None = None


class DivergenceError(ObjectiveError):
    """A run would query f where x is no longer finite: its steps are too long. f was not evaluated there."""


class BudgetError(RuntimeError):
    """A call needs more queries than the budget has left. Nothing was evaluated."""
