"""Runs of policies and of methods on one problem from the same starts, as curves over queries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zo_gym.envs.spec import EnvSpec
from zo_gym.envs.vector_env import ZOSamplingVectorEnv
from zo_gym.errors import ObjectiveError
from zo_gym.minimize import minimize
from zo_gym.oracle import Oracle
from zo_gym.problem import Problem
from zo_gym.problems import as_problem
from zo_gym.result import Status
from zo_gym.rng import make_generator
from zo_gym.run import run

from .policies.bundle import Policy
from .policies.methods import follow, gradient_guess

Act = Callable[[np.ndarray], np.ndarray]
"""Observations (B, n) -> actions (B, d)."""

DELTAS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""ZO-SGD is tuned over eta = delta / d, as in the paper (section 4.1), with a finer grid."""

POINTS = 200
"""Steps of the grid from the first query to the budget."""


@dataclass(frozen=True)
class Curves:
    """Holds N runs on one grid of query counts.

    Attributes:
        name: What the table calls it.
        queries: The grid, (T,).
        best: Least f within so many queries, (N, T).
        cosine: |cos(g, grad f)| of the last step within so many queries, (N, T); None if it was not measured.
        spent: Queries that each run spent, (N,).
        early: Whether the interesting part is in the first hundredth of the budget.
    """

    name: str
    queries: np.ndarray
    best: np.ndarray
    cosine: np.ndarray | None
    spent: np.ndarray
    early: bool = False


@dataclass(frozen=True)
class Starts:
    """Holds the starts of the N runs of a comparison.

    Attributes:
        spec: Settings of the environment, resolved.
        seeds: Seed of each run.
        instances: The instance of the problem that each run faces.
        x: The starts, (N, d).
    """

    spec: EnvSpec
    seeds: tuple[int, ...]
    instances: tuple[int, ...]
    x: Tensor


def draw_starts(settings: Mapping[str, Any], seeds: Sequence[int]) -> Starts:
    """Draw the very starts that `run_policy` has for these seeds. Costs 1 query per seed, counted in no curve."""
    env = ZOSamplingVectorEnv(num_envs=len(seeds), **settings)
    env.reset(seed=list(seeds))
    return Starts(env.config, tuple(seeds), tuple(env.oracle.instances.tolist()), env.x)


def run_policy(
    name: str, settings: Mapping[str, Any], act: Act, seeds: Sequence[int], exploration: float, noise_seed: int
) -> Curves:
    """Run one episode per seed, all in one batch.

    Args:
        name: For the table.
        settings: Keywords of the environment.
        act: The policy.
        seeds: Seeds of the starts.
        exploration: Norm of Gaussian noise added to the unit action.
        noise_seed: Seed of that noise.
    """
    env = ZOSamplingVectorEnv(num_envs=len(seeds), **settings)
    rng = np.random.default_rng(noise_seed)
    d = env.config.problem.dim
    observations, info = env.reset(seed=list(seeds))
    traces: list[list[tuple[int, float, float]]] = [[(1, f, np.nan)] for f in info["best_f"]]
    running = np.ones(len(seeds), dtype=bool)
    while running.any():
        noise = exploration / np.sqrt(d) * rng.standard_normal((len(seeds), d))
        observations, _, terminated, truncated, info = env.step((act(observations) + noise).astype(np.float32))
        ended = terminated | truncated
        for row in np.flatnonzero(running):
            last = info["final_info"] if ended[row] else info
            cosine = abs(last["cosine"][row]) if "cosine" in last else np.nan
            traces[row].append((int(last["queries"][row]), last["best_f"][row], cosine))
        running &= ~ended
    grid = grid_of(int(env.config.settings.budget))
    columns = [tuple(zip(*trace, strict=True)) for trace in traces]
    best = np.stack([on_grid(grid, queries, values) for queries, values, _ in columns])
    cosine = np.stack([on_grid(grid, queries, values) for queries, _, values in columns])
    spent = np.array([queries[-1] for queries, _, _ in columns])
    return Curves(name, grid, best, None if np.isnan(cosine[:, 1:]).all() else cosine, spent)


