"""Compare learned policies in attacks on images that nothing else uses with baselines, controls and ablations.

Each row of results follows a policy that was trained for it alone, one policy a repeat, and all count the same queries.
Methods named "...+composite" take the composite term (the l1 term and the box) exactly, which costs no queries. The
others see f as a whole; those that follow a guess estimate the price of the distance from the start from f's values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from benchmarks.solvers import baselines, zeroth_order
from benchmarks.solvers.base import Group, Setup, Solver, SolverOutcome
from benchmarks.solvers.guesses import (
    Follow,
    following,
    guess_run,
    negated,
    policy_run,
    template,
    truth,
    untrained,
)
from benchmarks.solvers.policy_training import TRAININGS, train_policies
from benchmarks.solvers.zeroth_order import method_run, run_built
from zo_gym.agents.policies.methods import LEARNING_RATE, SHARPNESS, steps
from zo_gym.base import Method, UpdateRule
from zo_gym.estimators import span
from zo_gym.gradient_models import GPSettings, GradientGuess, gp
from zo_gym.updates import adaptive, diminishing, polyak, sharpened

GP_RANK = 64
"""Slopes that the Gaussian process without a policy remembers."""


def trained_otherwise(label: str, way: str, group: Group = "ablation") -> Solver:
    """Return a solver that follows policies which it trains in one of the ways of `TRAININGS`."""
    return Solver(
        label,
        group,
        policy_run(way, following()),
        prepare=train_policies(way),
        training_queries=lambda task, folder: TRAININGS[way][0].total_queries,
    )


def followed_otherwise(label: str, make: Follow, *, group: Group = "ablation", composite: bool = True) -> Solver:
    """Return a solver that follows the policies of the solver "policy" in another way."""
    return Solver(
        label,
        group,
        policy_run("slopes", make, composite=composite),
        needs="policy",
        training_queries=lambda task, folder: TRAININGS["slopes"][0].total_queries,
    )


def guessing(
    label: str,
    guess: Callable[[Setup], GradientGuess],
    *,
    group: Group = "control",
    composite: bool = True,
    **options: Any,
) -> Solver:
    """Return a solver that follows a guess as a policy is followed; options as of `following`."""
    run = guess_run(guess, following(composite, **options), composite=composite)
    return Solver(label, group, run, needs=None if guess in (truth, template) else "policy")


def _gp_alone(label: str, *, composite: bool = False) -> Solver:
    """Return the Gaussian process without any guess, with the steps of a policy: it shows what memory is worth."""

    def run(setup: Setup) -> SolverOutcome:
        method = Method(None, span, steps(), 1, model=gp(GPSettings(rank=GP_RANK)))
        return run_built(setup, method, composite=composite)

    return Solver(label, "control", run)


def _subgradients() -> UpdateRule:
    """Return the steps of a policy without those towards the minimiser of the model."""
    return sharpened(diminishing(LEARNING_RATE), SHARPNESS)


def _with_composite(name: str) -> Solver:
    """Return a method of the paper's comparison that takes the composite term exactly, tuned for that."""
    plain, fixed = zeroth_order.SOLVERS[name], _COMPARED[name]
    run = method_run(name, composite=True, **fixed)
    return replace(plain, label=f"{plain.label}, composite term exact", group="control", run=run)


_COMPARED: dict[str, dict[str, Any]] = {
    "zo-sgd": {},
    "zo-sgd-sphere": {},
    "guided-es": {"estimator": "forward", "num_directions": 20},
    "rand-ada": {},
}
"""Methods of the paper's comparison -> their options."""

SOLVERS: dict[str, Solver] = {
    "policy": trained_otherwise("policy, composite term exact", "slopes", "policy"),
    "policy-plain": followed_otherwise(
        "policy, f as a whole, penalty estimated", following(composite=False), group="policy", composite=False
    ),
    "true": guessing("true gradient, same steps, composite term exact", truth, group="reference", refresh_distance=0.0),
    "true-plain": guessing(
        "true gradient, same steps, f as a whole, penalty estimated",
        truth,
        group="reference",
        composite=False,
        refresh_distance=0.0,
    ),
    **{name: zeroth_order.SOLVERS[name] for name in _COMPARED},
    "cma-es": baselines.SOLVERS["cma-es"],
    **{f"{name}+composite": _with_composite(name) for name in _COMPARED},
    "gp+composite": _gp_alone("Gaussian process, same steps, composite term exact", composite=True),
    "gp": _gp_alone("Gaussian process, same steps, f as a whole"),
    "untrained": guessing("untrained network", untrained),
    "template": guessing("class mean of true gradients", template),
    "negated": guessing("policy negated", negated),
    "no-inference": followed_otherwise(
        "f as a whole, no penalty estimated", following(composite=False, estimate_penalty=False), composite=False
    ),
    "untrained-plain": guessing("untrained network, f as a whole, penalty estimated", untrained, composite=False),
    "negated-plain": guessing("policy negated, f as a whole, penalty estimated", negated, composite=False),
    "no-memory": followed_otherwise("no memory: guess and factor alone", following(memory=False)),
    "no-gate": followed_otherwise("guess used whatever it is worth", following(gate=False)),
    "no-sharpening": followed_otherwise("no sharpening", following(sharpness=1.0)),
    "subgradients": followed_otherwise("diminishing subgradient steps only", following(update=_subgradients())),
    "polyak": followed_otherwise("floored Polyak steps", following(update=sharpened(polyak(0.3), SHARPNESS))),
    "adaptive": followed_otherwise("adaptive steps", following(update=sharpened(adaptive(1.0), SHARPNESS))),
    "regression": trained_otherwise("trained: same slopes, outside SB3", "regression"),
    "rewards": trained_otherwise("trained: rewards only", "rewards"),
    "both": trained_otherwise("trained: slopes and rewards", "both"),
    "in-the-loop": trained_otherwise("trained: probes along the policy", "in-the-loop"),
    "plain-images": trained_otherwise("trained: no augmentation", "plain-images"),
    "quarter": trained_otherwise("trained: 20,000 queries", "quarter"),
}
"""Everything that is compared on attacks."""

MAIN = (
    "policy",
    "policy-plain",
    "true",
    "true-plain",
    *_COMPARED,
    *(f"{name}+composite" for name in _COMPARED),
    "cma-es",
    "gp",
    "gp+composite",
)
"""The solvers that run on the whole budget."""
ABLATED = ("policy", "true", "zo-sgd+composite", *(name for name in SOLVERS if name not in MAIN))
"""The solvers that run on a fifth of the budget: ablations and controls, beside the policy itself."""
QUICK_METHODS = (
    "policy",
    "policy-plain",
    "true",
    "true-plain",
    "zo-sgd",
    "zo-sgd+composite",
    "gp+composite",
    "untrained",
    "no-memory",
)
"""The solvers of the quick run."""
TRANSFERRED = ("policy", "policy-plain", "true", "zo-sgd", "zo-sgd+composite", "gp+composite", "untrained")
"""The solvers that are tried on the other victims."""
