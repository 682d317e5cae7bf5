"""What is stored about a problem, method by method: the input of every figure and table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.records import Record, load_all
from benchmarks.style import GROUPS


@dataclass(frozen=True)
class Entry:
    """Everything stored about one method on one problem.

    Attributes:
        method: Its name, e.g. "zo-sgd".
        label: What legends call it, e.g. "ZO-SGD (q=20, delta=3)".
        group: A key of `GROUPS`.
        records: One per seed, in order of seeds; all on the same grid of queries and with equally many rows.
    """

    method: str
    label: str
    group: str
    records: list[Record]

    @property
    def queries(self) -> np.ndarray:
        """The grid, (T,)."""
        return self.records[0].queries

    @property
    def dim(self) -> int | None:
        """The number of variables, if the record tells."""
        record = self.records[0]
        known = record.extras.get("final_x")
        return record.meta.get("dim") if known is None else int(known.shape[1])

    def by_seed(self) -> np.ndarray:
        """Best f of each repeat, the mean over its rows (images), (n, T)."""
        return np.stack([record.best.mean(axis=0) for record in self.records])

    def cosines(self) -> np.ndarray:
        """The cosines of all rows of all repeats that measured any, (n, T); n = 0 if none did."""
        measured = [record.cosine for record in self.records if record.cosine is not None]
        return np.concatenate([np.empty((0, len(self.queries))), *measured])


def entries(folder: Path, problem: str, methods: Sequence[str] | None = None) -> list[Entry]:
    """The methods stored for a problem: by group, then `meta["order"]`, then name.

    Args:
        folder: Of the results.
        problem: A task's name.
        methods: Only these, in this order; None for all.

    Raises:
        FileNotFoundError: There is nothing, or one of `methods` is not there.
        ValueError: The records do not belong together: different budgets or numbers of images, or an unknown group.
    """
    names = [path.name for path in (folder / problem).glob("*") if path.is_dir()] if methods is None else methods
    loaded = {name: load_all(folder, problem, name) for name in names}
    missing = [name for name, records in loaded.items() if not records]
    if (methods is not None and missing) or len(missing) == len(loaded):
        wanted = f" of {', '.join(missing)}" if missing else ""
        raise FileNotFoundError(f"No results{wanted} for '{problem}' in {folder}. Run `make paper` first.")
    found = [_entry(name, records) for name, records in loaded.items() if records]
    _require_alike(folder, [record for entry in found for record in entry.records])
    if methods is None:
        rank = list(GROUPS)
        found.sort(key=lambda e: (rank.index(e.group), e.records[0].meta.get("order", math.inf), e.method))
    return found


def _entry(method: str, records: list[Record]) -> Entry:
    meta = records[0].meta
    group = meta.get("group", "further")
    if group not in GROUPS:
        raise ValueError(f"group of '{method}' must be one of {', '.join(GROUPS)}, got {group!r}.")
    return Entry(method, meta.get("label", method), group, records)


def _require_alike(folder: Path, records: Sequence[Record]) -> None:
    first = records[0]
    for record in records:
        if record.best.shape != first.best.shape or not np.array_equal(record.queries, first.queries):
            raise ValueError(
                f"Results for '{first.problem}' in {folder} do not match: {record.method}, seed {record.seed}, "
                f"has {len(record.best)} rows and a budget of {record.queries[-1]}, {first.method}, seed {first.seed}, "
                f"has {len(first.best)} and {first.queries[-1]}. Keep them in folders of their own, or run again."
            )
