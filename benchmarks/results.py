"""Load what is stored about a problem, method by method: the input of every figure and table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.stored_runs import Record, load_all

GROUPS = {
    "policy": "Learned policies",
    "ablation": "The policy with one part changed",
    "paper": "The paper's methods",
    "control": "Controls",
    "further": "Further methods",
    "peer": "Other optimisers",
    "reference": "Reference (sees the gradient)",
}
"""`meta["group"]` of a record -> its heading, in the order of tables and legends."""


@dataclass(frozen=True)
class MethodResults:
    """Holds everything that is stored about one method on one problem.

    Attributes:
        method: Its name, e.g. "zo-sgd".
        label: Its name in legends and tables, e.g. "ZO-SGD (q=20, delta=3)".
        group: A key of `GROUPS`.
        records: One per seed, in order of seeds; all on the same grid of queries and with equally many rows.
    """

    method: str
    label: str
    group: str
    records: list[Record]

    @property
    def queries(self) -> np.ndarray:
        """Return the grid, (T,)."""
        return self.records[0].queries

    @property
    def dim(self) -> int | None:
        """Return the number of variables, None if the record does not hold it."""
        record = self.records[0]
        known = record.extras.get("final_x")
        return record.meta.get("dim") if known is None else int(known.shape[1])

    def by_seed(self) -> np.ndarray:
        """Return the best f of each of n repeats, the mean over its rows (images), (n, T)."""
        return np.stack([record.best.mean(axis=0) for record in self.records])

    def cosines(self) -> np.ndarray:
        """Return the cosines of all rows of all repeats that measured any, (n, T); n = 0 if none did."""
        measured = [record.cosine for record in self.records if record.cosine is not None]
        return np.concatenate([np.empty((0, len(self.queries))), *measured])

    def pooled(self, name: str) -> np.ndarray:
        """Return an extra, one number per image and repeat, from the records that have it; (0,) if none has."""
        return np.concatenate([np.empty(0), *(r.extras[name] for r in self.records if name in r.extras)])


def load_results(folder: Path, problem: str, methods: Sequence[str] | None = None) -> list[MethodResults]:
    """Load the methods that are stored for a problem, ordered by group, then `meta["order"]`, then name.

    Args:
        folder: Folder of the results.
        problem: Name of a task.
        methods: Load only these, in this order; None for all.

    Raises:
        FileNotFoundError: Nothing is stored, or nothing of one of `methods`.
        ValueError: The records do not belong together: budgets or numbers of images differ, or a group is unknown.
    """
    names = [path.name for path in (folder / problem).glob("*") if path.is_dir()] if methods is None else methods
    loaded = {name: load_all(folder, problem, name) for name in names}
    missing = [name for name, records in loaded.items() if not records]
    if (methods is not None and missing) or len(missing) == len(loaded):
        wanted = f" of {', '.join(missing)}" if missing else ""
        raise FileNotFoundError(f"No results{wanted} for '{problem}' in {folder}. Run `make paper` first.")
    found = [_method_results(name, records) for name, records in loaded.items() if records]
    _require_alike(folder, [record for results in found for record in results.records])
    if methods is None:
        rank = list(GROUPS)
        found.sort(key=lambda r: (rank.index(r.group), r.records[0].meta.get("order", math.inf), r.method))
    return found


def stored_problems(folder: Path) -> set[str]:
    """Return the names of the problems that have results.

    Raises:
        FileNotFoundError: None has.
    """
    found = {path.parent.parent.name for path in folder.glob("*/*/*.npz") if not path.name.startswith(".")}
    if not found:
        raise FileNotFoundError(f"No results in {folder}. Run `make paper` first.")
    return found


def _method_results(method: str, records: list[Record]) -> MethodResults:
    meta = records[0].meta
    group = meta.get("group", "further")
    if group not in GROUPS:
        raise ValueError(f"group of '{method}' must be one of {', '.join(GROUPS)}, got {group!r}.")
    return MethodResults(method, meta.get("label", method), group, records)


def _require_alike(folder: Path, records: Sequence[Record]) -> None:
    first = records[0]
    for record in records:
        if record.best.shape != first.best.shape or not np.array_equal(record.queries, first.queries):
            raise ValueError(
                f"Results for '{first.problem}' in {folder} do not match: {record.method}, seed {record.seed}, "
                f"has {len(record.best)} rows and a budget of {record.queries[-1]}, {first.method}, seed {first.seed}, "
                f"has {len(first.best)} and {first.queries[-1]}. Keep them in folders of their own, or run again."
            )
