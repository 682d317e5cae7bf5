"""Redraw figures and tables by name from stored results, for `python evaluate.py --figure NAME`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.figures.gallery import write_gallery
from benchmarks.figures.paper_figures import write_figure
from benchmarks.suites.paper import QUICK, SUITE
from benchmarks.tables import write_tables
from benchmarks.theory.figure import estimators_figure
from zo_gym.registry import lookup


def _paper_figure(name: str) -> Callable[[Path, Path], list[Path]]:
    return lambda folder, out: list(write_figure(name, folder, out))


def _galleries(folder: Path, out: Path) -> list[Path]:
    attacks = [name for name, task in {**SUITE, **QUICK}.items() if task.kind == "attack" and (folder / name).is_dir()]
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
"""Name -> function of (folder of results, folder of figures) that writes files and returns their paths.

"estimators" measures anew, without results."""


def draw(name: str, folder: Path, out: Path) -> list[Path]:
    """Write one figure and return its files.

    Raises:
        ValueError: The figure is unknown.
        FileNotFoundError: There are no results to draw.
    """
    return lookup(FIGURES, name, "figure")(folder, out)


def draw_all(folder: Path) -> Path:
    """Write every figure and table that the stored results allow, and return their folder."""
    out = folder / "figures"
    for name in ("tables", "4", "5", "6", "gallery"):
        try:
            draw(name, folder, out)
        except FileNotFoundError as error:
            print(f"Figure {name} is left out: {error}")
    return out
