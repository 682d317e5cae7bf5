"""Policies that are shipped with the package, each a folder with config.json, weights.safetensors and CARD.md.

`zo_gym.minimize("mnist_attack[0]", method="pretrained:mnist-attack", composite=True)` attacks with one.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from zo_gym.base import Method
from zo_gym.checks import DEFAULT_SMOOTHING
from zo_gym.composite.term import CompositeTerm
from zo_gym.registry import lookup

from ..bundle import Policy, load_policy
from ..policy_method import LEARNING_RATE, REFRESH, SHARPNESS, follow, gradient_guess, steps

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


def method(
    dim: int,
    *,
    variant: str | None = None,
    weights: Policy | str | Path | None = None,
    context: Tensor | None = None,
    composite: CompositeTerm | None = None,
    learning_rate: float = LEARNING_RATE,
    sharpness: float = SHARPNESS,
    smoothing: float = DEFAULT_SMOOTHING,
) -> Method:
    """Build the method "pretrained:<variant>": a policy's guess of the gradient that the run's own slopes correct.

    `zo_gym.gradient_models.guided_gp` says how. With weights=, your own policy, the method is "pretrained".

    Args:
        dim: d, which must be the policy's.
        variant: Which policy; see `names`.
        weights: A policy that `python train.py --policy directional` trained, or its folder, `runs/<run>`.
        context: What the policy observes of each row's problem besides x, (B, k).
        composite: See `follow`.
        learning_rate: Length of the first step, in units of x.
        sharpness: p >= 1; see `zo_gym.updates.sharpened`.
        smoothing: mu of the run, in units of x.

    Raises:
        FileNotFoundError, NotADirectoryError: No policy folder is there.
        TypeError, ValueError: Unknown policy, one of another dimension or context, or one that does not model slopes.
    """
    if bool(variant) == (weights is not None):
        given = "both" if variant else "neither"
        raise ValueError(
            "method 'pretrained' needs a policy that ships, method='pretrained:NAME' with one of "
            f"{', '.join(names())}, or weights=, the folder of another; got {given}."
        )
    name = f"'{variant}'" if variant else "of weights="
    policy = load(variant) if variant else weights
    if not isinstance(policy, Policy):
        policy = load_policy(Path(str(policy)))
    if policy.config.dim != dim:
        raise ValueError(
            f"Policy {name} is for d = {policy.config.dim}, and the problem has d = {dim}. Choose or train another."
        )
    if context is None and policy.config.observation_dim > dim:
        raise ValueError(
            f"Policy {name} observes the context of a problem, and this one has none. Pass a problem with one, "
            "e.g. 'mnist_attack[0]'."
        )
    return follow(
        gradient_guess(policy, context),
        1 if context is None else len(context),
        composite,
        shape=policy.config.shape,
        sharpness=sharpness,
        update=steps(learning_rate, sharpness),
        refresh_distance=REFRESH * learning_rate,
        smoothing=smoothing,
    )
