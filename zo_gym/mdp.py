"""The paper's MDP (section 3) over B rows: initial state, transition, observation, reward, end; pure but for the count.

state x_k; action u_k, a perturbation; transition g = delta u (eq. 2), x_{k+1} = x_k - eta g; reward the decrease of f.
`ZOSamplingEnv` is this with B = 1, `ZOSamplingVectorEnv` with B = num_envs; neither adds mathematics of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from zo_gym.base import Family, Generators, Iterate, State, Step
from zo_gym.directions import cosine, unit
from zo_gym.estimators import forward
from zo_gym.family import gradient_of
from zo_gym.oracle import Oracle
from zo_gym.rows import concatenate, put, take
from zo_gym.settings import MDP
from zo_gym.step import begin, observed, refinement, step


class MDPState(NamedTuple):
    """Everything that a row carries from step to step, B rows."""

    iterate: Iterate
    estimate: Tensor
    """g of the last step, (B, d); 0 at the start."""
    move: Tensor
    """x_k - x_{k-1}, (B, d); 0 at the start."""
    gate: State
    sampler: State


class Outcome(NamedTuple):
    """What a transition revealed, B rows."""

    direction: Tensor
    """The unit direction that x moved along (up to sign), (B, d): u, or g / |g| behind a shut gate; with
    direction="scaled" the action that means it."""
    delta: Tensor
    """Signed slope of f along `direction` as measured, (B,)."""
    rho: Tensor | None
    """Eq. 3, (B,), NaN where the gate was open; None with gate "off"."""
    unknown: tuple[Tensor, Tensor] | None
    """The unknown part of f at x_k, (B,), and its signed slope along `direction`, (B,), NaN behind a shut gate; at no
    query. None where nothing is known of f."""
    cosine: Tensor | None
    """cos(g, grad f(x_k)), (B,); None without diagnostics."""


def initial(
    mdp: MDP, oracle: Oracle, generators: Generators, rows: np.ndarray, instances: Sequence[int] | None = None
) -> MDPState:
    """Fresh episodes for these rows of the oracle (one generator each). Costs 1 query per row.

    Of a family, each row's generator draws the instance that it faces, unless `instances` says which (one a row).
    """
    problem = mdp.problem
    if isinstance(problem, Family):
        if instances is None:
            instances = [int(torch.randint(problem.size, (), generator=g, device=g.device)) for g in generators]
        faced = torch.tensor(instances, device=problem.device)
        oracle.restart(rows, generators, faced)
        x = problem.starts(faced, generators)  # (b, d)
    else:
        oracle.restart(rows, generators)
        x = torch.stack([problem.initial(g) for g in generators])
    fx = oracle(x[:, None, :], rows)[:, 0]
    return _start(mdp, x, fx)


def blank(mdp: MDP, rows: int) -> MDPState:
    """A state of the right shapes and types with zeros for x and f. Costs no queries."""
    x = torch.zeros(rows, mdp.problem.dim, dtype=mdp.problem.dtype, device=mdp.problem.device)
    return _start(mdp, x, x[:, 0])


def _start(mdp: MDP, x: Tensor, fx: Tensor) -> MDPState:
    zero = torch.zeros_like(x)
    gate = mdp.gate.init(x.shape[0], x.device)
    return MDPState(begin(x, fx, mdp.rule), zero, zero, gate, mdp.sampler.init(x))


def transition(
    mdp: MDP, oracle: Oracle, generators: Generators, state: MDPState, actions: Tensor
) -> tuple[MDPState, Outcome]:
    """One step of every row.

    Args:
        mdp: The resolved settings.
        oracle: Counts the queries.
        generators: One a row, for the random phase.
        state: B rows.
        actions: u before normalisation, (B, d), finite, in the problem's dtype and on its device.

    Returns:
        The next state and what the step revealed. Costs `policy_cost` queries where the gate is open, `random_cost`
        where it is shut.
    """
    u = _direction_of(mdp, state, actions)
    if mdp.settings.gate == "off":
        return _follow(mdp, oracle, state, u, None)
    is_open = mdp.gate.is_open(state.gate).cpu().numpy()
    if is_open.all():
        return _follow(mdp, oracle, state, u, np.arange(len(u)))
    if not is_open.any():
        return _explore(mdp, oracle, generators, state, u, np.arange(len(u)))
    opened, shut = np.flatnonzero(is_open), np.flatnonzero(~is_open)
    followed = _follow(mdp, oracle, take(state, opened), take(u, opened), opened)
    explored = _explore(mdp, oracle, [generators[int(i)] for i in shut], take(state, shut), take(u, shut), shut)
    order = np.argsort(np.concatenate([opened, shut]))  # back to the rows' own order
    both = [concatenate(a, b) for a, b in zip(followed, explored, strict=True)]
    return take(both[0], order), take(both[1], order)


def _direction_of(mdp: MDP, state: MDPState, actions: Tensor) -> Tensor:
    """What the actions (B, d) mean as directions, (B, d)."""
    if mdp.settings.direction == "raw":
        return actions
    if mdp.settings.direction == "unit":
        return unit(actions)
    assert mdp.sampler.scale is not None  # resolve() saw to it
    return math.sqrt(actions.shape[1]) * unit(mdp.sampler.scale(state.sampler, state.iterate.x) * actions)


def _follow(mdp: MDP, oracle: Oracle, state: MDPState, u: Tensor, rows: np.ndarray | None) -> tuple[MDPState, Outcome]:
    """Move along the policy's direction (eq. 2; Algorithm 2, lines 8, 9 and 13)."""
    s = mdp.settings
    done = step(
        oracle, state.iterate, u.unsqueeze(1), forward, mdp.rule, s.smoothing, reevaluate=s.reevaluate, rows=rows
    )
    slope = done.estimate.slopes.squeeze(1)
    rho = None if s.gate == "off" else torch.full_like(slope, math.nan)
    return _close(mdp, oracle, rows, state, done, u, slope, rho, slope)


