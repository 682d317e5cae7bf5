"""`python evaluate.py RUN`: a trained policy on fresh starts. Also `--pretrained NAME`, `--figure NAME`, `--peers`."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro

from zo_gym.checks import check_at_least, check_integer
from zo_gym.files import write_atomically, write_json, write_text

from .arguments import TrainArgs, load_args, resolve_device
from .compare import FIRST_TEST_SEED, compare, markdown, print_table, rows_of
from .console import fail_clearly, saving_to
from .curves import Curves, grid_of, on_grid
from .peer_options import PeerOptions
from .plots import figure
from .policies.bundle import load_policy
from .training_run import prepare, train_in_memory


@dataclass(frozen=True)
class EvaluateArgs:
    """Run a trained policy on fresh starts beside its controls; or redraw a figure; or compare with other libraries."""

    run: Annotated[Path | None, tyro.conf.Positional] = None
    """A run folder, or a policy folder (config.json + weights.safetensors). Not with --figure."""
    figure: Literal["4", "5", "6", "tables", "gallery", "estimators"] | None = None
    """Redraw this from the results of `make paper`; "estimators" measures theory against practice, with no results."""
    pretrained: str | None = None
    """Attack fresh images with this policy that ships with the package, beside its controls; results are kept."""
    peers: bool = False
    """Compare zo_gym.minimize with other libraries' optimisers at equal queries (pip install 'zo-gym[peers]')."""
    results: Path = Path("results/paper")
    """For --figure: where `make paper` keeps its results. What is drawn goes to its subfolder figures, or to --out."""
    seeds: int = 10
    """Number of fresh starts of the policy in a run folder; a shipped one attacks 50 images."""
    first_seed: int = FIRST_TEST_SEED
    """Seed of the first start; the others follow. Training draws its starts elsewhere."""
    exploration: float | None = None
    """Norm of Gaussian noise added to the unit action; None: as in training. 0: the bare policy."""
    budget: int | None = None
    """Queries of every run of the policy in a run folder; None: as in training. A shipped one has 5,000."""
    from_scratch: bool = False
    """Also train anew from every start within the budget, so that no query is free (needs a run folder)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the network lives."""
    workers: int = 2
    """For --pretrained and --peers: processes, one CPU thread each."""
    out: Path | None = None
    """Where what is written goes; None: RUN/evaluation, RESULTS/figures, results/pretrained/NAME, or results/peers."""
    comparison: PeerOptions = field(default_factory=PeerOptions)
    """For --peers."""


def learn_from_scratch(args: TrainArgs, settings: dict[str, Any], seeds: Sequence[int]) -> Curves:
    """Train one fresh agent per seed that learns while it optimises; every one of its `budget` queries counts."""
    budget = int(settings["budget"])
    grid = grid_of(budget)
    best, spent = [], []
    for seed in seeds:
        own = dataclasses.replace(
            args, seed=seed, budget=budget, total_queries=budget, num_envs=1, eval_seeds=0, progress=False
        )
        queries, values = train_in_memory(prepare(own))
        best.append(on_grid(grid, queries, np.minimum.accumulate(values).tolist()))
        spent.append(queries[-1])
    return Curves("policy learning from scratch", grid, np.stack(best), None, np.array(spent))


def write_csv(curves: Sequence[Curves], path: Path) -> None:
    """Write one line per method and query count, atomically: mean and std of best f, and of |cos| where measured."""
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


