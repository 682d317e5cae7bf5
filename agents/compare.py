"""The comparison that ends a run: the policy, its matched controls and tuned ZO-SGD, at equal queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from zo_gym.problem import Problem
from zo_gym.problems import has_splits

from .curves import Curves, Starts, draw_starts, problem_of, run_followed, run_method, run_policy, tuned_zo_sgd
from .policies.bundle import Policy, new_policy
from .presets import DIRECTIONAL

FIRST_TEST_SEED, FIRST_TUNING_SEED = 1_000_000, 2_000_000
"""Reporting and tuning use starts of their own; training draws from the run's own seed."""
TUNING_RUNS = 3
"""Starts that ZO-SGD's eta is tuned on."""


def compare(policy: Policy, settings: Mapping[str, Any], seeds: Sequence[int]) -> list[Curves]:
    """Run the policy as trained, the same network untrained, a random direction with the same step rule, tuned ZO-SGD.

    All start from the same points and spend the same queries; the first two explore with the same noise and share the
    gate, too. The policy's training queries are not part of its curve: the table says how many they were. Where the
    problem has splits, training and tuning use the split "train", and what is compared is "test".

    A policy of slopes that was trained on such a split is also followed as the shipped policies are, corrected by the
    run's own slopes (`zo_gym.agents.policies.methods.follow`), and so is the untrained network; there the
    composite term of f is taken exactly, for ZO-SGD too.

    Args:
        policy: The trained policy.
        settings: Keywords of the environment that it was trained for.
        seeds: Seeds of the starts.
    """
    known = problem_of(settings)  # built once: reading a data set can take longer than a run
    problem = problem_of(held_out(settings)) if has_splits(settings["problem"]) else known
    training = {**settings, "problem": known, "problem_options": None}
    settings = {**settings, "problem": problem, "problem_options": None}
    starts = draw_starts(settings, seeds)
    tuning = draw_starts(training, range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + TUNING_RUNS))
    untrained = new_policy(policy.config, policy.device, seed=FIRST_TEST_SEED)
    eta, update = settings["learning_rate"], settings["update"]
    random = run_method(f"random, {update} (control)", starts, method="rand-ada", update=update, learning_rate=eta)
    if not guesses_gradients(policy, problem):
        return [
            _alone("trained policy", settings, policy, seeds),
            _alone("untrained (control)", settings, untrained, seeds),
            random,
            _zo_sgd("ZO-SGD", tuning, starts),
        ]
    exact = [] if problem.composite is None else [_zo_sgd("ZO-SGD, composite exact", tuning, starts, composite=True)]
    return [
        run_followed("trained policy + gp", starts, policy),
        run_followed("untrained + gp (control)", starts, untrained),
        _alone("trained policy alone", settings, policy, seeds),
        random,
        *exact,
        _zo_sgd("ZO-SGD", tuning, starts),
    ]


def guesses_gradients(policy: Policy, problem: Problem) -> bool:
    """Tell whether the policy guesses the gradient of any instance of the problem, from x and the context."""
    return (
        problem.size > 1
        and policy.config.network == DIRECTIONAL
        and policy.config.environment["observation"] in ("x", "context")
    )


def _alone(name: str, settings: Mapping[str, Any], policy: Policy, seeds: Sequence[int]) -> Curves:
    """Run the policy in the environment, as it was trained."""
    watched = {**settings, "diagnostics": settings["problem"].gradient is not None}
    return run_policy(name, watched, policy, seeds, policy.config.exploration, FIRST_TEST_SEED)


def _zo_sgd(name: str, tuning: Starts, starts: Starts, **options: Any) -> Curves:
    """Run ZO-SGD with the eta that is best from the tuning starts."""
    eta, _ = tuned_zo_sgd(tuning, **options)
    return run_method(f"{name}, tuned eta {eta:.3g}", starts, method="zo-sgd", learning_rate=eta, **options)


def held_out(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with the test split, unless they name a split or the problem has none."""
    if not has_splits(settings["problem"]):
        return dict(settings)
    return {**settings, "problem_options": {"split": "test", **(settings.get("problem_options") or {})}}


def rows_of(curves: Sequence[Curves]) -> list[dict[str, Any]]:
    """Return one row per method: mean and std of best f at three query counts, and queries spent.

    The counts are a tenth, a half and all of the budget; where a method is `early`, a hundredth, a tenth and all of it.
    """
    shares = (100, 10, 1) if any(c.early for c in curves) else (10, 2, 1)
    rows = []
    for c in curves:
        budget = int(c.queries[-1])
        row: dict[str, Any] = {"method": c.name, "runs": len(c.best)}
        for at in (max(1, budget // share) for share in shares):
            values = c.best[:, np.searchsorted(c.queries, at, side="right") - 1]
            row[f"f at {at}"] = float(values.mean())
            row[f"std at {at}"] = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        row["queries"] = float(c.spent.mean())
        rows.append(row)
    return rows


def print_table(rows: Sequence[Mapping[str, Any]], title: str) -> None:
    """Print the rows, f as mean +- std; the least final mean is bold."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    columns = [name for name in rows[0] if name.startswith("f at ")]
    table.add_column("method", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    least = min(row[columns[-1]] for row in rows)
    for row in rows:
        cells = _cells(row, columns)
        style = "bold" if row[columns[-1]] == least else ""
        table.add_row(str(row["method"]), *cells, style=style)
    Console().print(table)
    spent = sorted({round(row["queries"]) for row in rows})
    print(f"Queries spent by each run: {' to '.join(str(n) for n in spent[:: max(1, len(spent) - 1)])}.")


def _cells(row: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    """Write f, and from two runs on its standard deviation, in each of these columns."""
    spread = {name: f"±{row[name.replace('f at', 'std at')]:.1g}" if row["runs"] > 1 else "" for name in columns}
    return [f"{row[name]:.4g}{spread[name]}" for name in columns]


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write the rows as a Markdown table."""
    columns = [name for name in rows[0] if name.startswith("f at ")]
    lines = [f"| method | runs | {' | '.join(columns)} |", "|---|---|" + "---|" * len(columns)]
    for row in rows:
        cells = _cells(row, columns)
        lines.append(f"| {row['method']} | {row['runs']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