def _explore(
    mdp: MDP, oracle: Oracle, generators: Generators, state: MDPState, u: Tensor, rows: np.ndarray
) -> tuple[MDPState, Outcome]:
    """Move along a random estimate and compare the policy's with it (eq. 1 and 3; Algorithm 2, lines 4-9 and 11)."""
    s = mdp.settings
    directions, sampler_state = mdp.sampler.sample(state.sampler, state.iterate.x, s.num_directions, generators)
    state = state._replace(sampler=sampler_state)
    done = step(
        oracle,
        state.iterate,
        directions,
        forward,
        mdp.rule,
        s.smoothing,
        probe=u,
        reevaluate=s.reevaluate,
        refine=refinement(mdp.sampler, sampler_state),
        rows=rows,
    )
    g, probe_slope = done.estimate.gradient, done.probe_slope
    assert probe_slope is not None
    rho = cosine(g, probe_slope[:, None] * u)  # (eq. 3)
    norm = torch.linalg.vector_norm(g, dim=-1).clamp_min(torch.finfo(g.dtype).tiny)
    return _close(mdp, oracle, rows, state, done, unit(g), done.estimate.gain / norm, rho, None)


def _close(
    mdp: MDP,
    oracle: Oracle,
    rows: np.ndarray | None,
    state: MDPState,
    done: Step,
    direction: Tensor,
    delta: Tensor,
    rho: Tensor | None,
    measured: Tensor | None,
) -> tuple[MDPState, Outcome]:
    """State and outcome after a step; `measured` is the slope (B,) along the one direction probed, if it was one."""
    g, x = done.estimate.gradient, state.iterate.x
    gate = state.gate if rho is None else mdp.gate.update(state.gate, rho)
    sampler_state = observed(mdp.sampler, state.sampler, done)
    if mdp.settings.direction == "scaled":  # as an action: what the scales would turn into this direction
        assert mdp.sampler.scale is not None
        scale = mdp.sampler.scale(state.sampler, x)
        direction = unit(direction / scale.clamp_min(torch.finfo(x.dtype).tiny))
    unknown = _unknown_part(mdp, oracle.instances_of(rows), state.iterate, done.directions[:, 0], measured)
    truth = gradient_of(mdp.problem, x, oracle.instances_of(rows)) if mdp.settings.diagnostics else None
    cos = None if truth is None else cosine(g, truth)
    return MDPState(done.iterate, g, done.move, gate, sampler_state), Outcome(direction, delta, rho, unknown, cos)


def _unknown_part(
    mdp: MDP, instances: Tensor, at: Iterate, u: Tensor, slope: Tensor | None
) -> tuple[Tensor, Tensor] | None:
    """f(x) (B,) and the slope (B,) measured along u (B, d), each less that of the known part."""
    if mdp.problem.known is None:
        return None
    mu = mdp.settings.smoothing
    part = mdp.problem.known.value(torch.stack([at.x, at.x + mu * u], dim=1), instances)  # (B, 2)
    rest = at.fx - part[:, 0]
    return rest, torch.full_like(rest, math.nan) if slope is None else slope - (part[:, 1] - part[:, 0]) / mu


