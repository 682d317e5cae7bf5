"""`python evaluate.py --figure NAME`: figures and tables redrawn from stored results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.figures import write_figure
from benchmarks.gallery import write_gallery
from benchmarks.suites.paper import QUICK, TASKS
from benchmarks.tables import write_tables
from benchmarks.theory_figure import estimators_figure
from zo_gym.registry import lookup


def _paper_figure(name: str) -> Callable[[Path, Path], list[Path]]:
    return lambda folder, out: list(write_figure(name, folder, out))


def _galleries(folder: Path, out: Path) -> list[Path]:
    attacks = [name for name, task in {**TASKS, **QUICK}.items() if task.kind == "attack" and (folder / name).is_dir()]
    if not attacks:
        raise FileNotFoundError(f"No results of an attack in {folder}. Run `make paper` first.")
    return [write_gallery(folder, name, out) for name in attacks]


def _estimators(folder: Path, out: Path) -> list[Path]:
    estimators_figure(out)
    return [out / "estimators.png"]


FIGURES: dict[str, Callable[[Path, Path], list[Path]]] = {
    "4": _paper_figure("4"),
    "5": _paper_figure("5"),
    "6": _paper_figure("6"),
    "tables": lambda folder, out: list(write_tables(folder, out)),
    "gallery": _galleries,
    "estimators": _estimators,
}
"""Name -> (folder of results, folder of figures) -> the files it wrote; "estimators" measures anew, without results."""


def draw(name: str, folder: Path, out: Path) -> list[Path]:
    """Write one figure; returns its files.

    Raises:
        ValueError: Unknown figure.
        FileNotFoundError: There are no results to draw.
    """
    return lookup(FIGURES, name, "figure")(folder, out)


def draw_all(folder: Path) -> Path:
    """Write every figure and table that the stored results allow; returns the folder they are in."""
    out = folder / "figures"
    for name in ("tables", "4", "5", "6", "gallery"):
        try:
            draw(name, folder, out)
        except FileNotFoundError as error:
            print(f"Figure {name} is left out: {error}")
    return out
