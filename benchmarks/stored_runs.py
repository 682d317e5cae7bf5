"""Store finished runs as small files: numbers in npz (no pickle), and what made them as JSON inside."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zo_gym.files import write_atomically

RECORD_FORMAT = 1
"""Version of the file format; files of another version are refused."""


@dataclass(frozen=True)
class Record:
    """Holds N runs of one method on one problem with one seed: one start (N = 1), or every image of an attack.

    Attributes:
        problem: A task's name, e.g. "heart_scale" or "mnist_attack".
        method: A method's name, e.g. "zo-sgd".
        seed: Seed of start and directions, or the repeat's number.
        queries: The grid that curves are on, from 1 to the budget, int64 (T,).
        best: Least f at any iterate within so many queries, (N, T).
        cosine: cos(g, grad f) of the last step before so many queries, (N, T), NaN where there was none; None if not
            measured.
        spent: Queries that each run spent, int64 (N,).
        extras: Further arrays with leading dimension N, e.g. "success_at", the queries to the first adversarial
            iterate (-1: never), or "final_x".
        meta: What made this, as JSON: configuration, versions, seconds, training queries.
    """

    problem: str
    method: str
    seed: int
    queries: np.ndarray
    best: np.ndarray
    cosine: np.ndarray | None
    spent: np.ndarray
    extras: dict[str, np.ndarray] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)


def path_of(folder: Path, problem: str, method: str, seed: int) -> Path:
    """Return where the record of this run is kept."""
    return folder / problem / method / f"{seed}.npz"


def save_record(folder: Path, record: Record) -> Path:
    """Write the record to its place, atomically, and return the path."""
    arrays = {"queries": record.queries, "best": record.best, "spent": record.spent}
    if record.cosine is not None:
        arrays["cosine"] = record.cosine.astype(np.float32)
    arrays |= {f"extra_{name}": value for name, value in record.extras.items()}
    head = {"format": RECORD_FORMAT, "problem": record.problem, "method": record.method, "seed": record.seed}
    text = np.array(json.dumps(head | {"meta": record.meta}, default=str))
    path = path_of(folder, record.problem, record.method, record.seed)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez_compressed(file, head=text, **arrays)  # type: ignore[arg-type]

    write_atomically(path, write)
    return path


def load_record(path: Path) -> Record:
    """Load the record that `save_record` wrote. Runs no code from the file.

    Raises:
        ValueError: The file is damaged, or of another format.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            head = json.loads(str(file["head"]))
            if head["format"] != RECORD_FORMAT:
                raise ValueError(f"format {head['format']}, expected {RECORD_FORMAT}")
            extras = {name.removeprefix("extra_"): file[name] for name in file.files if name.startswith("extra_")}
            cosine = file["cosine"] if "cosine" in file.files else None
            return Record(
                problem=head["problem"],
                method=head["method"],
                seed=head["seed"],
                queries=file["queries"],
                best=file["best"],
                cosine=cosine,
                spent=file["spent"],
                extras=extras,
                meta=head["meta"],
            )
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a result of this version ({error}). Remove it and run again.") from error


def load_all(folder: Path, problem: str, method: str) -> list[Record]:
    """Load every stored seed of a method on a problem, in order of seeds."""
    found = [load_record(path) for path in (folder / problem / method).glob("*.npz") if not path.name.startswith(".")]
    return sorted(found, key=lambda record: record.seed)
