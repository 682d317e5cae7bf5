"""Learned policies in attacks on images that nobody has looked at, beside baselines, controls and ablations.

Whatever follows a policy here is trained for it alone, one policy a repeat, and all count the same queries. "+known"
methods take the l1 term and the box exactly, at no query; the others see f as a whole, and what follows a guess infers
from its values how much the distance from the start costs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from zo_gym.agents.policies.bundle import load_policy, new_policy
from zo_gym.agents.policies.policy_method import LEARNING_RATE, SHARPNESS, field_of, follow, steps

from benchmarks import solvers as core
from benchmarks.policy_training import TRAININGS, trained
from benchmarks.recorder import Outcome
from benchmarks.solvers.classical import Group, Run, Setup, Solver, own, run_built, unknown_gradient
from benchmarks.suites.policies import policy_folder, repeat_of
from zo_gym.base import Method, UpdateRule
from zo_gym.estimators import span
from zo_gym.gradient_models import GPSettings, GradientGuess, gp
from zo_gym.rng import make_generator
from zo_gym.updates import adaptive, diminishing, polyak, sharpened

Acting = Callable[[GradientGuess, Setup], Method]
"""How a guess of the gradient is followed."""


def following(composite: bool = True, **options: Any) -> Acting:
    """The guess behind the belief, with these options of `zo_gym.agents.policies.policy_method.follow`."""

    def act(field: GradientGuess, setup: Setup) -> Method:
        known = setup.family.composite if composite else None
        return follow(field, setup.family.size, known, shape=setup.family.shape, **options)

    return act


def with_policy(training: str, act: Acting, *, composite: bool = True) -> Run:
    """Runs the policy that was trained so for the setup's repeat."""

    def run(setup: Setup) -> Outcome:
        policy = load_policy(policy_folder(setup.task, setup.folder, training, repeat_of(setup.task, setup.seeds)))
        return run_built(setup, act(field_of(policy, setup.family.context), setup), composite=composite)

    return run


def with_field(make: Callable[[Setup], GradientGuess], act: Acting, *, composite: bool = True) -> Run:
    """Runs a guess that was not trained for it."""
    return lambda setup: run_built(setup, act(make(setup), setup), composite=composite)


def untrained(setup: Setup) -> GradientGuess:
    """The policy's network with random weights."""
    policy = load_policy(policy_folder(setup.task, setup.folder, "slopes", repeat_of(setup.task, setup.seeds)))
    return field_of(new_policy(policy.config, seed=1000 + repeat_of(setup.task, setup.seeds)), setup.family.context)


def negated(setup: Setup) -> GradientGuess:
    """The policy upside down."""
    policy = load_policy(policy_folder(setup.task, setup.folder, "slopes", repeat_of(setup.task, setup.seeds)))
    field = field_of(policy, setup.family.context)
    return lambda x, instances: -field(x, instances)


def template(setup: Setup) -> GradientGuess:
    """The mean true gradient of the training images of a class, whatever x is: an oracle, not a learner."""
    family = setup.task.family("train")
    assert family.context is not None
    assert setup.family.context is not None
    gradient = unknown_gradient(family)
    assert gradient is not None
    starts = family.initial(torch.arange(family.size), [make_generator(i) for i in range(family.size)])
    slopes = gradient(starts, torch.arange(family.size))
    means = torch.linalg.lstsq(family.context, slopes).solution  # (classes, d), 0 for a class that is not there
    guesses = setup.family.context @ means

    def guess(x: Tensor, instances: Tensor) -> Tensor:
        return guesses[instances].to(x)

    return guess


def truth(setup: Setup) -> GradientGuess:
    """The true gradient of the unknown part: what a perfect policy would guess."""
    gradient = unknown_gradient(setup.family)
    assert gradient is not None
    return gradient


def _same_steps(setup: Setup) -> Method:
    """The belief sampler without any guess, with the same steps: what memory alone is worth."""
    return Method(None, span, steps(), 1, model=gp(GPSettings(rank=64)))


def policy(
    label: str,
    act: Acting | None = None,
    *,
    training: str = "slopes",
    group: Group = "ablation",
    composite: bool = True,
) -> Solver:
    """A solver that follows a policy."""
    own_training = training if act is None else "slopes"
    return Solver(
        label,
        group,
        with_policy(training, act or following(composite), composite=composite),
        prepare=trained(training) if act is None else None,
        needs=None if act is None else "policy",
        training_queries=lambda task, folder: TRAININGS[own_training][0].total_queries,
    )


