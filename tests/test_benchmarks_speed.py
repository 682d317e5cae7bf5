"""The clocks that `make bench` reads."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.overhead import Stopwatch, profile, share_outside
from benchmarks.seconds_per_step import importing, two_evaluations
from benchmarks.speed import SpeedArgs, ratios, run_bench
from zo_gym.problems import make_problem


def slow(points: Tensor, instances: Tensor) -> Tensor:
    """The sum of the coordinates, after 50 ms."""
    time.sleep(0.05)
    return points.sum(2)


def test_the_stopwatch_runs_inside_the_function_only() -> None:
    watch = Stopwatch()
    problem = replace(make_problem("quadratic"), fun=watch.timed(slow))
    time.sleep(0.05)
    assert watch.seconds == 0.0
    assert problem.values(torch.ones(2, 10, dtype=torch.float64)).tolist() == [10.0, 10.0]
    assert watch.seconds >= 0.05


def test_the_stopwatch_counts_calls_that_fail() -> None:
    def failing() -> None:
        time.sleep(0.02)
        raise RuntimeError("f failed")

    watch = Stopwatch()
    with pytest.raises(RuntimeError, match="f failed"):
        watch.timed(failing)()
    assert watch.seconds >= 0.02


def test_the_share_is_that_of_everything_else() -> None:
    slow_f = share_outside(replace(make_problem("quadratic"), fun=slow), 100)()
    quick_f = share_outside(make_problem("quadratic"), 100)()
    assert 0 < slow_f < quick_f < 1  # 9 calls of 50 ms are more than the rest of 100 queries can take


def test_the_profile_names_the_step() -> None:
    assert "ask_step" in profile(make_problem("quadratic"), 2000)


def test_the_two_sides_of_a_ratio_are_measured_in_turn_after_a_pair_that_does_not_count() -> None:
    calls: list[str] = []
    numbers = iter([9.0, 9.0, 6.0, 2.0, 5.0, 1.0])

    def side(name: str) -> float:
        calls.append(name)
        return next(numbers)

    np.testing.assert_array_equal(ratios(lambda: side("above"), lambda: side("below"), 2), [3.0, 5.0])
    assert calls == ["above", "below"] * 3


def test_two_evaluations_take_twice_as_long_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    found = replace(make_problem("quadratic"), fun=slow)
    monkeypatch.setattr("benchmarks.seconds_per_step.make_problem", lambda name: found)
    assert 0.1 <= two_evaluations("quadratic", 3, 1)() < 0.2


def test_an_import_is_timed_in_an_interpreter_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sleeps.py").write_text("import time\ntime.sleep(0.2)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert importing("sleeps")() >= 0.2
    assert importing("sleeps")() >= 0.2  # not from memory


def test_a_training_that_ends_before_the_agent_learns_is_refused() -> None:
    with pytest.raises(ValueError, match="--training-steps must be >= 200"):
        run_bench(SpeedArgs(training_steps=100))