def restart(mdp: MDP, oracle: Oracle, generators: Generators, state: MDPState, rows: np.ndarray) -> MDPState:
    """The state with fresh episodes in these rows (one generator each). Costs 1 query per fresh row."""
    return put(state, rows, initial(mdp, oracle, generators, rows))


def true_cosine(mdp: MDP, oracle: Oracle, state: MDPState) -> Tensor | None:
    """cos(g, grad f(x)) of the last step, (B,), 0 at the start; None where f does not know its gradient.

    For loggers that look now and then; `diagnostics=True` reports it at every step. Costs no queries.
    """
    truth = gradient_of(mdp.problem, state.iterate.x - state.move, oracle.instances)
    return None if truth is None else cosine(state.estimate, truth)


def observation(mdp: MDP, oracle: Oracle, state: MDPState) -> np.ndarray:
    """What the agent sees, float32 (B, observation_dim), new memory."""
    return OBSERVATIONS[mdp.settings.observation](oracle, state)


def reward(mdp: MDP, before: MDPState, after: MDPState) -> np.ndarray:
    """float64 (B,), from f(x_k) and f(x_{k+1})."""
    return REWARDS[mdp.settings.reward](_host(before.iterate.fx.double()), _host(after.iterate.fx.double()))


def terminated(mdp: MDP, state: MDPState) -> np.ndarray:
    """Target reached, (B,) bool."""
    if mdp.settings.target is None:
        return np.zeros(state.estimate.shape[0], dtype=bool)
    return (state.iterate.fx <= mdp.settings.target).cpu().numpy()


def truncated(mdp: MDP, oracle: Oracle, state: MDPState) -> np.ndarray:
    """The budget does not hold one more step, (B,) bool."""
    if mdp.settings.gate == "off":
        return ~oracle.fits(mdp.policy_cost)
    is_open = mdp.gate.is_open(state.gate).cpu().numpy()
    return ~oracle.fits(np.where(is_open, mdp.policy_cost, mdp.random_cost))


def info(mdp: MDP, oracle: Oracle, state: MDPState, outcome: Outcome | None) -> dict[str, np.ndarray]:
    """What a person or a logger wants to know, arrays with leading dimension B; `outcome` is None at reset."""
    report = {
        "queries": oracle.queries.copy(),
        "f": _host(state.iterate.fx),
        "best_f": _host(state.iterate.best_f),
    }
    if isinstance(mdp.problem, Family):
        report["instance"] = _host(oracle.instances)
    if mdp.settings.on_failure != "raise":
        report["failures"] = oracle.failures.copy()
    if mdp.settings.gate != "off":
        report["gate_open"] = _host(mdp.gate.is_open(state.gate))
    if outcome is None:
        return report
    report["delta"] = _host(outcome.delta)
    if outcome.unknown is not None:
        report["unknown_f"], report["unknown_delta"] = map(_host, outcome.unknown)
    if outcome.rho is not None:
        report["rho"] = _host(outcome.rho)
        report["direction"] = _host(outcome.direction.to(torch.float32))
    if outcome.cosine is not None:
        report["cosine"] = _host(outcome.cosine)
    return report


def _host(values: Tensor) -> np.ndarray:
    """The values as numpy memory of their own."""
    return values.cpu().numpy().copy()


def _see_x(oracle: Oracle, state: MDPState) -> np.ndarray:
    return _to_float32(state.iterate.x)


def _see_history(oracle: Oracle, state: MDPState) -> np.ndarray:
    left = np.log1p(oracle.remaining.astype(np.float64))[:, None].astype(np.float32)  # (B, 1)
    return np.concatenate([*map(_to_float32, (state.iterate.x, state.estimate, state.move)), left], axis=1)


def _see_context(oracle: Oracle, state: MDPState) -> np.ndarray:
    problem = oracle.problem
    assert problem.context is not None  # resolve() saw to it
    context = problem.context[oracle.instances] if isinstance(problem, Family) else problem.context[None]
    return np.concatenate([_to_float32(state.iterate.x), _to_float32(context)], axis=1)


def _to_float32(values: Tensor) -> np.ndarray:
    """In new memory; what float32 cannot hold becomes its largest value, which is the observation space's bound."""
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
"""x_k (the paper); or x_k, last g, last move, log(1 + queries left); or x_k and the problem's context; concatenated."""

REWARDS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "decrease": lambda fx, f_new: fx - f_new,
    "paper": lambda fx, f_new: f_new - fx,
    "relative": lambda fx, f_new: (fx - f_new) / np.maximum(np.abs(fx), np.finfo(np.float64).tiny),
    "log": _log_decrease,
}
"""(f(x_k), f(x_{k+1})) -> reward. "paper" is the formula as printed: a maximiser of it makes f grow."""
