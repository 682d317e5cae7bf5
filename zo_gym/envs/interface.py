"""Converts what passes between an environment and its user: spaces, checked arguments, observations and infos.

The scalar and the batched environment share it. Nothing here costs a query.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from zo_gym.envs.mdp import MDPState, Outcome
from zo_gym.envs.spec import EnvSpec
from zo_gym.oracle import Oracle
from zo_gym.rng import make_generator


def spaces_of(spec: EnvSpec) -> tuple[spaces.Box, spaces.Box]:
    """Return the observation and the action space of one row."""
    most = np.finfo(np.float32).max
    observation = spaces.Box(-most, most, (spec.observation_dim,), np.float32)
    return observation, spaces.Box(-1.0, 1.0, (spec.problem.dim,), np.float32)


def to_tensor(spec: EnvSpec, actions: Any, shape: tuple[int, ...]) -> Tensor:
    """Convert actions of this shape into a tensor in the problem's dtype and on its device.

    Raise TypeError where they are not real numbers, ValueError where they are not finite or have another shape.
    """
    try:
        array = np.asarray(actions.detach().cpu() if isinstance(actions, Tensor) else actions)
    except (TypeError, ValueError) as error:
        raise TypeError(f"action must be an array of real numbers, got {actions!r:.80}.") from error
    if array.dtype.kind not in "fiub":
        raise TypeError(f"action must be an array of real numbers, got {actions!r:.80}.")
    if array.shape != shape:
        raise ValueError(f"action must have shape {shape}, got {array.shape}.")
    if not np.isfinite(array).all():
        place = np.argwhere(~np.isfinite(array))[0].tolist()
        raise ValueError(
            f"action must be finite, got {array[tuple(place)]} at index {place}. "
            "Check the policy's output; if x has diverged, lower learning_rate or use update='adaptive'."
        )
    own = array.astype(np.float64)  # astype copies: the caller may change its array
    return torch.from_numpy(own).to(dtype=spec.problem.dtype, device=spec.problem.device)


def instances_of(spec: EnvSpec, options: dict[str, Any] | None, rows: int) -> list[int] | None:
    """Return the option "instance" of reset(), one number a row; None where it was not given.

    Raise ValueError where there is another option, the problem has one instance, or a row does not get one of several.
    """
    if not options:
        return None
    unknown = sorted(set(options) - {"instance"})
    if unknown:
        raise ValueError(
            f"reset() takes no options but 'instance', got {unknown}. Pass others to gym.make or gym.make_vec instead."
        )
    problem = spec.problem
    if problem.size == 1:
        raise ValueError(f"The option 'instance' is for problems with several; '{problem.name}' has one. Drop it.")
    chosen = np.atleast_1d(np.asarray(options["instance"]))
    integers = chosen.shape == (rows,) and chosen.dtype.kind in "iu"
    if not (integers and bool(((chosen >= 0) & (chosen < problem.size)).all())):
        expected = f"{rows} integer(s) from 0 to {problem.size - 1}, one a row"
        raise ValueError(f"instance must be {expected}, got {options['instance']!r:.80}.")
    return [int(i) for i in chosen]


def row_seeds(seed: int | Sequence[int | None] | None, rows: int) -> list[int | None]:
    """Return a seed for each row: seed + i for row i, or one given for each; None leaves a row's stream as it is."""
    if seed is None:
        return [None] * rows
    if isinstance(seed, (int, np.integer)):
        return [int(seed) + row for row in range(rows)]
    if isinstance(seed, Sequence) and len(seed) == rows:
        return list(seed)
    raise ValueError(f"seed must be None, an int, or a list of {rows} (num_envs), got {seed!r:.80}.")


def episode_generator(np_random: np.random.Generator, spec: EnvSpec) -> torch.Generator:
    """Make the generator of one episode of one row, seeded from that row's own stream."""
    return make_generator(int(np_random.integers(2**63 - 1)), spec.problem.device)


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
