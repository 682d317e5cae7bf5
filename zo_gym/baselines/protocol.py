"""What every baseline is handed: a start and its only access to f."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Evaluate = Callable[[Tensor], Tensor]
"""Points (m, d) -> values (m,). Costs m queries; raises BudgetError, and evaluates nothing, where m do not fit."""

Baseline = Callable[..., None]
"""(evaluate, x0 (d,), generator, **options) -> None: returns if it converges, else runs until `evaluate` raises."""
