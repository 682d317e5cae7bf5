"""`make policies`: learned policies against everything else, resumable; then tables, the bars, and pictures."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from benchmarks.bars import write_bars
from benchmarks.figures.filmstrip import write_filmstrip
from benchmarks.figures.gallery import write_gallery
from benchmarks.plan import Table
from benchmarks.runner import RunArgs, run_table
from benchmarks.solvers import online as online_solvers
from benchmarks.solvers import policies as policy_solvers
from benchmarks.suites import online, policies
from benchmarks.suites.task import Task
from benchmarks.tables import write_tables
from zo_gym.agents.console import fail_clearly
from zo_gym.agents.policies import pretrained

PICTURED = ("policy", "zo-sgd")
"""The methods that the gallery shows."""


@dataclass(frozen=True)
class PoliciesArgs:
    """Train policies on 50 images, attack 50 that nothing else uses, and learn while descending on classification.

    Results that exist are kept: run it again to go on after an interruption.
    """

    quick: bool = False
    """An attack on 8 x 8 digits and two starts of heart_scale, in minutes."""
    validation: bool = False
    """Attack validation images instead, one repeat: choices are made on these, so that fresh images stay unseen."""
    run: Annotated[RunArgs, tyro.conf.arg(name="")] = field(default_factory=RunArgs)
    """Options that all suites share; the results are in results/policies, or with -quick or -validation behind it,
    unless others are named."""


@dataclass(frozen=True)
class Part:
    """Describes a part of the benchmark that runs as one table.

    Attributes:
        table: Names its tasks and solvers for the workers.
        tasks: Its tasks by name.
        methods: The solvers that are tried on them, in this order.
        place: Folder of its results, within those of all parts.
        pictured: Whether its attacks are shown.
    """

    table: Table
    tasks: Mapping[str, Task]
    methods: tuple[str, ...]
    place: str = "."
    pictured: bool = False


def run_policies(args: PoliciesArgs) -> Path:
    """Run what is left, write tables, bars and pictures, and return their folder.

    Raises:
        ValueError: An argument is not as described, or jobs failed.
    """
    options = args.run
    kind = "-quick" if args.quick else "-validation" if args.validation else ""
    folder = options.results or Path("results") / f"policies{kind}"
    for part in _parts(kind):
        tasks = tuple(name for name in part.tasks if not options.tasks or name in options.tasks)
        methods = tuple(name for name in part.methods if not options.methods or name in options.methods)
        if tasks and methods:
            place = folder / part.place
            run_table(part.table, tasks, methods, place, workers=options.workers, progress=options.progress)
    out = folder / "figures"
    write_tables(folder, out)
    if (folder / policies.ABLATIONS_FOLDER).is_dir():
        write_tables(folder / policies.ABLATIONS_FOLDER, out / policies.ABLATIONS_FOLDER)
    print(write_bars(folder, out).read_text(encoding="utf-8"))
    for part in _parts(kind):
        for name, task in part.tasks.items():
            if part.pictured:
                _draw_pictures(folder, name, task, out)
    print(f"Figures and tables: {out}")
    return out


def try_pretrained(name: str, out: Path | None = None, *, workers: int = 2, progress: bool = True) -> Path:
    """Attack fresh images with a policy that ships, beside its controls; print the table.

    Args:
        name: One of `zo_gym.agents.policies.pretrained.names()`.
        out: Folder of results, tables and pictures; None: results/pretrained/<name>. Results that exist are kept.
        workers: Number of processes.
        progress: Show a bar.

    Returns:
        The folder of tables and pictures.

    Raises:
        ValueError: The name is unknown, or jobs failed.
    """
    source = pretrained.folder(name)
    task = policies.PRETRAINED[name]
    folder = out or Path("results") / "pretrained" / name
    place = policies.policy_folder(task, folder / task.name, "slopes", 0)
    place.mkdir(parents=True, exist_ok=True)
    for file in ("weights.safetensors", "config.json"):
        shutil.copyfile(source / file, place / file)
    table = _attacks("PRETRAINED_BY_PROBLEM", policy_solvers.QUICK_METHODS).table
    run_table(table, (task.name,), policy_solvers.QUICK_METHODS, folder, workers=workers, progress=progress)
    figures = folder / "figures"
    text, _ = write_tables(folder, figures)
    print(text.read_text(encoding="utf-8"))
    _draw_pictures(folder, task.name, task, figures)
    print(f"Tables and pictures: {figures}")
    return figures


def _attacks(attribute: str, methods: tuple[str, ...], place: str = ".") -> Part:
    table = Table(policy_solvers.__name__, f"{policies.__name__}:{attribute}")
    return Part(table, getattr(policies, attribute), methods, place, pictured=place == ".")


def _descents(attribute: str) -> Part:
    table = Table(online_solvers.__name__, f"{online.__name__}:{attribute}")
    return Part(table, getattr(online, attribute), tuple(online_solvers.SOLVERS))


def _parts(kind: str) -> list[Part]:
    if kind == "-validation":
        return [_attacks("VALIDATION", tuple(policy_solvers.SOLVERS))]
    if kind == "-quick":
        return [_attacks("QUICK", policy_solvers.QUICK_METHODS), _descents("QUICK")]
    return [
        _attacks("SUITE", policy_solvers.MAIN),
        _attacks("TRANSFER", policy_solvers.TRANSFERRED),
        _descents("SUITE"),
        _attacks("ABLATIONS", policy_solvers.ABLATED, policies.ABLATIONS_FOLDER),
    ]


def _draw_pictures(folder: Path, name: str, task: Task, out: Path) -> None:
    if all((folder / name / method).is_dir() for method in PICTURED):
        write_gallery(folder, name, out, PICTURED)
        write_filmstrip(folder, task, out)


def main() -> None:
    """Run `make policies` from the command line."""
    with fail_clearly():
        run_policies(tyro.cli(PoliciesArgs))


if __name__ == "__main__":
    main()
