"""The paper's MDP (section 3) over B rows: start, transition, reward and end, pure but for the oracle's counts.

`ZOSamplingEnv`, whose docstring describes it, is this with B = 1, and `ZOSamplingVectorEnv` with B = num_envs; neither
adds mathematics of its own. `zo_gym.envs.observations` shows states to agents.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from zo_gym.base import RunState, State, Step
from zo_gym.directions import cosine, unit
from zo_gym.envs.spec import EnvSpec
from zo_gym.oracle import Oracle
from zo_gym.problem import Generators
from zo_gym.step import observe, sample, start, step
from zo_gym.tree import concatenate, leaves, take, with_leaves


class MDPState(NamedTuple):
    """Holds everything that B rows carry from step to step."""

    run: RunState
    """Where the rows are, and the states of rule and sampler."""
    estimate: Tensor
    """g of the last step, (B, d); 0 at the start."""
    move: Tensor
    """x_k - x_{k-1}, (B, d); 0 at the start."""
    gate: State
    """The gate's state."""


class Outcome(NamedTuple):
    """Holds what a transition revealed about B rows."""

    direction: Tensor
    """The unit direction that x moved along (up to sign), (B, d): u, or g / |g| behind a shut gate. With
    direction="scaled": the action that would move x along it."""
    delta: Tensor
    """The measured slope of f along `direction`, (B,)."""
    rho: Tensor | None
    """Eq. 3, (B,), NaN where the gate was open; None with gate "open"."""
    black_box: tuple[Tensor, Tensor] | None = None
    """The black-box part of f at x_k, (B,), and its slope along `direction`, (B,), NaN behind a shut gate; at no query.
    None where the problem declares no composite term."""
    cosine: Tensor | None = None
    """cos(g, grad f(x_k)), (B,); None without diagnostics."""


def initial(
    spec: EnvSpec, oracle: Oracle, generators: Generators, rows: np.ndarray, instances: Sequence[int] | None = None
) -> MDPState:
    """Begin fresh episodes in these rows of the oracle (one generator each). Costs 1 query per row.

    Each row's generator draws its instance where the problem has several, unless `instances` names one per row.
    """
    problem = spec.problem
    if instances is None and problem.size == 1:
        instances = [0] * len(generators)
    elif instances is None:
        instances = [int(torch.randint(problem.size, (), generator=g, device=g.device)) for g in generators]
    faced = torch.tensor(instances, device=problem.device)
    oracle.restart(rows, generators, faced)
    x = problem.initial(faced, generators)  # (b, d)
    return _start(spec, x, oracle(x[:, None, :], rows)[:, 0])


def restored(spec: EnvSpec, rows: int, tensors: list[Tensor]) -> MDPState:
    """Return the state of so many rows from its tensors (`zo_gym.tree.leaves`). Costs no queries.

    Raise ValueError where they are not those of an environment with these settings.
    """
    dim = spec.problem.dim
    x = torch.zeros(rows, dim, dtype=spec.problem.dtype, device=spec.problem.device)
    blank, saved = _start(spec, x, x[:, 0]), tensors[0].shape
    for name, value, expected in (("num_envs", saved[0], rows), ("dim", saved[-1], dim)):
        if value != expected:
            raise ValueError(f"The state must be of {name} = {expected}, got {value}: another environment's.")
    if [tensor.shape for tensor in tensors] != [tensor.shape for tensor in leaves(blank)]:
        raise ValueError("The state must be of an environment with the same settings (update, gate, sampler).")
    state: MDPState = with_leaves(blank, tensors)
    return state


def _start(spec: EnvSpec, x: Tensor, fx: Tensor) -> MDPState:
    zero = torch.zeros_like(x)
    return MDPState(start(spec.policy_step, x, fx), zero, zero, spec.gate.init(x.shape[0], x.device))


def transition(
    spec: EnvSpec,
    oracle: Oracle,
    generators: Generators,
    state: MDPState,
    actions: Tensor,
    rows: np.ndarray | None = None,
) -> tuple[MDPState, Outcome]:
    """Step B rows, which are the oracle's runs with the indices `rows` (B,); None for all of them, in order.

    The actions, u before normalisation, (B, d), are finite, in the problem's dtype and on its device; the generators,
    one per row, serve the random phase. Costs `policy_cost` queries where the gate is open, else `random_cost`.
    """
    u = _direction_of(spec, state, actions)
    if spec.settings.gate == "open":
        return _follow(spec, oracle, state, u, rows)
    is_open = spec.gate.is_open(state.gate).cpu().numpy()
    if is_open.all():
        return _follow(spec, oracle, state, u, rows)
    runs = np.arange(len(u)) if rows is None else rows
    if not is_open.any():
        return _explore(spec, oracle, generators, state, u, runs)
    opened, shut = np.flatnonzero(is_open), np.flatnonzero(~is_open)
    followed = _follow(spec, oracle, take(state, opened), take(u, opened), runs[opened])
    own = [generators[int(i)] for i in shut]
    explored = _explore(spec, oracle, own, take(state, shut), take(u, shut), runs[shut])
    order = np.argsort(np.concatenate([opened, shut]))  # back to the rows' own order
    both: tuple[MDPState, Outcome] = take(concatenate(followed, explored), order)
    return both


def _direction_of(spec: EnvSpec, state: MDPState, actions: Tensor) -> Tensor:
    """Turn actions (B, d) into directions (B, d)."""
    if spec.settings.direction == "raw":
        return actions
    if spec.settings.direction == "unit":
        return unit(actions)
    return math.sqrt(actions.shape[1]) * unit(_scale(spec, state) * actions)


