"""Learned policies in attacks on images that nobody has looked at, beside baselines, controls and ablations.

Whatever follows a policy here is trained for it alone, one policy a repeat, and all count the same queries. "+known"
methods take the l1 term and the box exactly, at no query; the others see f as a whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from agents.build import Preset
from agents.bundle import load_policy, new_policy
from agents.guides import LEARNING_RATE, SHARPNESS, field_of, follow
from agents.offline import OFFLINE, train_policy
from agents.pilot import steered
from agents.step_agent import FILE, QUERIES, load_pilot, train_steps
from zo_gym.base import UpdateRule
from zo_gym.bench import contestants as core
from zo_gym.bench.contestants import Contestant, Group, Run, Setup, own, run_built, unknown_gradient
from zo_gym.bench.tasks import SPLIT, Role, Task
from zo_gym.bench.tracks import Outcome
from zo_gym.estimators import span
from zo_gym.files import write_json
from zo_gym.methods import Method
from zo_gym.rng import make_generator
from zo_gym.samplers import belief, hybrid, prior_belief
from zo_gym.samplers.hybrid import Field
from zo_gym.updates import adaptive, diminishing, polyak, sharpened

_FRESH: dict[Role, str] = {**SPLIT, "test": "fresh"}


def _attack(name: str) -> Task:
    sizes: dict[Role, int] = {"test": 50, "tuning": 8, "train": 50, "validation": 20}
    return Task(name, "attack", sizes, repeats=3, splits=_FRESH, early=True)


TASKS: dict[str, Task] = {"mnist_attack": _attack("mnist_attack")}
"""What policies are trained for, one a repeat, and tried on."""
TRANSFER: dict[str, Task] = {name: _attack(name) for name in ("mnist_mlp_attack", "mnist_wide_attack")}
"""Other victims for the same policies."""
QUICK: dict[str, Task] = {
    "digits_attack": replace(
        _attack("digits_attack"),
        sizes={"test": 20, "tuning": 4, "train": 50, "validation": 10},
        budget=1000,
        repeats=2,
    )
}
"""Small data, minutes."""

VALIDATION: dict[str, Task] = {
    name: replace(task, splits=SPLIT | {"test": "validation"}, repeats=1)
    for name, task in {**TASKS, "digits_attack": _attack("digits_attack")}.items()
}
"""The images that choices are made on, so that the fresh ones stay unseen until the choices are made."""

PRETRAINED: dict[str, Task] = {
    "mnist-attack": replace(TASKS["mnist_attack"], repeats=1),
    "digits-attack": replace(_attack("digits_attack"), repeats=1),
}
"""Where the policies that ship are tried, by their names; `BY_TASK` finds them by the names of the problems."""
BY_TASK: dict[str, Task] = {task.name: task for task in PRETRAINED.values()}

SOURCE = dict.fromkeys(TRANSFER, "mnist_attack")
"""Task -> the one whose policies it tries, where that is another."""

Acting = Callable[[Field, Setup], Method]
"""How a guess of the gradient is followed."""


def repeat_of(setup: Setup) -> int:
    """Which repeat of the task this is: the seed of its policy."""
    return (setup.seeds[0] - setup.task.first_seed) // setup.task.sizes["test"]


def policy_folder(task: Task, folder: Path, training: str, repeat: int) -> Path:
    """Where a policy that was trained so is kept among the results of its own task."""
    return folder.parent / SOURCE.get(task.name, task.name) / "policies" / f"{training}-{repeat}"


def following(composite: bool = True, sharpness: float = SHARPNESS, **options: Any) -> Acting:
    """The guess behind the belief (`zo_gym.samplers.prior_belief`), with these options of it and of `follow`."""
    update: Callable[[], UpdateRule] | None = options.pop("update", None)

    def act(field: Field, setup: Setup) -> Method:
        family = setup.family
        known = family.known if composite else None
        rows = torch.arange(family.size)
        sampler = prior_belief(field, rows, known, shape=family.shape, sharpness=sharpness, **options)
        rule = None if update is None else sharpened(update(), sharpness)
        return follow(field, family.size, known, shape=family.shape, sampler=sampler, update=rule, sharpness=sharpness)

    return act


def piloted(field: Field, setup: Setup) -> Method:
    """The first moves as the step-size agent says."""
    family = setup.family
    pilot = load_pilot(policy_folder(setup.task, setup.folder, "slopes", repeat_of(setup)))
    update = steered(pilot, sharpened(diminishing(LEARNING_RATE), SHARPNESS))
    return follow(field, family.size, family.known, shape=family.shape, update=update)


def spanning(field: Field, setup: Setup) -> Method:
    """The guess alone, then in the span of itself, the last estimate and two random directions."""
    family = setup.family
    sampler = hybrid(field, torch.arange(family.size), family.known, num_random=2, sharpness=SHARPNESS)
    return Method(sampler, span, sharpened(diminishing(1.0), SHARPNESS), 4)


def with_policy(training: str, act: Acting, *, composite: bool = True) -> Run:
    """Runs the policy that was trained so for the setup's repeat."""

    def run(setup: Setup) -> Outcome:
        policy = load_policy(policy_folder(setup.task, setup.folder, training, repeat_of(setup)))
        return run_built(setup, act(field_of(policy, setup.family.context), setup), composite=composite)

    return run


