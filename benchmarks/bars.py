"""Write the bars of the benchmark of policies: ratios within one set of results and what they must not exceed."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.results import MethodResults, load_results
from benchmarks.suites.online import SUITE as ONLINE
from benchmarks.suites.policies import TRANSFER
from benchmarks.summary import first_at, median_queries
from benchmarks.text_tables import markdown_table
from zo_gym.files import write_text


@dataclass(frozen=True)
class Bar:
    """Holds a measured number beside the bounds that it is held to.

    Attributes:
        name: What is measured.
        value: The measured number; smaller is better, infinity means never.
        must: The number that it must not exceed.
        aim: The number that it should not exceed; None where there is no such number.
        form: Format of the three.
    """

    name: str
    value: float
    must: float
    aim: float | None = None
    form: str = ".2f"

    @property
    def verdict(self) -> str:
        """Return "missed", "met" or "aim met"."""
        if not self.value <= self.must:
            return "missed"
        return "aim met" if self.aim is not None and self.value <= self.aim else "met"


class MeanCurves:
    """Reads numbers off the mean curves of the methods that are stored for one problem."""

    def __init__(self, folder: Path, problem: str) -> None:
        self.methods: dict[str, MethodResults] = {found.method: found for found in load_results(folder, problem)}

    def at(self, method: str, queries: int) -> float:
        """Return the mean best f within so many queries."""
        results = self.methods[method]
        place = int(np.searchsorted(results.queries, queries, side="right")) - 1
        return float(results.by_seed()[:, place].mean())

    def end(self, method: str) -> float:
        """Return the mean best f at the end."""
        return self.at(method, self.budget(method))

    def budget(self, method: str) -> int:
        """Return the queries of a run."""
        return int(self.methods[method].queries[-1])

    def share(self, method: str, other: str) -> float:
        """Return the queries until the mean curve is at or below the other's end, over the other's budget."""
        results = self.methods[method]
        return first_at(results.queries, results.by_seed().mean(0), self.end(other)) / self.budget(other)

    def success(self, method: str) -> tuple[float, float]:
        """Return the share of attacks that ever fooled the victim, and the median of the queries until then."""
        at = self.methods[method].pooled("success_at")
        return float((at >= 0).mean()), median_queries(at)


def attack_bars(folder: Path, problem: str) -> list[Bar]:
    """Return the bars of an attack that policies were trained for, with the composite term exact and f as a whole."""
    curves = MeanCurves(folder, problem)
    return [
        *_policy_bars(curves, "composite term exact", "policy", "true"),
        *_policy_bars(curves, "f as a whole", "policy-plain", "true-plain"),
    ]


def _policy_bars(c: MeanCurves, words: str, policy: str, true: str) -> list[Bar]:
    """Return the bars of a policy beside the true gradient with the same steps; none where a method was not run."""
    random = "zo-sgd+composite"
    if not {policy, true, random, "zo-sgd"} <= c.methods.keys():
        return []
    success, median = c.success(policy)
    tenth, budget = c.budget(policy) // 10, c.budget(policy)
    at_tenth, at_end = c.at(policy, tenth) / c.at(true, tenth), c.end(policy) / c.end(true)
    early = c.at(policy, 50) / c.end("zo-sgd")
    return [
        Bar(f"{words}: f / the true direction's, {tenth:,} queries", at_tenth, 1.35, 1.10),
        Bar(f"{words}: f / the true direction's, {budget:,} queries", at_end, 1.15, 1.02),
        Bar(f"{words}: failures", 1 - success, 0.01, 0.0, ".1%"),
        Bar(f"{words}: median queries to success", median, 20, 6, ".0f"),
        Bar(f"{words}: f after 50 queries / ZO-SGD's after {budget:,}", early, 0.6, 0.4),
        Bar(f"{words}: queries to ZO-SGD's last f, share", c.share(policy, "zo-sgd"), 1 / 100, 1 / 200, ".4f"),
        Bar(f"{words}: queries to random composite's last f, share", c.share(policy, random), 1 / 40, 1 / 150, ".4f"),
    ]


def training_bars(folder: Path, problem: str) -> list[Bar]:
    """Return the bars of queries and seconds of training a policy, the mean of those stored."""
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
    """Return the bar of a policy on a victim that it was not trained on."""
    c = MeanCurves(folder, problem)
    return [Bar("queries to ZO-SGD's last f, share", c.share("policy", "zo-sgd"), 1 / 15, 1 / 50, ".4f")]


def online_bars(folder: Path, problem: str) -> list[Bar]:
    """Return the bars of a classification problem."""
    c = MeanCurves(folder, problem)
    dim = c.methods["rand-ada"].dim or 0
    directional = 0.5 if dim <= 30 else 0.75
    goal = "queries to rand-ada's last f, share"
    bars = [
        Bar(f"{goal}, directional agent", c.share("directional", "rand-ada"), directional),
        Bar(f"{goal}, Gaussian process", c.share("gp", "rand-ada"), 0.5),
    ]
    for other, queries in [
        ("cma-es", c.budget("gp")),
        *(("l-bfgs-b", n) for n in (1000, 2500) if problem == "a9a"),
    ]:
        ahead = c.at("gp", queries) - c.at(other, queries)
        bars.append(Bar(f"f of the Gaussian process less f of {other}, {queries:,} queries", ahead, 0.0, form=".5f"))
    return bars


def bar_table(bars: Sequence[Bar]) -> str:
    """Return the bars as a Markdown table."""
    rows = []
    for bar in bars:
        aim = "" if bar.aim is None else f"{bar.aim:{bar.form}}"
        value = f"{bar.value:{bar.form}}" if math.isfinite(bar.value) else "never"
        rows.append([bar.name, f"{bar.must:{bar.form}}", aim, value, bar.verdict])
    return markdown_table(["smaller is better", "must", "aim", "measured", ""], rows) + "\n"


def _found(folder: Path) -> Iterator[tuple[str, list[Bar]]]:
    """Yield each problem that has results with its bars."""
    kinds: dict[str, Sequence[Callable[[Path, str], list[Bar]]]] = {
        "mnist_attack": (attack_bars, training_bars),
        "digits_attack": (attack_bars, training_bars),
        **dict.fromkeys(TRANSFER, (transfer_bars,)),
        **dict.fromkeys(ONLINE, (online_bars,)),
    }
    for problem, makers in kinds.items():
        bars: list[Bar] = []
        for make in makers:
            try:
                bars += make(folder, problem)
            except (FileNotFoundError, KeyError):
                continue  # not run, or not all of it
        if bars:
            yield problem, bars


def write_bars(folder: Path, out: Path) -> Path:
    """Write bars.md: every bar that the stored results allow to judge, problem by problem. Return its path."""
    path = out / "bars.md"
    write_text(path, "\n".join(f"### {problem}\n\n{bar_table(bars)}" for problem, bars in _found(folder)))
    return path
