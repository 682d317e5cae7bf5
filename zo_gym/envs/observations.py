"""What an environment shows of its state: observations and infos. The scalar and the batched environment share them.

Nothing here costs a query.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from zo_gym.envs.mdp import MDPState, Outcome
from zo_gym.envs.spec import EnvSpec
from zo_gym.oracle import Oracle


def observation(spec: EnvSpec, oracle: Oracle, state: MDPState) -> np.ndarray:
    """Return what the agent sees, float32 (B, observation_dim), new memory.

    What float32 cannot hold becomes its largest value, the observation space's bound.
    """
    most = torch.finfo(torch.float32).max
    parts = OBSERVATIONS[spec.settings.observation](oracle, state)
    return np.concatenate([part.clamp(-most, most).to(torch.float32).cpu().numpy() for part in parts], axis=1)


def info(spec: EnvSpec, oracle: Oracle, state: MDPState, outcome: Outcome | None) -> dict[str, np.ndarray]:
    """Collect the infos, arrays with leading dimension B; `outcome` is None at reset."""
    report = {"queries": oracle.queries.copy()}
    if spec.settings.on_failure != "raise":
        report["failures"] = oracle.failures.copy()
    shown = {"f": state.run.iterate.fx, "best_f": state.run.iterate.best_f}
    if spec.problem.size > 1:
        shown["instance"] = oracle.instances
    if spec.settings.gate != "open":
        shown["gate_open"] = spec.gate.is_open(state.gate)
    if outcome is not None:
        shown["delta"] = outcome.delta
        if outcome.black_box is not None:
            shown["black_box_f"], shown["black_box_delta"] = outcome.black_box
        if outcome.rho is not None:
            shown |= {"rho": outcome.rho, "direction": outcome.direction.to(torch.float32)}
        if outcome.cosine is not None:
            shown["cosine"] = outcome.cosine
    return report | {name: values.cpu().numpy().copy() for name, values in shown.items()}


def masked(report: dict[str, np.ndarray], mask: np.ndarray) -> dict[str, np.ndarray]:
    """Add to each info the mask (B,) of the rows that it is about, as Gymnasium's vector environments do."""
    return report | {f"_{name}": mask.copy() for name in report}


def _log_left(oracle: Oracle) -> Tensor:
    return torch.from_numpy(np.log1p(oracle.remaining.astype(np.float64)))[:, None]


def _context(oracle: Oracle) -> Tensor:
    assert oracle.problem.context is not None  # resolve() saw to it
    return oracle.problem.context[oracle.instances]


OBSERVATIONS: dict[str, Callable[[Oracle, MDPState], list[Tensor]]] = {
    "x": lambda oracle, state: [state.run.iterate.x],
    "history": lambda oracle, state: [state.run.iterate.x, state.estimate, state.move, _log_left(oracle)],
    "context": lambda oracle, state: [state.run.iterate.x, _context(oracle)],
}
"""Lists x_k (the paper); or x_k, last g, last move, log(1 + queries left); or x_k and the instance's context."""