def with_field(make: Callable[[Setup], Field], act: Acting, *, composite: bool = True) -> Run:
    """Runs a guess that was not trained for it."""
    return lambda setup: run_built(setup, act(make(setup), setup), composite=composite)


def untrained(setup: Setup) -> Field:
    """The policy's network with random weights."""
    policy = load_policy(policy_folder(setup.task, setup.folder, "slopes", repeat_of(setup)))
    return field_of(new_policy(policy.config, seed=1000 + repeat_of(setup)), setup.family.context)


def flipped(setup: Setup) -> Field:
    """The policy upside down."""
    policy = load_policy(policy_folder(setup.task, setup.folder, "slopes", repeat_of(setup)))
    field = field_of(policy, setup.family.context)
    return lambda x, instances: -field(x, instances)


def template(setup: Setup) -> Field:
    """The mean true gradient of the training images of a class, whatever x is: an oracle, not a learner."""
    family = setup.task.family("train")
    assert family.context is not None
    assert setup.family.context is not None
    gradient = unknown_gradient(family)
    assert gradient is not None
    starts = torch.stack([family.initial(i, make_generator(i)) for i in range(family.size)])
    slopes = gradient(starts, torch.arange(family.size))
    means = torch.linalg.lstsq(family.context, slopes).solution  # (classes, d), 0 for a class that is not there
    guesses = setup.family.context @ means

    def guess(x: Tensor, instances: Tensor) -> Tensor:
        return guesses[instances].to(x)

    return guess


def truth(setup: Setup) -> Field:
    """The true gradient of the unknown part: what a perfect policy would guess."""
    gradient = unknown_gradient(setup.family)
    assert gradient is not None
    return gradient


def _same_steps(setup: Setup) -> Method:
    """The belief sampler without any guess, with the same steps: what memory alone is worth."""
    return Method(belief(64), span, sharpened(diminishing(1.0), SHARPNESS), 1)


