"""`make policies`: learned policies against everything else, resumable; then tables, the bars, and pictures."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import tyro

from agents import online_contestants as online
from agents import policy_contestants as offline
from agents import pretrained
from agents.console import fail_clearly
from agents.paper import run_table
from agents.policy_bars import write_bars
from agents.strip import write_strip
from zo_gym.bench.gallery import write_gallery
from zo_gym.bench.report import write_tables
from zo_gym.bench.run import Table
from zo_gym.bench.tasks import Task
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
    for module, attribute, tasks, methods in _parts(kind):
        chosen = tuple(name for name in tasks if not args.tasks or name in args.tasks)
        some = tuple(name for name in methods if not args.methods or name in args.methods)
        if chosen and some:
            table = Table(module, f"{module}:{attribute}")
            run_table(table, chosen, some, folder, workers=args.workers, progress=args.progress)
    out = folder / "figures"
    write_tables(folder, out)
    print(write_bars(folder, out).read_text(encoding="utf-8"))
    for module, _, tasks, _ in _parts(kind):
        for name, task in tasks.items():
            if module == offline.__name__:
                _picture(folder, name, task, out)
    print(f"Figures and tables: {out}")
    return out


def try_pretrained(name: str, out: Path | None = None, *, workers: int = 2, progress: bool = True) -> Path:
    """Attack fresh images with a policy that ships, beside its controls; prints the table.

    Args:
        name: One of `agents.pretrained.names()`.
        out: Where results, tables and pictures go; None: results/pretrained/<name>. What is there is not done again.
        workers: Processes.
        progress: Show a bar.

    Returns:
        The folder of tables and pictures.

    Raises:
        ValueError: Unknown name, or jobs failed.
    """
    source = pretrained.folder(name)
    task = offline.PRETRAINED[name]
    folder = out or Path("results") / "pretrained" / name
    place = offline.policy_folder(task, folder / task.name, "slopes", 0)
    place.mkdir(parents=True, exist_ok=True)
    for file in ("weights.safetensors", "config.json"):
        shutil.copyfile(source / file, place / file)
    table = Table(offline.__name__, f"{offline.__name__}:BY_TASK")
    run_table(table, (task.name,), offline.QUICK_METHODS, folder, workers=workers, progress=progress)
    figures = folder / "figures"
    text, _ = write_tables(folder, figures)
    print(text.read_text(encoding="utf-8"))
    _picture(folder, task.name, task, figures)
    print(f"Tables and pictures: {figures}")
    return figures


def _parts(kind: str) -> list[tuple[str, str, dict[str, Task], tuple[str, ...]]]:
    """Module, its dict of tasks by name and as such, and the methods tried on them, in the order they are run."""
    attacks, descents = offline.__name__, online.__name__
    if kind == "-validation":
        return [(attacks, "VALIDATION", offline.VALIDATION, tuple(offline.CONTESTANTS))]
    if kind == "-quick":
        return [
            (attacks, "QUICK", offline.QUICK, offline.QUICK_METHODS),
            (descents, "QUICK", online.QUICK, tuple(online.CONTESTANTS)),
        ]
    return [
        (attacks, "TASKS", offline.TASKS, tuple(offline.CONTESTANTS)),
        (attacks, "TRANSFER", offline.TRANSFER, offline.TRANSFERRED),
        (descents, "TASKS", online.TASKS, tuple(online.CONTESTANTS)),
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
