"""Measure how much of a run is spent outside f, for `make bench`, and profile where."""

from __future__ import annotations

import cProfile
import io
import pstats
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from zo_gym.agents.algorithms.directional import Directional
from zo_gym.agents.build import agent_for
from zo_gym.agents.policies import pretrained
from zo_gym.agents.policies.methods import follow, gradient_guess
from zo_gym.agents.presets import DIRECTIONAL_PRESETS
from zo_gym.agents.training_run import learn_within
from zo_gym.minimize import minimize
from zo_gym.oracle import Oracle
from zo_gym.problem import Problem
from zo_gym.problems import make_problem
from zo_gym.rng import make_generator
from zo_gym.run import run

LINES = 25
"""Functions in a profile."""


class Stopwatch:
    """Adds up the time that is spent inside functions, in seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, timed by this watch."""

        def watched(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - started

        return watched


def share_outside(problem: Problem, budget: int) -> Callable[[], float]:
    """Return what measures the share of a ZO-SGD run (q = 20) that is not spent inside f, from 0 to 1."""

    def measure() -> float:
        watch = Stopwatch()
        watched = replace(problem, fun=watch.timed(problem.fun))
        started = time.perf_counter()
        minimize(watched, method="zo-sgd", budget=budget, seed=0)
        return 1.0 - watch.seconds / (time.perf_counter() - started)

    return measure


def profile(problem: Problem, budget: int) -> str:
    """Return where a ZO-SGD run spends its time, function by function, as text."""
    profiler = cProfile.Profile()
    profiler.runcall(minimize, problem, method="zo-sgd", budget=budget, seed=0)
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).strip_dirs().sort_stats("tottime").print_stats(LINES)
    return text.getvalue()


def attack_query(policy: str, images: int, queries: int) -> tuple[Callable[[], float], Callable[[], float]]:
    """Return what measures the seconds that an attack takes by a query of each image, and what f alone takes for it.

    Args:
        policy: Name of the policy that ships and is followed.
        images: Number of rows.
        queries: Queries of each image in each measurement.
    """
    loaded = pretrained.load(policy)
    problem = make_problem(loaded.config.environment["problem"], split="validation", size=images)
    rows = torch.arange(images)
    starts = problem.initial(torch.arange(images), [make_generator(i) for i in range(images)])

    def attack() -> float:
        method = follow(gradient_guess(loaded, problem.context), images, problem.composite, shape=problem.shape)
        generators = [make_generator(i) for i in range(images)]
        oracle = Oracle(problem, images, budget=queries + 2)
        moments = run(oracle, method, starts, generators, composite=True)
        next(moments), next(moments)  # the start, and a step that pays for first-time work
        started, before = time.perf_counter(), oracle.total
        for _ in moments:
            pass
        return (time.perf_counter() - started) * images / (oracle.total - before)

    def ask() -> float:
        points = starts.unsqueeze(1)
        started = time.perf_counter()
        for _ in range(queries):
            problem.fun(points, rows)
        return (time.perf_counter() - started) / queries

    return attack, ask


def training_share(name: str, rows: int, steps: int) -> Callable[[], float]:
    """Return what measures the share of training a directional policy that f and updates take, from 0 to 1."""

    def measure() -> float:
        watch = Stopwatch()
        offline = DIRECTIONAL_PRESETS["offline"]
        training = dict(offline.training)
        problem = make_problem(name, split="train", **training.pop("problem_options"))
        settings = {
            "problem": replace(problem, fun=watch.timed(problem.fun)),
            "observation": offline.observation,
            "update": offline.update,
            **training,
        }
        preset = replace(offline, num_envs=rows)
        agent: Any = agent_for("ddpg", settings, preset, rows=rows, seed=0, transitions=rows * steps)
        assert isinstance(agent, Directional)
        agent.train = watch.timed(agent.train)  # type: ignore[method-assign]
        started = time.perf_counter()
        learn_within(agent, 2 * rows * steps)
        return watch.seconds / (time.perf_counter() - started)

    return measure
