"""Policies that are shipped with the package, each a folder with config.json, weights.safetensors and CARD.md.

`zo_gym.minimize("mnist_attack[0]", method="pretrained:mnist-attack", composite=True)` attacks with one.
"""

from __future__ import annotations

from pathlib import Path

from zo_gym.registry import lookup

from ..bundle import Policy, load_policy

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Return the names of the shipped policies, e.g. "mnist-attack"."""
    return sorted(path.parent.name for path in FOLDER.glob("*/config.json"))


def folder(name: str) -> Path:
    """Return the folder of the policy of this name; an unknown one raises ValueError."""
    return FOLDER / lookup({each: each for each in names()}, name, "pretrained policy")


def load(name: str) -> Policy:
    """Load the policy of this name; see `folder`."""
    return load_policy(folder(name))


def card(name: str) -> str:
    """Return the card of the policy of this name as Markdown: data, training, results and limits; see `folder`."""
    return (folder(name) / "CARD.md").read_text(encoding="utf-8")