TRAININGS: dict[str, tuple[Preset, dict[str, Any]]] = {
    "slopes": (OFFLINE, {}),
    "rewards": (replace(OFFLINE, slope_weight=0.0, reward_weight=1.0), {}),
    "both": (replace(OFFLINE, reward_weight=1.0), {}),
    "in-the-loop": (replace(OFFLINE, random_probes=False, exploration=1.0), {}),
    "regression": (OFFLINE, {"plain": True}),
    "plain-images": (
        replace(OFFLINE, shift=0.0, training={**OFFLINE.training, "problem_options": {"exploring": 0.0}}),
        {},
    ),
    "quarter": (replace(OFFLINE, total_queries=OFFLINE.total_queries // 4, updates_per_step=8), {}),
}
"""Name -> how a policy is trained: its preset, and options of `train_policy`."""


def _trained(training: str) -> Callable[[Task, Path], None]:
    def prepare(task: Task, folder: Path) -> None:
        preset, options = TRAININGS[training]
        for repeat in range(task.repeats):
            place = policy_folder(task, folder, training, repeat)
            if not (place / "config.json").is_file():
                began = time.perf_counter()
                train_policy(
                    SOURCE.get(task.name, task.name), place, preset, seed=repeat, images=task.sizes["train"], **options
                )
                seconds = time.perf_counter() - began
                write_json(place / "training.json", {"queries": preset.total_queries, "seconds": seconds})

    return prepare


def _pilots(task: Task, folder: Path) -> None:
    """Step-size agents for the policies."""
    _trained("slopes")(task, folder)
    for repeat in range(task.repeats):
        place = policy_folder(task, folder, "slopes", repeat)
        if not (place / FILE).is_file():
            train_steps(place, seed=repeat)


def policy(
    label: str,
    act: Acting | None = None,
    *,
    training: str = "slopes",
    group: Group = "ablation",
    composite: bool = True,
) -> Contestant:
    """A contestant that follows a policy."""
    own_training = training if act is None else "slopes"
    return Contestant(
        label,
        group,
        with_policy(training, act or following(composite), composite=composite),
        prepare=_trained(training) if act is None else None,
        needs=None if act is None else "policy",
        training_queries=lambda task, folder: TRAININGS[own_training][0].total_queries,
    )


def guess(
    label: str, make: Callable[[Setup], Field], *, group: Group = "control", composite: bool = True
) -> Contestant:
    """A contestant that follows a guess as a policy is followed."""
    run = with_field(make, following(composite), composite=composite)
    return Contestant(label, group, run, needs=None if make in (truth, template) else "policy")


def _with_known(name: str) -> Contestant:
    """A baseline of the paper's comparison that takes the known part exactly, tuned for that."""
    plain = core.CONTESTANTS[name]
    method, fixed = _BASELINES[name]
    return replace(
        plain, label=f"{plain.label}, known part exact", group="control", run=own(method, composite=True, **fixed)
    )


_BASELINES: dict[str, tuple[str, dict[str, Any]]] = {
    "zo-sgd": ("zo-sgd", {}),
    "zo-sgd-sphere": ("zo-sgd-sphere", {}),
    "guided-es": ("guided-es", {"estimator": "forward", "num_directions": 20}),
    "rand-ada": ("rand-ada", {}),
}

CONTESTANTS: dict[str, Contestant] = {
    "policy": policy("policy, known part exact", group="policy"),
    "policy-plain": replace(
        policy("policy, f as a whole", following(composite=False), group="policy", composite=False), needs="policy"
    ),
    "true": guess("true gradient, same steps, known part exact", truth, group="reference"),
    "true-plain": guess("true gradient, same steps, f as a whole", truth, group="reference", composite=False),
    **{name: core.CONTESTANTS[name] for name in (*_BASELINES, "cma-es")},
    **{f"{name}+known": _with_known(name) for name in _BASELINES},
    "belief+known": Contestant(
        "belief, same steps, known part exact",
        "control",
        lambda setup: run_built(setup, _same_steps(setup), composite=True),
    ),
    "belief": Contestant(
        "belief, same steps, f as a whole", "control", lambda setup: run_built(setup, _same_steps(setup))
    ),
    "untrained": guess("untrained network", untrained),
    "template": guess("class-mean template of true gradients", template),
    "flipped": guess("policy upside down", flipped),
    "alone": policy("no memory: guess and factor alone", following(memory=False)),
    "no-gate": policy("gate off", following(gate=False)),
    "span": policy("span of guess, last estimate, 2 random", spanning),
    "blunt": policy("no sharpening", following(sharpness=1.0)),
    "td3-steps": replace(
        policy("first 25 steps by TD3 on (length, sharpness)", piloted),
        prepare=_pilots,
        training_queries=lambda task, folder: OFFLINE.total_queries + QUERIES,
    ),
    "polyak": policy("floored Polyak steps", following(update=lambda: polyak(0.3))),
    "adaptive": policy("adaptive steps", following(update=lambda: adaptive(1.0))),
    "regression": policy("trained: same slopes, outside SB3", training="regression"),
    "rewards": policy("trained: rewards only", training="rewards"),
    "both": policy("trained: slopes and rewards", training="both"),
    "in-the-loop": policy("trained: probes along the policy", training="in-the-loop"),
    "plain-images": policy("trained: no augmentation", training="plain-images"),
    "quarter": policy("trained: 20,000 queries", training="quarter"),
}
"""Everything that is compared on attacks."""

QUICK_METHODS = (
    "policy",
    "policy-plain",
    "true",
    "true-plain",
    "zo-sgd",
    "zo-sgd+known",
    "belief+known",
    "untrained",
    "alone",
)
"""What the quick run tries."""
TRANSFERRED = ("policy", "policy-plain", "true", "true-plain", "zo-sgd", "zo-sgd+known", "belief+known", "untrained")
"""What is tried on the other victims."""
