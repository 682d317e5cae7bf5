"""The clock around f that `make bench` reads."""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.overhead import profile, share_outside, timed
from zo_gym.problems import make_problem


def test_the_clock_runs_inside_f_only() -> None:
    def slow(points: Tensor) -> Tensor:
        time.sleep(0.02)
        return points.sum(1)

    problem, clock = timed(replace(make_problem("quadratic"), fun=slow))
    time.sleep(0.05)
    assert clock() == 0.0
    points = torch.ones(2, 10, dtype=torch.float64)
    assert problem.fun(points).tolist() == [10.0, 10.0]
    assert clock() >= 0.02


def test_the_share_is_that_of_everything_else() -> None:
    def slow(points: Tensor) -> Tensor:
        time.sleep(0.05)
        return points.sum(1)

    slow_f = share_outside(replace(make_problem("quadratic"), fun=slow), 100)()
    quick_f = share_outside(make_problem("quadratic"), 100)()
    assert 0 < slow_f < quick_f < 1  # 9 calls of 50 ms are more than the rest of 100 queries can take


def test_the_profile_names_the_step() -> None:
    assert "ask_step" in profile(make_problem("quadratic"), 2000)
