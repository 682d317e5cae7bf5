"""Compare methods that learn the gradient while they descend, on classification: models, agents and baselines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benchmarks.solvers import baselines, zeroth_order
from benchmarks.solvers.agents import Variant, online_run
from benchmarks.solvers.base import Group, Solver
from benchmarks.solvers.zeroth_order import method_run
from zo_gym.agents.presets import DIRECTIONAL_PRESETS


def _directional(label: str, group: Group, *, algo: str = "ddpg", **changes: Any) -> Solver:
    """Return a solver that fits a directional agent while it runs, with these changes of the preset."""
    preset = replace(DIRECTIONAL_PRESETS["online"], **changes)
    return Solver(label, group, online_run(Variant(algo, preset)), batched=False)


SOLVERS: dict[str, Solver] = {
    "gp": Solver("Gaussian process, adaptive step", "policy", method_run("gp")),
    "gp-tr": Solver("Gaussian process, trust region", "policy", method_run("gp-tr")),
    "directional": _directional("directional DDPG, adaptive step", "policy"),
    "directional-td3": _directional("directional TD3, adaptive step", "policy", algo="td3"),
    "directional-rewards": _directional(
        "directional DDPG, rewards only", "ablation", slope_weight=0.0, reward_weight=1.0
    ),
    "directional-both": _directional("directional DDPG, slopes and rewards", "ablation", reward_weight=1.0),
    "directional-uniform": _directional("directional DDPG, old and new slopes weighted alike", "ablation", recency=1.0),
    "directional-still": _directional("directional DDPG that never learns", "ablation", updates_per_step=0),
    **{name: zeroth_order.SOLVERS[name] for name in ("zo-sgd", "rand-ada", "guided-es", "history-rgf-ada")},
    **{name: baselines.SOLVERS[name] for name in ("cma-es", "l-bfgs-b")},
}
"""Everything that is compared on classification."""
