"""Methods that learn the gradient while they descend, on classification: agents, the belief sampler, and peers."""

from __future__ import annotations

from dataclasses import replace

from zo_gym.agents.build import DIRECTIONAL_PRESETS

from benchmarks import solvers as core
from benchmarks.solvers.agents import online
from benchmarks.solvers.classical import Solver, own
from benchmarks.suites.paper import Role, Task

FIRST_SEED = 50_000
"""Of the reported starts: nothing was tried on them."""


def _task(name: str) -> Task:
    sizes: dict[Role, int] = {"test": 10, "tuning": 3, "train": 20, "validation": 10}
    return Task(name, "classification", sizes, first_seed=FIRST_SEED)


TASKS: dict[str, Task] = {name: _task(name) for name in ("heart_scale", "german.numer_scale", "breast_cancer", "a9a")}
"""Section 4.3 of the paper, and the bundled data."""
QUICK: dict[str, Task] = {
    "heart_scale": replace(
        _task("heart_scale"), sizes={"test": 2, "tuning": 2, "train": 2, "validation": 2}, budget=2000
    )
}
"""Minutes."""

_ONLINE = DIRECTIONAL_PRESETS["online"]

SOLVERS: dict[str, Solver] = {
    "belief": Solver("belief, adaptive step", "policy", own("belief")),
    "belief-tr": Solver("belief, trust region", "policy", own("belief-tr")),
    "directional": Solver("directional DDPG, adaptive step", "policy", online("ddpg", _ONLINE), batched=False),
    "directional-td3": Solver("directional TD3, adaptive step", "policy", online("td3", _ONLINE), batched=False),
    "directional-rewards": Solver(
        "directional DDPG, rewards only",
        "ablation",
        online("ddpg", replace(_ONLINE, slope_weight=0.0, reward_weight=1.0)),
        batched=False,
    ),
    "directional-both": Solver(
        "directional DDPG, slopes and rewards",
        "ablation",
        online("ddpg", replace(_ONLINE, reward_weight=1.0)),
        batched=False,
    ),
    "directional-uniform": Solver(
        "directional DDPG, all that it saw alike",
        "ablation",
        online("ddpg", replace(_ONLINE, recency=1.0)),
        batched=False,
    ),
    "directional-still": Solver(
        "directional DDPG that never learns",
        "ablation",
        online("ddpg", replace(_ONLINE, updates_per_step=0)),
        batched=False,
    ),
    **{
        name: core.SOLVERS[name]
        for name in ("zo-sgd", "rand-ada", "guided-es", "history-rgf-ada", "cma-es", "l-bfgs-b")
    },
}
"""Everything that is compared on classification."""
