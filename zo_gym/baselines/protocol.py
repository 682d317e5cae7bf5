"""The types of a baseline and of its only access to f."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Evaluate = Callable[[Tensor], Tensor]
"""Computes f at points (m, d); (m,). Costs m queries; raises BudgetError, and evaluates nothing, where m do not fit."""

Baseline = Callable[..., None]
"""Minimises, given (evaluate, x0 (d,), generator, **options): returns if it converges, else when `evaluate` raises."""
