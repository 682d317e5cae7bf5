"""Put a policy of the benchmark into the package, with a card that quotes what the benchmark measured.

python -m benchmarks.publish --results results/policies mnist-attack
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from benchmarks.bars import MeanCurves
from benchmarks.suites.policies import PRETRAINED, VALIDATION, policy_folder
from benchmarks.suites.task import Task
from benchmarks.text_tables import markdown_table
from zo_gym.agents.console import fail_clearly
from zo_gym.agents.policies import pretrained
from zo_gym.agents.policies.bundle import load_policy, save_weights
from zo_gym.files import write_text
from zo_gym.registry import lookup

ROWS = (
    ("policy", "this policy, composite term exact"),
    ("policy-plain", "this policy, f as a whole, penalty estimated"),
    ("true", "true gradient, same steps, composite term exact"),
    ("gp+composite", "no policy: Gaussian process alone, same steps, composite term exact"),
    ("untrained", "untrained network, composite term exact"),
    ("zo-sgd+composite", "ZO-SGD, tuned, composite term exact"),
    ("zo-sgd", "ZO-SGD, tuned"),
)
"""Methods that the card quotes, and their names there."""


@dataclass(frozen=True)
class PublishArgs:
    """Copy the policy of the first repeat into the package and write its card."""

    name: tyro.conf.Positional[str]
    """Name of the policy, e.g. mnist-attack."""
    results: Path = Path("results/policies")
    """Folder of the results of `make policies`."""
    validation: bool = False
    """The results are of validation images; then the card names that split."""


def publish(name: str, results: Path, validation: bool = False) -> Path:
    """Copy the policy and write its card; return its folder in the package.

    Raises:
        ValueError: No policy of this name ships.
        FileNotFoundError: The policy or its results are not there.
    """
    task = lookup(PRETRAINED, name, "policy")
    task = VALIDATION[task.name] if validation else task
    source = policy_folder(task, results / task.name, "slopes", 0)
    out = pretrained.FOLDER / name
    save_weights(load_policy(source), out)
    report = json.loads((source / "training.json").read_text(encoding="utf-8"))
    write_text(out / "CARD.md", card_text(name, task, MeanCurves(results, task.name), report))
    return out


def card_text(name: str, task: Task, curves: MeanCurves, training: dict[str, float]) -> str:
    """Return the card as Markdown; of the results it quotes the first repeat alone, which is the policy that ships."""
    repeats = len(curves.methods["policy"].records)
    curves.methods = {method: replace(found, records=found.records[:1]) for method, found in curves.methods.items()}
    attack = task.attack("test")
    budget, d = curves.budget("policy"), attack.problem.dim
    after = ["f after 50 queries", f"after {budget // 10:,}", f"after {budget:,}"]
    rows = []
    for method, words in ROWS:
        if method in curves.methods:
            success, median = curves.success(method)
            values = [f"{curves.at(method, n):.2f}" for n in (50, budget // 10, budget)]
            rows.append([words, *values, f"{100 * success:.0f} %", f"{median:,.0f}"])
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
        "table": markdown_table(["method", *after, "success", "median queries"], rows),
    }
    return TEMPLATE.format(**facts)


TEMPLATE = """# {name}

A learned guess of the direction in which a classifier's margin falls: for an image x in [0, 1]^{d} and its label it
returns a gradient of the black-box part of eq. (9) of Anonymous (2022). During an attack,
`zo_gym.gradient_models.guided_gp` corrects it.

    zo_gym.minimize("{problem}[0]", method="pretrained:{name}", composite=True)

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

It was trained on this victim, on images like these. The documentation of learned policies reports how it does on other
victims, where it was tried; on other images it does not help, and the model's gate drops it after a few queries. It is
meant for measuring how robust one's own classifiers are.
"""


def main() -> None:
    """Run `python -m benchmarks.publish` from the command line."""
    with fail_clearly():
        args = tyro.cli(PublishArgs)
        print(f"Wrote {publish(args.name, args.results, args.validation)}")


if __name__ == "__main__":
    main()
