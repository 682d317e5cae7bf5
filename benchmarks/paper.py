"""`make paper`: the experiments of the paper's section 4, resumable, then their figures and tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from benchmarks.figures.catalogue import draw_all
from benchmarks.orderings import broken
from benchmarks.plan import Table
from benchmarks.runner import RunArgs, run_table
from benchmarks.solvers.agents import SOLVERS
from benchmarks.suites.paper import QUICK, SUITE
from zo_gym.agents.console import fail_clearly


@dataclass(frozen=True)
class PaperArgs:
    """Run every method on every problem of the paper's section 4 at equal queries; draw figures and tables.

    Results that exist are kept: run it again to go on after an interruption.
    """

    quick: bool = False
    """Two seeds of heart_scale and an attack on 8 x 8 digits, in minutes; then check orderings that must hold."""
    run: Annotated[RunArgs, tyro.conf.arg(name="")] = field(default_factory=RunArgs)
    """Options that all suites share; the results are in results/paper, or results/quick, unless others are named."""


def run_paper(args: PaperArgs) -> Path:
    """Run what is left, draw it, and return the folder of the figures.

    Raises:
        ValueError: An argument is not as described, jobs failed, or an ordering of the quick run does not hold.
    """
    options, suite = args.run, QUICK if args.quick else SUITE
    folder = options.results or Path("results") / ("quick" if args.quick else "paper")
    table = Table("benchmarks.solvers.agents", f"benchmarks.suites.paper:{'QUICK' if args.quick else 'SUITE'}")
    tasks, methods = options.tasks or tuple(suite), options.methods or tuple(SOLVERS)
    run_table(table, tasks, methods, folder, workers=options.workers, progress=options.progress)
    out = draw_all(folder)
    print((out / "tables.md").read_text(encoding="utf-8"))
    print(f"Figures and tables: {out}")
    if args.quick and not (options.tasks or options.methods):
        wrong = broken(folder)
        if wrong:
            raise ValueError("Orderings that must hold do not: " + " ".join(wrong))
        print("All orderings that must hold do.")
    return out


def main() -> None:
    """Run `make paper` from the command line."""
    with fail_clearly():
        run_paper(tyro.cli(PaperArgs))


if __name__ == "__main__":
    main()