def run_followed(name: str, starts: Starts, policy: Policy) -> Curves:
    """Run the policy's guess, corrected by each run's slopes (`zo_gym.agents.policies.methods.follow`).

    All runs are one batch. The composite term of f, where the problem declares one, is taken exactly.
    """
    s, rows = starts.spec.settings, len(starts.seeds)
    problem = starts.spec.problem.subset(starts.instances)
    noise = [make_generator(seed, problem.device) for seed in starts.seeds]
    oracle = Oracle(problem, rows, budget=s.budget, noise_std=s.noise_std, generators=noise, on_failure=s.on_failure)
    guess = gradient_guess(policy, problem.context)
    method = follow(guess, rows, problem.composite, shape=problem.shape, smoothing=s.smoothing)
    generators = direction_generators(starts.seeds, problem.device)
    options: dict[str, Any] = {"composite": problem.composite is not None, "reevaluate": s.reevaluate}
    moments = run(oracle, method, starts.x, generators, smoothing=s.smoothing, **options)
    trace = [(oracle.queries.copy(), moment.iterate.best_f.cpu().numpy()) for moment in moments]
    queries, best = (np.stack(column, axis=1) for column in zip(*trace, strict=True))
    grid = grid_of(int(s.budget))
    carried = [on_grid(grid, q, f) for q, f in zip(queries, best, strict=True)]
    return Curves(name, grid, np.stack(carried), None, queries[:, -1], early=True)


def run_method(name: str, starts: Starts, *, method: str, **options: Any) -> Curves:
    """Run `minimize` once per start; options as of `zo_gym.minimize`.

    Raises:
        KeyboardInterrupt: Ctrl-C ended a run, and half a run must not pass for a whole one.
        ObjectiveError: f failed.
    """
    s, problem = starts.spec.settings, starts.spec.problem
    grid = grid_of(int(s.budget))
    results = []
    for seed, instance, x in zip(starts.seeds, starts.instances, starts.x, strict=True):
        result = minimize(
            problem.instance(instance),
            x.cpu().numpy(),
            method=method,
            budget=s.budget,
            smoothing=s.smoothing,
            noise_std=s.noise_std,
            reevaluate=s.reevaluate,
            on_failure=s.on_failure,
            seed=seed,
            **options,
        )
        if result.status == Status.INTERRUPTED:  # minimize answers Ctrl-C with what it has
            raise KeyboardInterrupt(result.message)
        results.append(result)
    best = np.stack([on_grid(grid, r.trace.queries.tolist(), r.trace.best.tolist()) for r in results])
    return Curves(name, grid, best, None, np.array([r.nfev for r in results]))


def tuned_zo_sgd(starts: Starts, **options: Any) -> tuple[float, float]:
    """Find the eta of ZO-SGD (q = 20) with the least mean final f from these starts; return it and that f.

    An eta with which f overflows is infinitely bad; ValueError says that all are. Options are those of `minimize`.
    """
    dim = starts.spec.problem.dim
    scores: dict[float, float] = {}
    for delta in DELTAS:
        try:
            curves = run_method("tuning", starts, method="zo-sgd", learning_rate=delta / dim, **options)
        except ObjectiveError:
            continue
        scores[delta / dim] = float(curves.best[:, -1].mean())
    if not scores:
        raise ValueError(f"ZO-SGD diverged for every eta in {[delta / dim for delta in DELTAS]}. Rescale f or x.")
    eta = min(scores, key=scores.__getitem__)
    return eta, scores[eta]


def problem_of(settings: Mapping[str, Any]) -> Problem:
    """Build the problem that the settings name."""
    x0, dim, options = (settings.get(name) for name in ("x0", "dim", "problem_options"))
    return as_problem(settings["problem"], x0=x0, dim=dim, options=options)


def grid_of(budget: int) -> np.ndarray:
    """Return the query counts that curves are stored at, from 1 to the budget, int64 (T,)."""
    return np.unique(np.linspace(1, budget, POINTS + 1).round().astype(np.int64))


def on_grid(grid: np.ndarray, queries: Sequence[int] | np.ndarray, values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Carry values that are known at these query counts (K,) forward to the grid, (..., K) -> (..., T)."""
    places = np.searchsorted(np.asarray(queries), grid, side="right") - 1
    carried: np.ndarray = np.asarray(values, dtype=np.float64)[..., np.maximum(places, 0)]
    return carried


def direction_generators(seeds: tuple[int, ...], device: torch.device) -> list[torch.Generator]:
    """Make one generator per row, for its directions."""
    return [make_generator(int(np.random.SeedSequence([1, seed]).generate_state(1)[0]), device) for seed in seeds]