def guess(
    label: str,
    make: Callable[[Setup], GradientGuess],
    *,
    group: Group = "control",
    composite: bool = True,
    **options: Any,
) -> Solver:
    """A solver that follows a guess as a policy is followed; options as of `following`."""
    run = with_field(make, following(composite, **options), composite=composite)
    return Solver(label, group, run, needs=None if make in (truth, template) else "policy")


def _subgradients() -> UpdateRule:
    """The same steps, none of them towards the vertex."""
    return sharpened(diminishing(LEARNING_RATE), SHARPNESS)


def _with_known(name: str) -> Solver:
    """A baseline of the paper's comparison that takes the known part exactly, tuned for that."""
    plain = core.SOLVERS[name]
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

SOLVERS: dict[str, Solver] = {
    "policy": policy("policy, known part exact", group="policy"),
    "policy-plain": replace(
        policy("policy, f as a whole, penalty inferred", following(composite=False), group="policy", composite=False),
        needs="policy",
    ),
    "true": guess("true gradient, same steps, known part exact", truth, group="reference", refresh_distance=0.0),
    "true-plain": guess(
        "true gradient, same steps, f as a whole, penalty inferred",
        truth,
        group="reference",
        composite=False,
        refresh_distance=0.0,
    ),
    **{name: core.SOLVERS[name] for name in (*_BASELINES, "cma-es")},
    **{f"{name}+known": _with_known(name) for name in _BASELINES},
    "belief+known": Solver(
        "belief, same steps, known part exact",
        "control",
        lambda setup: run_built(setup, _same_steps(setup), composite=True),
    ),
    "belief": Solver("belief, same steps, f as a whole", "control", lambda setup: run_built(setup, _same_steps(setup))),
    "untrained": guess("untrained network", untrained),
    "template": guess("class-mean template of true gradients", template),
    "negated": guess("policy upside down", negated),
    "no-inference": policy(
        "f as a whole, no penalty inferred", following(composite=False, infer_penalty=False), composite=False
    ),
    "untrained-plain": guess("untrained network, f as a whole, penalty inferred", untrained, composite=False),
    "negated-plain": guess("policy upside down, f as a whole, penalty inferred", negated, composite=False),
    "no-memory": policy("no memory: guess and factor alone", following(memory=False)),
    "no-gate": policy("gate off", following(gate=False)),
    "no-sharpening": policy("no sharpening", following(sharpness=1.0)),
    "subgradients": policy("no vertex: diminishing steps", following(update=_subgradients())),
    "polyak": policy("floored Polyak steps", following(update=sharpened(polyak(0.3), SHARPNESS))),
    "adaptive": policy("adaptive steps", following(update=sharpened(adaptive(1.0), SHARPNESS))),
    "regression": policy("trained: same slopes, outside SB3", training="regression"),
    "rewards": policy("trained: rewards only", training="rewards"),
    "both": policy("trained: slopes and rewards", training="both"),
    "in-the-loop": policy("trained: probes along the policy", training="in-the-loop"),
    "plain-images": policy("trained: no augmentation", training="plain-images"),
    "quarter": policy("trained: 20,000 queries", training="quarter"),
}
"""Everything that is compared on attacks."""

MAIN = (
    "policy",
    "policy-plain",
    "true",
    "true-plain",
    *_BASELINES,
    *(f"{name}+known" for name in _BASELINES),
    "cma-es",
    "belief",
    "belief+known",
)
"""What runs to the end of the budget."""
ABLATED = ("policy", "true", "zo-sgd+known", *(name for name in SOLVERS if name not in MAIN))
"""What tells where the gain comes from, beside the policy itself."""
QUICK_METHODS = (
    "policy",
    "policy-plain",
    "true",
    "true-plain",
    "zo-sgd",
    "zo-sgd+known",
    "belief+known",
    "untrained",
    "no-memory",
)
"""What the quick run tries."""
TRANSFERRED = ("policy", "policy-plain", "true", "zo-sgd", "zo-sgd+known", "belief+known", "untrained")
"""What is tried on the other victims."""