def from_benchmarks(module: str, name: str, flag: str) -> Callable[..., Any]:
    """Import a function of the folder benchmarks, which the repository has; an installed package raises ImportError."""
    try:
        found: Callable[..., Any] = getattr(import_module(f"benchmarks.{module}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "benchmarks":
            raise
        raise ImportError(
            f"{flag} needs the folder benchmarks, which the installed package lacks. Run it in a checkout of the "
            f"repository: python evaluate.py {flag}"
        ) from error
    return found


def redraw(args: EvaluateArgs) -> list[Path]:
    """Do what `python evaluate.py --figure NAME` does, and return the files written.

    Raises:
        FileNotFoundError, ValueError: There are no results, or a run folder was given, too.
        ImportError: This is not a checkout of the repository.
    """
    _refuse_others(args, "--figure", "figure", "results")
    draw = from_benchmarks("figures.catalogue", "draw", f"--figure {args.figure}")
    torch.set_num_threads(1)
    files: list[Path] = draw(args.figure, args.results, args.out or args.results / "figures")
    print("Wrote " + ", ".join(str(file) for file in files))
    return files


def run_pretrained(args: EvaluateArgs) -> Path:
    """Do what `python evaluate.py --pretrained NAME` does, and return the folder of tables and pictures.

    Raises:
        ValueError: Unknown name, a run folder or --figure was given, too, or jobs failed.
        ImportError: This is not a checkout of the repository.
    """
    _refuse_others(args, "--pretrained", "pretrained", "workers")
    try_pretrained = from_benchmarks("policies", "try_pretrained", f"--pretrained {args.pretrained}")
    folder: Path = try_pretrained(args.pretrained, args.out, workers=args.workers)
    return folder


def run_peers(args: EvaluateArgs) -> list[Path]:
    """Do what `python evaluate.py --peers` does, and return the files written.

    Raises:
        ValueError: An option is not as described, or one of another mode was given, too; or runs could not begin.
        ImportError: This is not a checkout of the repository, or a library is missing.
    """
    _refuse_others(args, "--peers", "peers", "workers", *vars(args.comparison))
    compare_peers = from_benchmarks("peers.command", "compare_peers", "--peers")
    files: list[Path] = compare_peers(args.comparison, args.out, args.workers)
    return files


def _refuse_others(args: EvaluateArgs, mode: str, *own: str) -> None:
    """Raise ValueError for an argument beside `mode` that is neither its own nor for all modes."""
    defaults = {**vars(EvaluateArgs()), **vars(PeerOptions())}
    for name, given in {**vars(args), **vars(args.comparison)}.items():
        if name not in (*own, "device", "out", "comparison") and given != defaults[name]:
            what = f"run folder, got {given}" if name == "run" else f"--{name.replace('_', '-')}, got {given}"
            raise ValueError(f"{mode} takes no {what}. Drop one of the two.")


def run_evaluation(args: EvaluateArgs) -> list[dict[str, Any]]:
    """Do what `python evaluate.py RUN` does, and return the table's rows.

    Raises:
        FileNotFoundError, NotADirectoryError, ValueError: No policy is there, or an argument is not as described.
    """
    check_integer("--seeds", args.seeds, 1)
    check_integer("--first-seed", args.first_seed, 0)
    check_at_least("--exploration", args.exploration or 0.0, 0.0)
    if args.run is None:
        raise ValueError(
            "Pass a run folder that train.py made, --pretrained, --figure, or --peers. See evaluate.py --help"
        )
    _refuse_others(args, "a run folder", "run", "seeds", "first_seed", "exploration", "budget", "from_scratch")
    if not args.run.exists():
        raise FileNotFoundError(f"No run folder at {args.run}. Train one first: python train.py")
    torch.set_num_threads(1)
    if args.from_scratch and not (args.run / "policy").is_dir():
        raise ValueError(f"--from-scratch trains with a run's arguments, and {args.run} holds only a policy.")
    policy = load_policy(args.run, resolve_device(args.device))
    if args.exploration is not None:
        policy = dataclasses.replace(policy, config=dataclasses.replace(policy.config, exploration=args.exploration))
    settings = dict(policy.config.environment)
    if args.budget is not None:
        settings["budget"] = args.budget
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    curves = compare(policy, settings, seeds)
    if args.from_scratch:
        curves.insert(1, learn_from_scratch(load_args(args.run), settings, seeds))
    return report(curves, f"{settings['problem']}, {policy.config.algo}", args.out or args.run / "evaluation")


def report(curves: Sequence[Curves], name: str, out: Path) -> list[dict[str, Any]]:
    """Print the table, write it with the curves and their figure, and return its rows."""
    rows = rows_of(curves)
    print_table(rows, f"{name}: best f, mean ± std over {rows[0]['runs']} fresh starts")
    drawing = figure(curves, name)
    with saving_to(out):
        write_json(out / "table.json", rows)
        write_text(out / "table.md", markdown(rows))
        write_csv(curves, out / "curves.csv")
        write_atomically(out / "curves.png", lambda path: drawing.savefig(path, dpi=150, format="png"))
    print(f"Saved in {out}: table.md, table.json, curves.csv, curves.png")
    return rows


def main() -> None:
    """Run evaluate.py."""
    with fail_clearly():
        args = tyro.cli(EvaluateArgs, config=(tyro.conf.OmitArgPrefixes,))
        if args.peers:
            run_peers(args)
        elif args.pretrained is not None:
            run_pretrained(args)
        elif args.figure is not None:
            redraw(args)
        else:
            run_evaluation(args)


if __name__ == "__main__":
    main()