def _scale(spec: EnvSpec, state: MDPState) -> Tensor:
    """Return the sampler's scales at x, (B, d)."""
    assert spec.sampler.scale is not None  # resolve() saw to it
    return spec.sampler.scale(state.run.sampler, state.run.iterate.x)


def _follow(
    spec: EnvSpec, oracle: Oracle, state: MDPState, u: Tensor, rows: np.ndarray | None
) -> tuple[MDPState, Outcome]:
    """Move along the policy's direction (eq. 2; Algorithm 2, lines 8, 9 and 13)."""
    s = spec.settings
    done = step(oracle, spec.policy_step, state.run, u.unsqueeze(1), s.smoothing, reevaluate=s.reevaluate, rows=rows)
    slope = done.estimate.slopes.squeeze(1)
    rho = None if s.gate == "open" else torch.full_like(slope, math.nan)
    return _close(spec, oracle, rows, state, done, Outcome(u, slope, rho))


def _explore(
    spec: EnvSpec, oracle: Oracle, generators: Generators, state: MDPState, u: Tensor, rows: np.ndarray
) -> tuple[MDPState, Outcome]:
    """Move along a random estimate and compare the policy's with it (eq. 1 and 3; Algorithm 2, lines 4-9 and 11)."""
    s = spec.settings
    directions, run = sample(spec.random_step, state.run, generators)
    state = state._replace(run=run)
    done = step(oracle, spec.random_step, run, directions, s.smoothing, probe=u, reevaluate=s.reevaluate, rows=rows)
    g, probe_slope = done.estimate.gradient, done.probe_slope
    assert probe_slope is not None
    rho = cosine(g, probe_slope[:, None] * u)  # (eq. 3)
    norm = torch.linalg.vector_norm(g, dim=-1).clamp_min(torch.finfo(g.dtype).tiny)
    return _close(spec, oracle, rows, state, done, Outcome(unit(g), done.estimate.gain / norm, rho))


def _close(
    spec: EnvSpec, oracle: Oracle, rows: np.ndarray | None, state: MDPState, done: Step, outcome: Outcome
) -> tuple[MDPState, Outcome]:
    """Return the state after a step, and its outcome with what needs the whole step."""
    g, x, mu = done.estimate.gradient, state.run.iterate.x, spec.settings.smoothing
    gate = state.gate if outcome.rho is None else spec.gate.update(state.gate, outcome.rho)
    if spec.problem.composite is not None:
        points = torch.stack([x, x + mu * outcome.direction], dim=1)
        term = spec.problem.composite.value(points, oracle.instances_of(rows))  # (B, 2)
        slope = outcome.delta - (term[:, 1] - term[:, 0]) / mu
        if done.probe_slope is not None:  # the gate was shut
            slope = torch.full_like(slope, math.nan)
        outcome = outcome._replace(black_box=(state.run.iterate.fx - term[:, 0], slope))
    if spec.settings.direction == "scaled":  # the action that the scales would turn into this direction
        scale = _scale(spec, state).clamp_min(torch.finfo(x.dtype).tiny)
        outcome = outcome._replace(direction=unit(outcome.direction / scale))
    if spec.settings.diagnostics:
        assert spec.problem.gradient is not None  # resolve() saw to it
        outcome = outcome._replace(cosine=cosine(g, spec.problem.gradient(x, oracle.instances_of(rows))))
    return MDPState(observe(spec.random_step, state.run, done), g, done.move, gate), outcome


def reward(spec: EnvSpec, before: MDPState, after: MDPState) -> np.ndarray:
    """Compute the rewards, float64 (B,), from f(x_k) and f(x_{k+1})."""
    fx, f_new = before.run.iterate.fx, after.run.iterate.fx
    return REWARDS[spec.settings.reward](fx.double().cpu().numpy(), f_new.double().cpu().numpy())


def _log_decrease(fx: np.ndarray, f_new: np.ndarray) -> np.ndarray:
    least = min(fx.min(), f_new.min())
    if least <= 0:
        raise ValueError(f"reward='log' needs f > 0 everywhere, got {least}. Use reward='relative', or shift f.")
    return np.log(fx) - np.log(f_new)


REWARDS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "decrease": lambda fx, f_new: fx - f_new,
    "paper": lambda fx, f_new: f_new - fx,
    "relative": lambda fx, f_new: (fx - f_new) / np.maximum(np.abs(fx), np.finfo(np.float64).tiny),
    "log": _log_decrease,
}
"""Computes the reward from f(x_k) and f(x_{k+1}). "paper" is the formula as printed: who maximises it makes f grow."""


def ended(spec: EnvSpec, oracle: Oracle, state: MDPState) -> tuple[np.ndarray, np.ndarray]:
    """Tell which rows terminated and which were truncated, (B,) bool each, never both.

    A row terminates where it reached the target, and is truncated where its budget does not hold one more step.
    """
    fx, target = state.run.iterate.fx, spec.settings.target
    terminated = np.zeros(len(fx), dtype=bool) if target is None else (fx <= target).cpu().numpy()
    costs: int | np.ndarray = spec.policy_cost
    if spec.settings.gate != "open":
        costs = np.where(spec.gate.is_open(state.gate).cpu().numpy(), spec.policy_cost, spec.random_cost)
    return terminated, ~oracle.fits(costs) & ~terminated
