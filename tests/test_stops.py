"""How runs of `minimize` end, and what they say of it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from zo_gym import METHODS, ObjectiveError, Result, minimize
from zo_gym.result import Status

FIXED = ["zo-sgd", "zo-sgd-q1", "zo-sgd-sphere", "zo-sgd-central", "zo-momentum", "spsa", "guided-es", "history-rgf"]


def bowl(x: Any) -> float:
    return float((x**2).sum())


def steep(x: Any) -> float:
    return 1e3 * bowl(x)


@pytest.mark.parametrize("method", FIXED)
def test_an_explosion_ends_the_run_and_is_no_success(method: str) -> None:
    asked = list[np.ndarray]()

    def fun(x: np.ndarray) -> float:
        asked.append(x)
        return steep(x)

    result = minimize(fun, [1.0, -2.0], method=method, budget=2000, seed=0)
    assert (result.success, result.status) == (False, Status.DIVERGED)
    assert "Lower learning_rate" in result.message
    assert result.fun == steep(result.x) <= steep(np.array([1.0, -2.0]))
    assert result.nfev == len(asked) < 1000
    assert np.isfinite(asked).all()


@pytest.mark.parametrize("method", [name for name in METHODS if METHODS[name].update != "update-rnn"])
def test_f_is_never_queried_where_x_is_not_finite(method: str) -> None:
    asked = list[np.ndarray]()

    def cliff(x: np.ndarray) -> float:
        asked.append(x)
        return 1e308 if x[0] > 0 else -1e308

    if METHODS[method].needs_gradient:
        pytest.skip("a function has no gradient")
    with contextlib.suppress(ObjectiveError):
        minimize(cliff, [1e-3, 1.0], method=method, budget=60, seed=0)
    assert np.isfinite(asked).all()


def test_a_run_that_finds_nothing_better_is_no_success() -> None:
    result = minimize(lambda x: 1.0, [1.0, 2.0], budget=50, seed=0)
    assert (result.success, result.status) == (False, Status.BUDGET)
    assert "No point better than x0 was found." in result.message
    assert result.x.tolist() == [1.0, 2.0]


def test_a_target_met_by_x0_is_a_success() -> None:
    result = minimize(bowl, [0.0], target=0.0, budget=50, seed=0)
    assert (result.success, result.status, result.nfev) == (True, Status.TARGET, 1)


@pytest.mark.parametrize("rule", [{"ftol": 1e-6}, {"xtol": 1e-4}])
def test_a_tolerance_ends_a_run_that_has_converged(rule: dict[str, float]) -> None:
    result = minimize(bowl, np.ones(3), budget=5000, seed=0, **rule)  # type: ignore[arg-type]
    assert (result.success, result.status) == (True, Status.CONVERGED)
    assert result.nfev < 1000
    assert result.fun < 1e-4
    window = result.nfev - (20 + 10 * 3)
    then = int(np.searchsorted(result.trace.queries, window, side="right")) - 1
    if "ftol" in rule:
        assert result.trace.best[then] - result.fun <= rule["ftol"]


def test_tolerances_of_zero_end_a_run_only_where_nothing_changes_any_more() -> None:
    """f = floor is flat from x = 0 on in every direction that the run can see."""
    result = minimize(lambda x: float(np.floor(10 * abs(x[0]))), [0.95], ftol=0.0, budget=5000, seed=0)
    assert result.status == Status.CONVERGED
    assert result.nfev < 5000


def test_the_time_ends_a_run() -> None:
    def slow(x: Any) -> float:
        time.sleep(0.005)
        return bowl(x)

    result = minimize(slow, np.ones(3), budget=100_000, max_seconds=0.1, seed=0)
    assert (result.success, result.status) == (True, Status.TIME)
    assert result.nfev < 1000


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ({"ftol": -1.0}, "ftol must be finite and >= 0"),
        ({"xtol": float("nan")}, "xtol must be finite and >= 0"),
        ({"max_seconds": 0}, "max_seconds must be a finite number > 0"),
        ({"target": float("nan")}, "target must be a finite number"),
    ],
)
def test_rules_that_are_none_are_explained(rule: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        minimize(bowl, [1.0], **rule)


@pytest.mark.parametrize(("name", "ours"), [("maxiter", "budget"), ("ftoll", "ftol"), ("bound", "bounds")])
def test_keywords_of_others_name_ours(name: str, ours: str) -> None:
    with pytest.raises(TypeError, match=rf"minimize\(\) got an unexpected keyword argument '{name}'.*'{ours}'"):
        minimize(bowl, [1.0], **{name: 1})


# The result


def test_a_result_is_read_by_attribute_and_by_item_and_equals_its_like() -> None:
    one, same, other = (minimize(bowl, np.ones(2), budget=40, seed=seed) for seed in (0, 0, 1))
    assert one["fun"] == one.fun
    assert one["x"] is one.x
    assert set(one.keys()) == {"x", "fun", "nfev", "nit", "success", "status", "message", "trace"}
    assert dict(one)["nfev"] == one.nfev
    with pytest.raises(KeyError, match="hess"):
        one["hess"]
    assert one == same
    assert one != other
    assert one != "a result"


def test_results_of_every_form_are_compared() -> None:
    def run(x0: Any) -> Result:
        return minimize(lambda x: bowl(x["a"]) + bowl(x["b"][0]), x0, budget=40, seed=0)

    start = {"a": torch.ones(2), "b": torch.ones(1, 3)}
    assert run(start) == run(start)
    assert run(start) != run({"a": torch.ones(2), "b": torch.zeros(1, 3)})


def test_the_callback_sees_the_iterate_and_the_best_point() -> None:
    seen = list[Any]()
    minimize(bowl, np.ones(2), method="zo-sgd-q1", budget=41, seed=0, callback=seen.append)
    assert all(progress.last_fun == bowl(progress.last_x) for progress in seen)
    assert all(progress.fun == bowl(progress.x) <= progress.last_fun for progress in seen)
    assert any(progress.fun < progress.last_fun for progress in seen)


# Signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_run_with_its_best_point(number: signal.Signals, tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(
        textwrap.dedent("""
        import signal
        import time
        from zo_gym import minimize

        # As in a terminal: a shell's background job ignores Ctrl-C, and one under nohup SIGHUP.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)

        def fun(x):
            time.sleep(0.002)
            print("query", flush=True)
            return float((x**2).sum())

        result = minimize(fun, [1.0, 2.0], budget=10**6, seed=0)
        print("ended", result.status, result.success, result.fun < 5, result.message, flush=True)
        """)
    )
    root = Path(__file__).resolve().parents[1]
    command, environment = [sys.executable, str(script)], {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            for _ in range(30):
                process.stdout.readline()
            process.send_signal(number)
            rest, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    last = rest.strip().splitlines()[-1]
    assert last.startswith("ended 5 False True Interrupted after")
    assert process.returncode == 0


def test_handlers_of_the_user_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    got = list[int]()
    before = signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))
    try:

        def fun(x: Any) -> float:
            if not got:
                os.kill(os.getpid(), signal.SIGTERM)
            return bowl(x)

        assert minimize(fun, np.ones(2), budget=30, seed=0).success
        assert got == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
    minimize(bowl, np.ones(2), budget=30, seed=0)
    assert signal.getsignal(signal.SIGTERM) == before
