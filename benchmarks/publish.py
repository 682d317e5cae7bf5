"""Put a policy of the benchmark into the package, with a card that quotes what the benchmark measured.

python -m benchmarks.publish --results results/policies mnist-attack
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import tyro
from zo_gym.agents import pretrained
from zo_gym.agents.console import fail_clearly
from zo_gym.agents.policies.bundle import load_policy, save_weights

from benchmarks.bars import Curves
from benchmarks.suites.paper import Task
from benchmarks.suites.policies import PRETRAINED, VALIDATION, policy_folder
from zo_gym.files import write_text

ROWS = (
    ("policy", "this policy, known part exact"),
    ("policy-plain", "this policy, f as a whole, penalty inferred"),
    ("true", "true gradient, same steps, known part exact"),
    ("belief+known", "no policy: memory alone, same steps, known part exact"),
    ("untrained", "untrained network, known part exact"),
    ("zo-sgd+known", "ZO-SGD, tuned, known part exact"),
    ("zo-sgd", "ZO-SGD, tuned"),
)


@dataclass(frozen=True)
class PublishArgs:
    """Copy the policy of the first repeat into the package and write its card."""

    name: tyro.conf.Positional[str]
    """E.g. mnist-attack."""
    results: Path = Path("results/policies")
    """Of `make policies`."""
    validation: bool = False
    """The results are of validation images; the card says so."""


def publish(name: str, results: Path, validation: bool = False) -> Path:
    """What `python -m benchmarks.publish` does; returns the folder in the package.

    Raises:
        KeyError: Unknown name.
        FileNotFoundError: The policy or its results are not there.
    """
    task = VALIDATION[PRETRAINED[name].name] if validation else PRETRAINED[name]
    source = policy_folder(task, results / task.name, "slopes", 0)
    out = pretrained.FOLDER / name
    save_weights(load_policy(source), out)
    report = json.loads((source / "training.json").read_text(encoding="utf-8"))
    write_text(out / "CARD.md", card(name, task, Curves(results, task.name), report))
    return out


def card(name: str, task: Task, curves: Curves, training: dict[str, float]) -> str:
    """The card as Markdown; of the results it quotes the first repeat alone, which is the policy that ships."""
    repeats = len(curves.entries["policy"].records)
    curves.entries = {method: replace(entry, records=entry.records[:1]) for method, entry in curves.entries.items()}
    attack = task.attack("test")
    budget, d = curves.budget("policy"), attack.family.dim
    lines = [f"| method | f after 50 queries | after {budget // 10:,} | after {budget:,} | success | median queries |"]
    lines.append("|---|---|---|---|---|---|")
    for method, words in ROWS:
        if method in curves.entries:
            success, median = curves.success(method)
            values = " | ".join(f"{curves.at(method, n):.2f}" for n in (50, budget // 10, budget))
            lines.append(f"| {words} | {values} | {100 * success:.0f} % | {median:,.0f} |")
    facts = {
        "name": name,
        "problem": task.name,
        "d": d,
        "images": task.sizes["train"],
        "fresh": task.sizes["test"],
        "split": task.splits["test"],
        "chosen": ", on which nothing was chosen" if task.splits["test"] == "fresh" else ", on which steps were chosen",
        "victim": attack.victim.name,
        "accuracy": f"{100 * attack.victim.accuracy:.2f} %",
        "sha256": attack.victim.sha256[:16],
        "queries": f"{training['queries']:,.0f}",
        "seconds": f"{training['seconds']:.0f}",
        "repeats": repeats,
        "date": time.strftime("%Y-%m-%d"),
        "table": "\n".join(lines),
    }
    return TEMPLATE.format(**facts)


TEMPLATE = """# {name}

A learned guess of where a classifier's margin falls: for an image x in [0, 1]^{d} and its label it answers
with a gradient of the unknown part of eq. (9) of Anonymous (2022). While it attacks,
`zo_gym.gradient_models.guided_gp` corrects it.

    zo_gym.minimize("{problem}", method="pretrained:{name}", composite=True)

## Data

{images} images from split "train" of `{problem}`, all classified correctly by the victim, with rotated, scaled
and shifted copies of them. The victim is `{victim}`: test accuracy {accuracy}, sha256 of its weights
{sha256}...; on another machine its weights differ in the last digits. Values of f were used, and nothing else.

## Training

{queries} queries along random directions and {seconds} s on one core: DDPG whose critic, a potential, is fitted
to signed slopes. `python train.py --policy directional --problem {problem}` does it. c = 0.1, l1 norm, seed 0.

## Results

On {fresh} images of split "{split}"{chosen}: this policy and one run of each other method, of {repeats} in all.
Measured on {date} by `make policies`.

{table}

## Limits

It knows this victim, on images like these. What it is worth on other victims the README says where it was tried;
on other images it does not help, and the sampler's gate drops it after a few queries. It is meant for measuring
how robust one's own classifiers are.
"""


def main() -> None:
    """Entry point of `python -m benchmarks.publish`."""
    with fail_clearly():
        args = tyro.cli(PublishArgs)
        print(f"Wrote {publish(args.name, args.results, args.validation)}")


if __name__ == "__main__":
    main()
