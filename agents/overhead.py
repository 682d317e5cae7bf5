"""How much of a run is spent outside f: the share for `make bench`, and a profile that says where."""

from __future__ import annotations

import cProfile
import io
import pstats
import time
from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from zo_gym.base import Problem
from zo_gym.minimize import minimize

LINES = 25


def timed(problem: Problem) -> tuple[Problem, Callable[[], float]]:
    """The problem with a clock around its f, and what the clock shows: seconds inside f so far."""
    spent = 0.0

    def fun(points: Tensor) -> Tensor:
        nonlocal spent
        started = time.perf_counter()
        values = problem.fun(points)
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
