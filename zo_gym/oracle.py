"""The oracle, through which alone f is evaluated: in batches, counted, within a budget, checked, noisy on request."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from zo_gym.checks import check_integer, check_number
from zo_gym.errors import BudgetError, DivergenceError, ObjectiveError
from zo_gym.problem import Generators, Problem
from zo_gym.registry import lookup
from zo_gym.rng import normal

OnFailure = Literal["raise", "penalize", "retry"]
RETRIES = 3
"""How many more times on_failure="retry" queries a point, in queries."""
MOST_QUERIES = 2**62
"""The largest budget, in queries: int64 holds its counts."""


def worst_case(queries: int | np.ndarray, on_failure: OnFailure) -> int | np.ndarray:
    """Return how many queries so many evaluations cost at most, retries counted."""
    return queries * (1 + RETRIES) if on_failure == "retry" else queries


class Oracle:
    """Evaluates f(X) for B independent runs and counts every evaluation of every run.

    Args:
        problem: What to evaluate; row i first faces instance i mod its size.
        rows: B, the number of runs that share a batch.
        budget: Queries that each run may spend; None for no limit. It is checked before f is called, never exceeded.
        noise_std: Standard deviation s of additive noise, f(x) + s N(0, 1), drawn anew for every query.
        generators: One a row, for the noise; needed only if noise_std > 0.
        on_failure: What happens at a NaN or infinite value of f. "raise": ObjectiveError. "penalize": the value counts
            as the worst finite one of this run. "retry": the same point is queried up to 3 more times (each counted),
            then ObjectiveError.

    Attributes:
        queries: Evaluations spent per run, int64 (B,).
        failures: Non-finite values that f returned per run, int64 (B,).
        instances: The instance of the problem that each run faces, int64 tensor (B,).
        total: Evaluations of all runs together, those before a `restart` included.
    """

    def __init__(
        self,
        problem: Problem,
        rows: int = 1,
        *,
        budget: int | None = None,
        noise_std: float = 0.0,
        generators: Generators = (),
        on_failure: OnFailure = "raise",
    ) -> None:
        lookup(dict.fromkeys(get_args(OnFailure)), on_failure, "on_failure")
        noise_std = check_number("noise_std", noise_std, "a finite number >= 0")
        if noise_std < 0:
            raise ValueError(f"noise_std must be a finite number >= 0, got {noise_std}.")
        if noise_std > 0 and len(generators) != rows:
            raise ValueError(f"noise_std > 0 needs generators, one a row: {rows}, got {len(generators)}.")
        self.problem = problem
        self.budget = None if budget is None else check_integer("budget", budget, 1)
        if (budget or 0) > MOST_QUERIES:
            raise ValueError(f"budget must be at most {MOST_QUERIES} queries, got {budget}. Lower it.")
        self.noise_std = noise_std
        self.generators = list(generators)
        self.on_failure = on_failure
        self.queries = np.zeros(rows, dtype=np.int64)
        self.failures = np.zeros(rows, dtype=np.int64)
        self.instances = torch.arange(rows, device=problem.device) % problem.size
        self.total = 0
        # A lower bound of what every run has left: while a call fits in it, `_charge` need not look at the runs.
        self._headroom = 0
        self._worst = torch.full((rows,), -math.inf, dtype=problem.dtype, device=problem.device)

    @property
    def remaining(self) -> np.ndarray:
        """Return the queries left per run, int64 (B,); the largest int64 where there is no budget."""
        if self.budget is None:
            return np.full_like(self.queries, np.iinfo(np.int64).max)
        return self.budget - self.queries

    def fits(self, queries: int | np.ndarray) -> np.ndarray:
        """Tell which budgets hold so many more queries, whatever fails, (B,) bool.

        With on_failure="retry" each of them may take 3 more: a step that begins can always be finished.
        """
        return self.remaining >= worst_case(queries, self.on_failure)

    def require_step(self, cost: int) -> None:
        """Raise ValueError unless the budget holds the start (1 query) and one step, TypeError where there is none."""
        least = int(worst_case(1 + cost, self.on_failure))
        if self.budget is None:
            raise TypeError("budget must be an integer >= 1, got None. Pass an int.")
        if self.budget < least:
            retries = ", all of them retried" if self.on_failure == "retry" else ""
            raise ValueError(
                f"budget must be at least {least} queries (1 for the start, {cost} for one step{retries}), "
                f"got {self.budget}. Raise budget, or lower num_directions."
            )

    def restart(self, rows: np.ndarray, generators: Generators, instances: Tensor | None = None) -> None:
        """Give the runs with the indices `rows` a fresh budget, these generators and these instances (one each)."""
        if instances is not None:
            self.instances[torch.from_numpy(rows)] = instances
        self.queries[rows] = 0
        self.failures[rows] = 0
        if self.on_failure == "penalize":
            self._worst[torch.from_numpy(rows)] = -math.inf
        if self.noise_std > 0:
            for row, generator in zip(rows, generators, strict=True):
                self.generators[row] = generator

    def state_dict(self) -> dict[str, Any]:
        """Return the counts as tensors and plain values."""
        counts = {"queries": torch.from_numpy(self.queries.copy()), "failures": torch.from_numpy(self.failures.copy())}
        return {**counts, "instances": self.instances.clone(), "total": self.total, "worst": self._worst.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.queries[:] = state["queries"].cpu().numpy()
        self.failures[:] = state["failures"].cpu().numpy()
        self.instances = state["instances"].to(self.instances)
        self.total = state["total"]
        self._headroom = 0
        self._worst = state["worst"].to(self._worst)

    def __call__(self, points: Tensor, rows: np.ndarray | None = None) -> Tensor:
        """Evaluate f; return values (b, m). Costs m queries per row.

        Args:
            points: (b, m, d).
            rows: Indices (b,) of the runs that ask; None where all B do, in order.

        Raises:
            BudgetError: m is more than a run has left; nothing was evaluated.
            DivergenceError: A point is not finite; nothing was evaluated.
            ObjectiveError: f raised, or returned something other than finite real numbers.
        """
        m = points.shape[1]
        if not math.isfinite(points.sum().item()) and not bool(torch.isfinite(points).all()):  # a sum may overflow
            raise DivergenceError(
                f"x is no longer finite after {int(self.queries.max())} queries of problem '{self.problem.name}': the "
                "steps are too long. Lower learning_rate, or use update='adaptive'."
            )
        self._charge(m, rows)
        values = self._evaluate(points, rows)
        # A finite sum proves that all terms are finite; only otherwise look closer (it may be mere overflow).
        total = values if values.numel() == 1 else values.sum()
        if not math.isfinite(total.item()) and not bool(torch.isfinite(values).all()):
            values = self._repair(values, points, rows)
        if self.on_failure == "penalize":
            index = slice(None) if rows is None else torch.from_numpy(rows)
            self._worst[index] = torch.maximum(self._worst[index], values.amax(1))
        if self.noise_std > 0:
            generators = self.generators if rows is None else [self.generators[row] for row in rows]
            values = values + self.noise_std * normal(generators, (m,), like=values)
            if not bool(torch.isfinite(values).all()):
                raise ObjectiveError(f"noise_std must keep f + noise finite, got {self.noise_std}. Lower it.")
        return values

    def _charge(self, m: int, rows: np.ndarray | None) -> None:
        """Count m queries for each of these runs; raise BudgetError where one has fewer left, and count nothing."""
        index = slice(None) if rows is None else rows
        if self.budget is not None and m > self._headroom:
            spent = int(self.queries[index].max())
            if spent + m > self.budget:
                raise BudgetError(
                    f"Budget of {self.budget} queries has {self.budget - spent} left; this call needs {m}. "
                    "Raise budget= or ask for fewer directions."
                )
            self._headroom = self.budget - int(self.queries.max())
        self._headroom -= m
        self.queries[index] += m
        self.total += m * (len(self.queries) if rows is None else len(rows))

    def _evaluate(self, points: Tensor, rows: np.ndarray | None) -> Tensor:
        """Compute f at points (b, m, d), (b, m), its shape and type checked, in memory of its own."""
        problem, (b, m) = self.problem, points.shape[:2]
        try:
            values = problem.fun(points, self.instances if rows is None else self.instances_of(rows))
        except ObjectiveError:
            raise
        except Exception as error:
            raise ObjectiveError(
                f"f of problem '{problem.name}' raised {type(error).__name__}: {error} "
                f"(query {int(self.queries.max())}, points in its batch: {b * m}). Fix f. "
                "From minimize, this error's .result holds the best point until then.",
                points[0, 0].detach().cpu().numpy() if b * m == 1 else None,
            ) from error
        if not isinstance(values, Tensor) or not values.is_floating_point():
            found = f"a {values.dtype} tensor" if isinstance(values, Tensor) else type(values).__name__
            raise ObjectiveError(f"f of problem '{problem.name}' must return a real torch tensor, got {found}.")
        if values.shape != (b, m):
            raise ObjectiveError(
                f"f of problem '{problem.name}' must return one value per point, shape {(b, m)} for "
                f"points {tuple(points.shape)}, got shape {tuple(values.shape)}."
            )
        return values.detach().clone()  # f may reuse its memory, and may carry a graph

    def instances_of(self, rows: np.ndarray | None) -> Tensor:
        """Return the instances (b,) that these runs face; None means all runs."""
        return self.instances if rows is None else self.instances[torch.from_numpy(rows)]

    def _repair(self, values: Tensor, points: Tensor, rows: np.ndarray | None) -> Tensor:
        """Apply `on_failure` to the non-finite entries of values (b, m)."""
        index = np.arange(len(values)) if rows is None else rows
        values = values.clone()
        bad = ~torch.isfinite(values)
        self.failures[index] += bad.sum(1).cpu().numpy()
        if self.on_failure == "retry":
            for _ in range(RETRIES):
                for i, j in bad.nonzero().tolist():
                    self._charge(1, index[i : i + 1])
                    values[i, j] = self._evaluate(points[i : i + 1, j : j + 1], index[i : i + 1])[0, 0]
                    self.failures[index[i]] += not math.isfinite(values[i, j].item())
                bad = ~torch.isfinite(values)
                if not bool(bad.any()):
                    return values
        if self.on_failure == "penalize":
            finite = torch.where(bad, -math.inf, values).amax(1)
            worst = torch.maximum(self._worst[torch.from_numpy(index)], finite)
            if bool(torch.isfinite(worst[bad.any(1)]).all()):
                return torch.where(bad, worst[:, None], values)
        i, j = bad.nonzero()[0].tolist()
        raise ObjectiveError(
            self._explain(values[i, j].item(), points[i, j], int(index[i])), points[i, j].cpu().numpy()
        )

    def _explain(self, value: float, point: Tensor, row: int) -> str:
        """Make the message about a non-finite value."""
        head = f"f of problem '{self.problem.name}' returned {value} at query {self.queries[row]}"
        place = np.array2string(point.cpu().numpy(), precision=4, threshold=6, edgeitems=3)
        known = ", or pass on_failure='penalize' (or 'retry')"
        if self.on_failure == "penalize":
            known = ", or choose another start: 'penalize' needs a finite value first"
        tried = f" after {RETRIES} retries" if self.on_failure == "retry" else ""
        return f"{head}{tried}, at x = {place}. A finite real number is expected: fix f there{known}."
