"""What the benchmark of policies says about its bars: ratios within one set of results, as Markdown."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.results import Entry, entries
from benchmarks.solvers.online import TASKS as ONLINE
from benchmarks.suites.policies import TRANSFER
from zo_gym.files import write_text


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        name: What is measured.
        value: What came out; smaller is better.
        must: What it must not exceed.
        aim: What it should not exceed; None where there is no such number.
        form: How to print the three.
    """

    name: str
    value: float
    must: float
    aim: float | None = None
    form: str = ".2f"

    @property
    def verdict(self) -> str:
        """missed, met, or aim met."""
        if not self.value <= self.must:
            return "missed"
        return "aim met" if self.aim is not None and self.value <= self.aim else "met"


class Curves:
    """Mean curves of what is stored for one problem."""

    def __init__(self, folder: Path, problem: str) -> None:
        self.entries: dict[str, Entry] = {entry.method: entry for entry in entries(folder, problem)}

    def at(self, method: str, queries: int) -> float:
        """Mean best f within so many queries."""
        entry = self.entries[method]
        place = int(np.searchsorted(entry.queries, queries, side="right")) - 1
        return float(entry.by_seed()[:, place].mean())

    def end(self, method: str) -> float:
        """Mean best f at the end."""
        return self.at(method, self.budget(method))

    def budget(self, method: str) -> int:
        """Queries of a run."""
        return int(self.entries[method].queries[-1])

    def share(self, method: str, other: str) -> float:
        """Queries until the mean curve is at or below the other's end, over the other's budget; infinite: never."""
        entry = self.entries[method]
        reached = np.flatnonzero(entry.by_seed().mean(0) <= self.end(other))
        return float(entry.queries[reached[0]]) / self.budget(other) if len(reached) else math.inf

    def success(self, method: str) -> tuple[float, float]:
        """Share of attacks that ever fooled the victim, and the median of the queries until then."""
        at = np.concatenate([record.extras["success_at"] for record in self.entries[method].records])
        return float((at >= 0).mean()), float(np.median(np.where(at >= 0, at, np.inf)))


def attack_bars(folder: Path, problem: str) -> list[Bar]:
    """The bars of an attack that policies were trained for, with the known part exact and with f as a whole."""
    c = Curves(folder, problem)
    bars = []
    for words, policy, true, random in (
        ("known part exact", "policy", "true", "zo-sgd+known"),
        ("f as a whole", "policy-plain", "true-plain", "zo-sgd+known"),
    ):
        if not {policy, true, random, "zo-sgd"} <= c.entries.keys():
            continue
        success, median = c.success(policy)
        tenth, budget = c.budget(policy) // 10, c.budget(policy)
        bars += [
            Bar(
                f"{words}: f / the true direction's, {tenth:,} queries",
                c.at(policy, tenth) / c.at(true, tenth),
                1.35,
                1.10,
            ),
            Bar(f"{words}: f / the true direction's, {budget:,} queries", c.end(policy) / c.end(true), 1.15, 1.02),
            Bar(f"{words}: failures", 1 - success, 0.01, 0.0, ".1%"),
            Bar(f"{words}: median queries to success", median, 20, 6, ".0f"),
            Bar(
                f"{words}: f after 50 queries / ZO-SGD's after {budget:,}", c.at(policy, 50) / c.end("zo-sgd"), 0.6, 0.4
            ),
            Bar(f"{words}: queries to ZO-SGD's last f, share", c.share(policy, "zo-sgd"), 1 / 100, 1 / 200, ".4f"),
            Bar(
                f"{words}: queries to random composite's last f, share", c.share(policy, random), 1 / 40, 1 / 150, ".4f"
            ),
        ]
    return bars


def training_bars(folder: Path, problem: str) -> list[Bar]:
    """Queries and seconds of training a policy, the mean of those stored."""
    files = sorted((folder / problem / "policies").glob("slopes-*/training.json"))
    reports = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    if not reports:
        return []
    queries, seconds = (float(np.mean([report[key] for report in reports])) for key in ("queries", "seconds"))
    return [
        Bar("training: queries", queries, 80_000, 20_000, ",.0f"),
        Bar("training: seconds", seconds, 120, 60, ".0f"),
    ]


def transfer_bars(folder: Path, problem: str) -> list[Bar]:
    """The bar of a policy on a victim that it was not trained on."""
    c = Curves(folder, problem)
    return [Bar("queries to ZO-SGD's last f, share", c.share("policy", "zo-sgd"), 1 / 15, 1 / 50, ".4f")]


def online_bars(folder: Path, problem: str) -> list[Bar]:
    """The bars of a classification problem."""
    c = Curves(folder, problem)
    dim = c.entries["rand-ada"].dim or 0
    directional = 0.5 if dim <= 30 else 0.75
    goal = "queries to rand-ada's last f, share"
    bars = [
        Bar(f"{goal}, directional agent", c.share("directional", "rand-ada"), directional),
        Bar(f"{goal}, belief", c.share("belief", "rand-ada"), 0.5),
    ]
    for other, queries in [
        ("cma-es", c.budget("belief")),
        *(("l-bfgs-b", n) for n in (1000, 2500) if problem == "a9a"),
    ]:
        ahead = c.at("belief", queries) - c.at(other, queries)
        bars.append(Bar(f"f of belief less f of {other}, {queries:,} queries", ahead, 0.0, form=".5f"))
    return bars


def table(bars: Sequence[Bar]) -> str:
    """The bars as a Markdown table."""
    lines = ["| smaller is better | must | aim | measured | |", "|---|---|---|---|---|"]
    for bar in bars:
        aim = "" if bar.aim is None else f"{bar.aim:{bar.form}}"
        value = f"{bar.value:{bar.form}}" if math.isfinite(bar.value) else "never"
        lines.append(f"| {bar.name} | {bar.must:{bar.form}} | {aim} | {value} | {bar.verdict} |")
    return "\n".join(lines) + "\n"


def _found(folder: Path) -> Iterator[tuple[str, list[Bar]]]:
    attacks: list[tuple[str, Sequence[Callable[[Path, str], list[Bar]]]]] = [
        ("mnist_attack", (attack_bars, training_bars)),
        ("digits_attack", (attack_bars, training_bars)),
        *((name, (transfer_bars,)) for name in TRANSFER),
        *((name, (online_bars,)) for name in ONLINE),
    ]
    for problem, kinds in attacks:
        bars: list[Bar] = []
        for kind in kinds:
            try:
                bars += kind(folder, problem)
            except (FileNotFoundError, KeyError):
                continue  # not run, or not all of it
        if bars:
            yield problem, bars


def write_bars(folder: Path, out: Path) -> Path:
    """Write bars.md: every bar that the stored results allow to judge, problem by problem. Returns its path."""
    path = out / "bars.md"
    write_text(path, "\n".join(f"### {problem}\n\n{table(bars)}" for problem, bars in _found(folder)))
    return path
