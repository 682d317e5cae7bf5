"""`python evaluate.py RUN`: a trained policy on fresh starts; `--pretrained NAME`: one that ships; `--figure NAME`."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro

from benchmarks.figures.catalogue import draw
from benchmarks.policies import try_pretrained
from zo_gym.files import write_atomically, write_json, write_text

from .arguments import TrainArgs, load_args, resolve_device
from .compare import FIRST_TEST_SEED, compare, markdown, print_table, rows_of
from .console import fail_clearly
from .curves import Curves
from .plots import figure
from .policies.bundle import load_policy
from .query_grid import grid_of, on_grid
from .train import prepare, train_in_memory


@dataclass(frozen=True)
class EvaluateArgs:
    """Run a trained policy on fresh starts beside its controls; or redraw a figure of the paper from stored results."""

    run: Annotated[Path | None, tyro.conf.Positional] = None
    """A run folder, or a policy folder (config.json + weights.safetensors). Not with --figure."""
    figure: Literal["4", "5", "6", "tables", "gallery", "estimators"] | None = None
    """Redraw this from the results of `make paper`; "estimators" measures theory against practice, with no results."""
    pretrained: str | None = None
    """Attack fresh images with this policy that ships with the package, beside its controls; results are kept."""
    results: Path = Path("results/paper")
    """For --figure: where `make paper` keeps its results. What is drawn goes to its subfolder figures, or to --out."""
    seeds: int = 10
    """Fresh starts."""
    first_seed: int = FIRST_TEST_SEED
    """Of the first start; the others follow. Training draws its starts elsewhere."""
    exploration: float | None = None
    """Norm of Gaussian noise added to the unit action; None: as in training. 0: the bare policy."""
    budget: int | None = None
    """Queries of every run; None: as in training."""
    from_scratch: bool = False
    """Also train anew from every start within the budget, so that no query is free (needs a run folder)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the network lives."""
    workers: int = 2
    """For --pretrained: processes, one CPU thread each."""
    out: Path | None = None
    """Where what is written goes; None: RUN/evaluation, RESULTS/figures, or results/pretrained/NAME."""


def learn_from_scratch(args: TrainArgs, settings: dict[str, Any], seeds: Sequence[int]) -> Curves:
    """One fresh agent a seed that learns while it optimises: its first `budget` queries, every one counted."""
    budget = int(settings["budget"])
    grid = grid_of(budget)
    best, spent = [], []
    for seed in seeds:
        own = dataclasses.replace(
            args, seed=seed, budget=budget, total_queries=budget, num_envs=1, eval_seeds=0, progress=False
        )
        queries, values = train_in_memory(prepare(own, Path()))
        best.append(on_grid(grid, queries, np.minimum.accumulate(values).tolist()))
        spent.append(queries[-1])
    return Curves("policy learning from scratch", grid, np.stack(best), None, np.array(spent))


def write_csv(curves: Sequence[Curves], path: Path) -> None:
    """One line per method and query count: mean and std of best f, and of |cos| where measured; atomically."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["method", "queries", "best_f_mean", "best_f_std", "cosine_mean", "cosine_std"])
    for c in curves:
        for column, queries in enumerate(c.queries):
            cosine = ["", ""]
            if c.cosine is not None and np.isfinite(c.cosine[:, column]).any():
                known = c.cosine[:, column]
                cosine = [repr(float(np.nanmean(known))), repr(float(np.nanstd(known)))]
            values = c.best[:, column]
            writer.writerow([c.name, int(queries), repr(float(values.mean())), repr(float(values.std())), *cosine])
    write_text(path, text.getvalue())


def redraw(args: EvaluateArgs) -> list[Path]:
    """What `python evaluate.py --figure NAME` does; returns the files it wrote.

    Raises:
        FileNotFoundError, ValueError: No results there, or a run folder was given, too.
    """
    assert args.figure is not None
    if args.run is not None:
        raise ValueError(f"--figure draws stored results and takes no run folder, got {args.run}. Drop one of the two.")
    torch.set_num_threads(1)
    files = draw(args.figure, args.results, args.out or args.results / "figures")
    print("Wrote " + ", ".join(str(file) for file in files))
    return files


def run_pretrained(args: EvaluateArgs) -> Path:
    """What `python evaluate.py --pretrained NAME` does; returns the folder of tables and pictures.

    Raises:
        ValueError: Unknown name, a run folder or --figure was given, too, or jobs failed.
    """
    assert args.pretrained is not None
    if args.run is not None or args.figure is not None:
        raise ValueError("--pretrained takes no run folder and no --figure. Drop one of the two.")
    return try_pretrained(args.pretrained, args.out, workers=args.workers)


def run_evaluation(args: EvaluateArgs) -> list[dict[str, Any]]:
    """What `python evaluate.py RUN` does; returns the table's rows.

    Raises:
        FileNotFoundError, ValueError: No policy there, or an argument is not as described.
    """
    if args.seeds < 1:
        raise ValueError(f"--seeds must be >= 1, got {args.seeds}.")
    if args.first_seed < 0:
        raise ValueError(f"--first-seed must be >= 0, got {args.first_seed}.")
    torch.set_num_threads(1)
    if args.run is None:
        raise ValueError(
            "Pass a run folder that train.py made, --pretrained, or --figure. See python evaluate.py --help"
        )
    if not args.run.is_dir():
        raise FileNotFoundError(f"No run folder at {args.run}. Train one first: python train.py")
    is_run = (args.run / "policy").is_dir()
    policy = load_policy(args.run / "policy" if is_run else args.run, resolve_device(args.device))
    if args.exploration is not None:
        policy = dataclasses.replace(policy, config=dataclasses.replace(policy.config, exploration=args.exploration))
    settings = dict(policy.config.environment)
    if args.budget is not None:
        settings["budget"] = args.budget
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    curves = compare(policy, settings, seeds)
    if args.from_scratch:
        if not is_run:
            raise ValueError(f"--from-scratch trains with a run's arguments, and {args.run} holds only a policy.")
        curves.insert(1, learn_from_scratch(load_args(args.run), settings, seeds))
    out = args.out or args.run / "evaluation"
    rows = rows_of(curves)
    name = str(settings["problem"])
    print_table(rows, f"{name}: best f, mean ± std over {args.seeds} fresh starts")
    write_json(out / "table.json", rows)
    write_text(out / "table.md", markdown(rows))
    write_csv(curves, out / "curves.csv")
    drawing = figure(curves, f"{name}, {policy.config.algo}")
    write_atomically(out / "curves.png", lambda path: drawing.savefig(path, dpi=150, format="png"))
    print(f"Saved in {out}: table.md, table.json, curves.csv, curves.png")
    return rows


def main() -> None:
    """Entry point of evaluate.py."""
    with fail_clearly():
        args = tyro.cli(EvaluateArgs)
        if args.pretrained is not None:
            run_pretrained(args)
        elif args.figure is not None:
            redraw(args)
        else:
            run_evaluation(args)


if __name__ == "__main__":
    main()
