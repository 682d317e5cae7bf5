"""What a user passes to an environment: spaces, and the checks of actions, instances and seeds. It costs no queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from zo_gym.envs.spec import EnvSpec
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
