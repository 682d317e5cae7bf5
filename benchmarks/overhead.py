"""How much of a run is spent outside f: the share for `make bench`, and a profile that says where."""

from __future__ import annotations

import cProfile
import io
import pstats
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from zo_gym.agents import pretrained
from zo_gym.agents.algorithms.directional import Directional
from zo_gym.agents.offline import OFFLINE, agent_for, learn
from zo_gym.agents.policies.policy_method import field_of, follow

from zo_gym.minimize import minimize
from zo_gym.oracle import Oracle
from zo_gym.problem import Problem
from zo_gym.problems import make_problem
from zo_gym.rng import make_generator
from zo_gym.run import run

LINES = 25


def timed(problem: Problem) -> tuple[Problem, Callable[[], float]]:
    """The problem with a clock around its f, and what the clock shows: seconds inside f so far."""
    spent = 0.0

    def fun(points: Tensor) -> Tensor:
        nonlocal spent
        started = time.perf_counter()
        values = problem.values(points)
        spent += time.perf_counter() - started
        return values

    return replace(problem, fun=fun), lambda: spent


def share_outside(problem: Problem, budget: int) -> Callable[[], float]:
    """Measures the share of a ZO-SGD run (q = 20) that is not spent inside f, from 0 to 1."""

    def measure() -> float:
        watched, inside = timed(problem)
        started = time.perf_counter()
        minimize(watched, method="zo-sgd", budget=budget, seed=0)
        return 1.0 - inside() / (time.perf_counter() - started)

    return measure


def profile(problem: Problem, budget: int) -> str:
    """Where a ZO-SGD run spends its time, function by function, as text."""
    profiler = cProfile.Profile()
    profiler.runcall(minimize, problem, method="zo-sgd", budget=budget, seed=0)
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).strip_dirs().sort_stats("tottime").print_stats(LINES)
    return text.getvalue()


def attack_query(policy: str, images: int, queries: int) -> tuple[Callable[[], float], Callable[[], float]]:
    """Measures seconds of an attack by a query of each image with a policy that ships, and of that asked of f alone.

    Args:
        policy: Its name.
        images: Rows.
        queries: Of each image, behind each measurement.
    """
    loaded = pretrained.load(policy)
    family = make_problem(loaded.config.environment["problem"], split="validation", size=images)
    rows = torch.arange(images)
    starts = family.initial(torch.arange(images), [make_generator(i) for i in range(images)])

    def attack() -> float:
        method = follow(field_of(loaded, family.context), images, family.composite, shape=family.shape)
        generators = [make_generator(i) for i in range(images)]
        oracle = Oracle(family, images, budget=queries + 2)
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
            family.fun(points, rows)
        return (time.perf_counter() - started) / queries

    return attack, ask


def training_share(problem: str, rows: int, steps: int) -> Callable[[], float]:
    """Measures the share of training a directional policy that is spent inside f and in updates, from 0 to 1."""

    def measure() -> float:
        watch = _Watch()
        training = dict(OFFLINE.training)
        family = make_problem(problem, split="train", **training.pop("problem_options"))
        settings = {
            "problem": replace(family, fun=watch.timed(family.fun)),
            "observation": OFFLINE.observation,
            "update": OFFLINE.update,
            **training,
        }
        preset = replace(OFFLINE, num_envs=rows)
        agent: Any = agent_for("ddpg", settings, preset, rows=rows, seed=0, transitions=rows * steps)
        assert isinstance(agent, Directional)
        agent.train = watch.timed(agent.train)  # type: ignore[method-assign]
        started = time.perf_counter()
        learn(agent, 2 * rows * steps)
        return watch.seconds / (time.perf_counter() - started)

    return measure


class _Watch:
    """Adds up the time spent inside functions."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, watched."""

        def watched(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - started

        return watched
