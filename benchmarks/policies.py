"""`make policies`: learned policies against everything else, resumable; then tables, the bars, and pictures."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import tyro
from zo_gym.agents import online as online
from zo_gym.agents import policies as offline
from zo_gym.agents import policy_tasks as images
from zo_gym.agents import pretrained
from zo_gym.agents.console import fail_clearly

from benchmarks.bars import write_bars
from benchmarks.filmstrip import write_strip
from benchmarks.gallery import write_gallery
from benchmarks.paper import run_table
from benchmarks.runner import Table
from benchmarks.suites.paper import Task
from benchmarks.suites.policies import APART, PRETRAINED, policy_folder
from benchmarks.tables import write_tables
from zo_gym.checks import check_integer

PICTURED = ("policy", "zo-sgd")
"""Whose images the gallery shows."""


@dataclass(frozen=True)
class PoliciesArgs:
    """Train policies on 50 images, attack 50 that nobody looked at, and learn while descending on classification.

    Results that exist are kept: run it again to go on after an interruption.
    """

    quick: bool = False
    """An attack on 8 x 8 digits and two starts of heart_scale, in minutes."""
    validation: bool = False
    """Attack validation images instead, one repeat: what to choose by, so that fresh images stay unseen until then."""
    results: Path | None = None
    """Where result files live; None: results/policies, or with -quick or -validation behind it."""
    tasks: tuple[str, ...] = ()
    """Only these problems."""
    methods: tuple[str, ...] = ()
    """Only these methods."""
    workers: int = 2
    """Processes, one CPU thread each."""
    progress: bool = True
    """Show a progress bar."""


def run_policies(args: PoliciesArgs) -> Path:
    """What `make policies` does; returns the folder of the figures.

    Raises:
        ValueError: An argument is not as described, or jobs failed.
    """
    check_integer("--workers", args.workers, 1)
    kind = "-quick" if args.quick else "-validation" if args.validation else ""
    folder = args.results or Path("results") / f"policies{kind}"
    for part in _parts(kind):
        chosen = tuple(name for name in part.tasks if not args.tasks or name in args.tasks)
        some = tuple(name for name in part.methods if not args.methods or name in args.methods)
        if chosen and some:
            run_table(part.table, chosen, some, folder / part.place, workers=args.workers, progress=args.progress)
    out = folder / "figures"
    write_tables(folder, out)
    if (folder / APART).is_dir():
        write_tables(folder / APART, out / APART)
    print(write_bars(folder, out).read_text(encoding="utf-8"))
    for part in _parts(kind):
        for name, task in part.tasks.items():
            if part.pictured:
                _picture(folder, name, task, out)
    print(f"Figures and tables: {out}")
    return out


def try_pretrained(name: str, out: Path | None = None, *, workers: int = 2, progress: bool = True) -> Path:
    """Attack fresh images with a policy that ships, beside its controls; prints the table.

    Args:
        name: One of `zo_gym.agents.policies.pretrained.names()`.
        out: Where results, tables and pictures go; None: results/pretrained/<name>. What is there is not done again.
        workers: Processes.
        progress: Show a bar.

    Returns:
        The folder of tables and pictures.

    Raises:
        ValueError: Unknown name, or jobs failed.
    """
    source = pretrained.folder(name)
    task = PRETRAINED[name]
    folder = out or Path("results") / "pretrained" / name
    place = policy_folder(task, folder / task.name, "slopes", 0)
    place.mkdir(parents=True, exist_ok=True)
    for file in ("weights.safetensors", "config.json"):
        shutil.copyfile(source / file, place / file)
    table = Table(offline.__name__, f"{images.__name__}:BY_TASK")
    run_table(table, (task.name,), offline.QUICK_METHODS, folder, workers=workers, progress=progress)
    figures = folder / "figures"
    text, _ = write_tables(folder, figures)
    print(text.read_text(encoding="utf-8"))
    _picture(folder, task.name, task, figures)
    print(f"Tables and pictures: {figures}")
    return figures


@dataclass(frozen=True)
class Part:
    """What runs as one table.

    Attributes:
        table: Where workers find it.
        tasks: Its tasks by name.
        methods: Tried on them, in this order.
        place: Where its results are, within those of all parts.
        pictured: Are its attacks shown?
    """

    table: Table
    tasks: dict[str, Task]
    methods: tuple[str, ...]
    place: str = "."
    pictured: bool = False


def _attacks(attribute: str, methods: tuple[str, ...], place: str = ".") -> Part:
    table = Table(offline.__name__, f"{images.__name__}:{attribute}")
    return Part(table, getattr(images, attribute), methods, place, pictured=place == ".")


def _descents(attribute: str) -> Part:
    table = Table(online.__name__, f"{online.__name__}:{attribute}")
    return Part(table, getattr(online, attribute), tuple(online.SOLVERS))


def _parts(kind: str) -> list[Part]:
    if kind == "-validation":
        return [_attacks("VALIDATION", tuple(offline.SOLVERS))]
    if kind == "-quick":
        return [_attacks("QUICK", offline.QUICK_METHODS), _descents("QUICK")]
    return [
        _attacks("TASKS", offline.MAIN),
        _attacks("TRANSFER", offline.TRANSFERRED),
        _descents("TASKS"),
        _attacks("ABLATIONS", offline.ABLATED, APART),
    ]


def _picture(folder: Path, name: str, task: Task, out: Path) -> None:
    if all((folder / name / method).is_dir() for method in PICTURED):
        write_gallery(folder, name, out, PICTURED)
        write_strip(folder, task, out)


def main() -> None:
    """Entry point of `make policies`."""
    with fail_clearly():
        run_policies(tyro.cli(PoliciesArgs))


if __name__ == "__main__":
    main()
