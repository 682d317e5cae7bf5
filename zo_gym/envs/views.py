"""Turns states of the MDP into observations, rewards, infos and the true cosine, at no query."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from zo_gym.directions import cosine
from zo_gym.envs.mdp import MDPState, Outcome
from zo_gym.envs.spec import EnvSpec
from zo_gym.oracle import Oracle


def observation(spec: EnvSpec, oracle: Oracle, state: MDPState) -> np.ndarray:
    """Return what the agent sees, float32 (B, observation_dim), new memory."""
    return OBSERVATIONS[spec.settings.observation](oracle, state)


def reward(spec: EnvSpec, before: MDPState, after: MDPState) -> np.ndarray:
    """Compute the rewards, float64 (B,), from f(x_k) and f(x_{k+1})."""
    f_old, f_new = (state.run.iterate.fx.double().cpu().numpy() for state in (before, after))
    return REWARDS[spec.settings.reward](f_old, f_new)


def true_cosine(spec: EnvSpec, oracle: Oracle, state: MDPState) -> Tensor | None:
    """Compute cos(g, grad f(x)) of the last step, (B,), 0 at the start; None where the problem has no gradient.

    For loggers that look now and then; `diagnostics=True` reports it at every step.
    """
    if spec.problem.gradient is None:
        return None
    return cosine(state.estimate, spec.problem.gradient(state.run.iterate.x - state.move, oracle.instances))


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


def _see_x(oracle: Oracle, state: MDPState) -> np.ndarray:
    return _to_float32(state.run.iterate.x)


def _see_history(oracle: Oracle, state: MDPState) -> np.ndarray:
    left = np.log1p(oracle.remaining.astype(np.float64))[:, None].astype(np.float32)  # (B, 1)
    return np.concatenate([*map(_to_float32, (state.run.iterate.x, state.estimate, state.move)), left], axis=1)


def _see_context(oracle: Oracle, state: MDPState) -> np.ndarray:
    context = oracle.problem.context
    assert context is not None  # resolve() saw to it
    return np.concatenate([_to_float32(state.run.iterate.x), _to_float32(context[oracle.instances])], axis=1)


def _to_float32(values: Tensor) -> np.ndarray:
    """Convert into new memory; what float32 cannot hold becomes its largest value, the observation space's bound."""
    most = torch.finfo(torch.float32).max
    return values.clamp(-most, most).to(torch.float32).cpu().numpy()


def _log_decrease(fx: np.ndarray, f_new: np.ndarray) -> np.ndarray:
    least = min(fx.min(), f_new.min())
    if least <= 0:
        raise ValueError(f"reward='log' needs f > 0 everywhere, got {least}. Use reward='relative', or shift f.")
    return np.log(fx) - np.log(f_new)


OBSERVATIONS: dict[str, Callable[[Oracle, MDPState], np.ndarray]] = {
    "x": _see_x,
    "history": _see_history,
    "context": _see_context,
}
"""Concatenates x_k (the paper); or x_k, last g, last move, log(1 + queries left); or x_k and the instance's context."""

REWARDS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "decrease": lambda fx, f_new: fx - f_new,
    "paper": lambda fx, f_new: f_new - fx,
    "relative": lambda fx, f_new: (fx - f_new) / np.maximum(np.abs(fx), np.finfo(np.float64).tiny),
    "log": _log_decrease,
}
"""Computes the reward from f(x_k) and f(x_{k+1}). "paper" is the formula as printed: who maximises it makes f grow."""
