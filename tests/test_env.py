"""The scalar environment: registration, the transition against numpy, rewards, info, ends, rendering, round trips."""

from __future__ import annotations

import copy
import importlib
import json
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

import zo_gym
from zo_gym import GATES, RULES, ObjectiveError, Problem, ZOSamplingEnv, single_problem
from zo_gym.envs.spec import Settings
from zo_gym.problems import make_problem

MU, ETA = 0.01, 0.2
H = np.diag([1.0, 4.0, 9.0])
CENTRE = np.array([0.5, -1.0, 2.0])
START = np.array([1.0, 2.0, -1.0])


def bowl(x: np.ndarray) -> float:
    """1/2 (x - c)^T H (x - c) + 1: positive everywhere."""
    return float(0.5 * (x - CENTRE) @ H @ (x - CENTRE) + 1.0)


class Counted:
    """A function that counts its own evaluations and keeps the points, whatever the environment claims."""

    def __init__(self, fun: Callable[[np.ndarray], float] = bowl) -> None:
        self.fun = fun
        self.points: list[np.ndarray] = []

    def __call__(self, x: np.ndarray) -> float:
        self.points.append(x.copy())
        return self.fun(x)


def bowl_env(fun: Callable[[np.ndarray], float] = bowl, **options: Any) -> ZOSamplingEnv:
    keywords: dict[str, Any] = {"x0": START, "smoothing": MU, "learning_rate": ETA, **options}
    return ZOSamplingEnv(fun, **keywords)


def actions_for(env: gym.Env[Any, Any], steps: int, seed: int = 0) -> np.ndarray:
    assert env.action_space.shape is not None
    return np.random.default_rng(seed).uniform(-1, 1, (steps, *env.action_space.shape)).astype(np.float32)


def run(env: gym.Env[Any, Any], steps: int = 12, seed: int = 3) -> list[Any]:
    """Everything that reset and step return, one flat list, reset where an episode ends."""
    seen: list[Any] = list(env.reset(seed=seed))
    for action in actions_for(env, steps, seed):
        *result, terminated, truncated, info = env.step(action)
        seen += [*result, terminated, truncated, info]
        if terminated or truncated:
            seen += env.reset()
    return seen


def same(first: list[Any], second: list[Any]) -> bool:
    np.testing.assert_equal(first, second)  # exact, NaN equal to NaN
    return True


# Registration


def test_make_by_name() -> None:
    env = gym.make("ZOSampling-v0")
    assert isinstance(env.unwrapped, ZOSamplingEnv)
    assert env.observation_space.shape == env.action_space.shape == (30,)
    assert env.observation_space.dtype == env.action_space.dtype == np.float32
    np.testing.assert_array_equal(env.action_space.high, 1.0)
    np.testing.assert_array_equal(env.action_space.low, -1.0)
    assert env.unwrapped.config.settings == Settings()


def test_make_with_the_module_in_the_name_imports_it() -> None:
    code = (
        "import sys, gymnasium as gym; assert 'zo_gym' not in sys.modules; "
        "env = gym.make('zo_gym:ZOSampling-v0', budget=50); print(env.reset(seed=0)[1]['queries'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "1", done.stderr


def test_importing_twice_is_harmless() -> None:
    before = gym.registry[zo_gym.ENV_ID]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        importlib.reload(zo_gym)
    assert gym.registry[zo_gym.ENV_ID] is before


# Checkers. The filter "error" of setup.cfg makes every warning of theirs a failure.

CHECKED = {
    "default": {},
    "history": {"observation": "history", "budget": 60},
    "gate": {"gate": "hysteresis", "num_directions": 4, "budget": 100, "diagnostics": True},
    "noise": {"noise_std": 0.1, "reevaluate": True, "problem": "quadratic", "learning_rate": 0.01},
}


@pytest.fixture
def no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """render_mode="human" without a display: the window is not what is tested here."""
    monkeypatch.setattr("zo_gym.envs.render.canvas.show", lambda picture, window: None)


@pytest.mark.usefixtures("no_window")
@pytest.mark.parametrize("name", CHECKED)
def test_gymnasium_check_env_finds_nothing(name: str) -> None:
    env = gym.make("ZOSampling-v0", **CHECKED[name]).unwrapped
    assert env.spec is not None  # so that every render mode is checked
    check_env(env)


@pytest.mark.parametrize("name", CHECKED)
@pytest.mark.parametrize("render_mode", [None, "rgb_array", "ansi"])
def test_stable_baselines3_check_env_finds_nothing(name: str, render_mode: str | None) -> None:
    check_env_for_sb3(gym.make("ZOSampling-v0", render_mode=render_mode, **CHECKED[name]).unwrapped, warn=True)


# The transition (eq. 2), in numpy


def test_transition_is_equation_2_and_a_gradient_step() -> None:
    counted = Counted()
    env = bowl_env(counted)
    observation, info = env.reset(seed=0)
    x, best = START, bowl(START)
    np.testing.assert_array_equal(observation, START.astype(np.float32))
    assert info == {"queries": 1, "f": bowl(START), "best_f": bowl(START)}
    assert len(counted.points) == 1
    for k, action in enumerate(actions_for(env, 20), start=1):
        u = action.astype(np.float64) / np.linalg.norm(action.astype(np.float64))
        delta = (bowl(x + MU * u) - bowl(x)) / MU
        probe, x = x + MU * u, x - ETA * delta * u
        best = min(best, bowl(x))
        observation, _, terminated, truncated, info = env.step(action)
        assert (terminated, truncated) == (False, False)
        # 1e-9: |f| ~ 20 has rounding error 4e-15, which mu = 0.01 turns into 4e-13 a step
        np.testing.assert_allclose(env.x, x, atol=1e-9)
        np.testing.assert_allclose(counted.points[-2:], [probe, x], atol=1e-9)
        np.testing.assert_array_equal(observation, env.x.astype(np.float32))
        assert info == {
            "queries": 1 + 2 * k,
            "f": pytest.approx(bowl(x), rel=1e-9),
            "best_f": pytest.approx(best, rel=1e-9),
            "delta": pytest.approx(delta, rel=1e-6, abs=1e-9),
        }
        assert len(counted.points) == info["queries"]
    assert best == pytest.approx(bowl(env.best_x), rel=1e-9)


def test_gradient_direction_of_either_sign_and_any_length_moves_along_the_gradient() -> None:
    gradient = H @ (START - CENTRE)
    ends = []
    for scale in (1.0, -1.0, 0.01):
        env = bowl_env(smoothing=1e-6)
        env.reset(seed=0)
        env.step(scale * gradient / np.abs(gradient).max())
        ends.append(env.x)
    # mu |H| / 2 bounds the error of the forward slope: 4.5e-6 for mu = 1e-6
    np.testing.assert_allclose(ends, [START - ETA * gradient] * 3, atol=1e-5)


def test_direction_raw_keeps_the_length() -> None:
    action = np.array([0.5, 0.0, -0.25], dtype=np.float32)
    env = bowl_env(direction="raw")
    env.reset(seed=0)
    info = env.step(action)[4]
    u = action.astype(np.float64)
    delta = (bowl(START + MU * u) - bowl(START)) / MU
    assert info["delta"] == pytest.approx(delta, rel=1e-9)
    np.testing.assert_allclose(env.x, START - ETA * delta * u, atol=1e-9)


@pytest.mark.parametrize("direction", ["unit", "raw"])
def test_zero_action_probes_and_stays(direction: str) -> None:
    counted = Counted()
    env = bowl_env(counted, direction=direction)
    env.reset(seed=0)
    observation, reward, _, _, info = env.step(np.zeros(3, dtype=np.float32))
    np.testing.assert_array_equal(env.x, START)
    np.testing.assert_array_equal(observation, START.astype(np.float32))
    assert (reward, info["delta"], info["queries"], len(counted.points)) == (0.0, 0.0, 3, 3)


def test_the_agents_arrays_are_not_touched_and_returned_ones_are_not_reused() -> None:
    env = bowl_env()
    action = np.array([1.0, 0.5, 0.0], dtype=np.float32)
    first, _ = env.reset(seed=0)
    kept, before = first.copy(), action.copy()
    second = env.step(action)[0]
    x = env.x
    env.step(action)
    np.testing.assert_array_equal(action, before)
    np.testing.assert_array_equal(first, kept)
    assert not np.shares_memory(second, first)
    x += 1.0
    assert not np.array_equal(env.x, x)


# Rewards, observation, info

REWARDS: dict[str, Callable[[float, float], float]] = {
    "decrease": lambda old, new: old - new,
    "paper": lambda old, new: new - old,
    "relative": lambda old, new: (old - new) / abs(old),
    "log": lambda old, new: np.log(old / new),
}


def episode_of_values(env: ZOSamplingEnv, steps: int = 10) -> tuple[list[float], list[float]]:
    """f after reset and every step, and the rewards."""
    values, rewards = [env.reset(seed=1)[1]["f"]], []
    for action in actions_for(env, steps):
        _, reward, _, _, info = env.step(action)
        assert type(reward) is float
        rewards.append(reward)
        values.append(info["f"])
    return values, rewards


@pytest.mark.parametrize("name", REWARDS)
def test_reward_formula(name: str) -> None:
    values, rewards = episode_of_values(bowl_env(reward=name, learning_rate=0.3))
    expected = [REWARDS[name](old, new) for old, new in pairwise(values)]
    np.testing.assert_allclose(rewards, expected, rtol=1e-9, atol=1e-14)
    assert min(expected) < 0 < max(expected)  # both signs were seen


def test_paper_reward_is_the_negative_of_the_decrease() -> None:
    decrease, paper = (episode_of_values(bowl_env(reward=name))[1] for name in ("decrease", "paper"))
    np.testing.assert_array_equal(paper, np.negative(decrease))


def test_relative_reward_of_f_equal_to_zero_is_finite() -> None:
    env = ZOSamplingEnv(lambda x: 0.0, x0=[1.0], reward="relative")
    env.reset(seed=0)
    assert env.step(np.ones(1))[1] == 0.0


INFO: dict[str, tuple[dict[str, Any], set[str], set[str]]] = {
    "plain": ({}, set(), set()),
    "diagnostics": ({"diagnostics": True}, set(), {"cosine"}),
    "gate": ({"gate": "calibrated"}, {"gate_open"}, {"gate_open", "rho", "direction"}),
    "failures": ({"on_failure": "retry"}, {"failures"}, {"failures"}),
}


@pytest.mark.parametrize("name", INFO)
def test_info_has_exactly_the_keys_it_promises(name: str) -> None:
    options, at_reset, at_step = INFO[name]
    env = ZOSamplingEnv("quadratic", learning_rate=0.01, **options)
    _, info = env.reset(seed=0)
    assert set(info) == {"queries", "f", "best_f"} | at_reset
    info = env.step(actions_for(env, 1)[0])[4]
    assert set(info) == {"queries", "f", "best_f", "delta"} | at_step
    plain = {key: value for key, value in info.items() if key != "direction"}
    assert json.loads(json.dumps(plain))  # Python's own numbers, not numpy's


def test_cosine_is_that_of_g_and_the_true_gradient() -> None:
    env = ZOSamplingEnv("quadratic", dim=6, learning_rate=0.01, diagnostics=True, smoothing=1e-5)
    env.reset(seed=0)
    gradients = env.config.problem.gradients
    for action in actions_for(env, 10):
        true = gradients(torch.as_tensor(env.x)[None, :])[0].numpy()
        info = env.step(action)[4]
        # g = delta u, so the sign of the action drops out and the cosine is never negative
        expected = abs(true @ action) / np.linalg.norm(true) / np.linalg.norm(action)
        # the forward difference's error mu |H| / 2 = 5e-4 may flip the sign only where the slope is that small
        assert info["cosine"] == pytest.approx(expected, abs=1e-6)
    true = gradients(torch.as_tensor(env.x)[None, :])[0].numpy()
    assert env.step(true / np.abs(true).max())[4]["cosine"] == pytest.approx(1.0, abs=1e-9)


def test_history_observation_is_x_estimate_move_and_log_of_queries_left() -> None:
    budget = 101
    env = bowl_env(observation="history", budget=budget)
    assert env.observation_space.shape == (3 * 3 + 1,)
    observation, _ = env.reset(seed=0)
    assert observation.dtype == np.float32
    np.testing.assert_allclose(observation, [*START, *np.zeros(6), np.log1p(budget - 1)], rtol=1e-6)
    x = START
    for action in actions_for(env, 8):
        observation, _, _, _, info = env.step(action)
        u = action.astype(np.float64) / np.linalg.norm(action.astype(np.float64))
        g = info["delta"] * u
        expected = [*env.x, *g, *(env.x - x), np.log1p(budget - info["queries"])]
        np.testing.assert_allclose(observation, expected, rtol=1e-5, atol=1e-6)  # float32
        np.testing.assert_allclose(env.x - x, -ETA * g, atol=1e-9)
        x = env.x
        assert env.observation_space.contains(observation)


@pytest.mark.parametrize("observation", ["x", "history"])
def test_observation_stays_in_its_space_when_the_run_diverges(observation: str) -> None:
    env = ZOSamplingEnv(lambda x: 1e30 * float(np.abs(x).sum()), x0=[1.0], learning_rate=1e10, observation=observation)
    env.reset(seed=0)
    seen = env.step(np.ones(1))[0]
    assert env.x[0] < -1e39  # more than float32 can hold
    assert env.observation_space.contains(seen)


# Noise and failures


def test_noise_has_the_declared_size_and_repeats_with_the_seed() -> None:
    env = ZOSamplingEnv(lambda x: 0.0, x0=[0.0], noise_std=0.3, direction="raw", budget=4003, learning_rate=1e-6)
    values = [env.reset(seed=5)[1]["f"]]
    values += [env.step(np.zeros(1))[4]["f"] for _ in range(2000)]
    # 2,001 draws: the mean's standard error is 0.0067, the deviation's 0.0047; four of each
    assert abs(np.mean(values)) < 0.027
    assert abs(np.std(values) - 0.3) < 0.019
    assert env.reset(seed=5)[1]["f"] == values[0]


def test_reevaluate_queries_f_of_x_anew() -> None:
    counted = Counted(lambda x: 0.0)
    env = ZOSamplingEnv(counted, x0=[1.0, 2.0], noise_std=1.0, reevaluate=True, smoothing=0.5)
    _, info = env.reset(seed=0)
    f = info["f"]
    env.step(np.array([1.0, 0.0]))
    np.testing.assert_array_equal(counted.points[1:3], [[1.5, 2.0], [1.0, 2.0]])
    assert len(counted.points) == env.oracle.queries[0] == 4
    reward, info = env.step(np.zeros(2))[1::3]
    assert info["queries"] == 7
    assert reward != f - info["f"]  # the reward compares with the cached f(x_k), which is not the first one


@pytest.mark.parametrize("on_failure", ["penalize", "retry"])
def test_failures_are_counted_and_survived(on_failure: str) -> None:
    counted = Counted()
    counted.fun = lambda x: float("nan") if len(counted.points) == 4 else bowl(x)
    env = bowl_env(counted, on_failure=on_failure)
    env.reset(seed=0)
    failures = [env.step(action)[4]["failures"] for action in actions_for(env, 3)]
    assert failures == [0, 1, 1]
    assert env.oracle.queries[0] == len(counted.points) == 7 + (on_failure == "retry")


# Ends


@given(
    gate=st.sampled_from(list(GATES)),
    q=st.integers(1, 8),
    extra=st.integers(0, 60),
    reevaluate=st.booleans(),
    update=st.sampled_from(["sgd", "adaptive"]),
    seed=st.integers(0, 99),
)
def test_budget_ends_the_episode_and_is_never_exceeded(
    gate: str, q: int, extra: int, reevaluate: bool, update: str, seed: int
) -> None:
    policy_cost, random_cost = 2 + reevaluate, q + 2 + reevaluate
    budget = 1 + (policy_cost if gate == "open" else random_cost) + extra
    counted = Counted()
    env = bowl_env(
        counted,
        budget=budget,
        gate=gate,
        gate_threshold=0.2,
        num_directions=q,
        reevaluate=reevaluate,
        update=update,
        learning_rate=0.1,
    )
    _, info = env.reset(seed=seed)
    rng = np.random.default_rng(seed)
    for _ in range(budget):
        is_open = info.get("gate_open", True)
        spent = info["queries"]
        _, _, terminated, truncated, info = env.step(rng.uniform(-1, 1, 3))
        assert info["queries"] == len(counted.points) == spent + (policy_cost if is_open else random_cost) <= budget
        assert not terminated
        next_cost = policy_cost if info.get("gate_open", True) else random_cost
        assert truncated == (budget - info["queries"] < next_cost)
        if truncated:
            break
    assert truncated


def test_least_budget_holds_one_step() -> None:
    env = bowl_env(budget=3)
    env.reset(seed=0)
    assert env.step(np.ones(3))[2:4] == (False, True)


@given(fails=st.sets(st.integers(1, 60)), budget=st.integers(12, 60))
def test_retries_never_exceed_the_budget_either(fails: set[int], budget: int) -> None:
    fails -= {n for n in fails if {n - 1, n - 2, n - 3} <= fails}  # four in a row are an ObjectiveError
    counted = Counted()
    counted.fun = lambda x: float("nan") if len(counted.points) in fails else bowl(x)
    env = bowl_env(counted, budget=budget, on_failure="retry")
    _, info = env.reset(seed=0)
    truncated = False
    while not truncated:
        _, _, _, truncated, info = env.step(np.ones(3))
        assert info["queries"] == len(counted.points) <= budget
    assert budget - info["queries"] < 2 * 4  # a step's two queries, each retried three times


def test_a_retry_that_fails_counts_as_a_failure_too() -> None:
    counted = Counted()
    counted.fun = lambda x: float("nan") if len(counted.points) in (2, 3) else bowl(x)
    env = bowl_env(counted, on_failure="retry")
    env.reset(seed=0)
    info = env.step(np.ones(3))[4]
    assert (info["queries"], info["failures"]) == (5, 2)


@pytest.mark.parametrize("budget", [5000, 3])  # 3: target and budget at once
def test_target_terminates_and_does_not_truncate(budget: int) -> None:
    gradient = H @ (START - CENTRE)
    env = bowl_env(target=bowl(START) - 1.0, learning_rate=0.01, budget=budget)
    env.reset(seed=0)
    _, _, terminated, truncated, info = env.step(gradient / np.abs(gradient).max())
    assert info["f"] <= bowl(START) - 1.0
    assert (terminated, truncated) == (True, False)
    with pytest.raises(gym.error.ResetNeeded, match="target"):
        env.step(gradient)


# Determinism


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("noise_std", [0.0, 0.1])
def test_same_seed_same_rollout(gate: str, noise_std: float) -> None:
    options: dict[str, Any] = {"gate": gate, "noise_std": noise_std, "num_directions": 3, "budget": 40}
    options |= {"problem": "quadratic", "learning_rate": 0.01, "observation": "history"}
    first, again = ZOSamplingEnv(**options), ZOSamplingEnv(**options)
    seen = run(first)
    assert same(seen, run(again))
    assert same(seen, run(first))  # a second time on the same object, whatever came before
    assert not np.array_equal(seen[0], run(first, seed=4)[0])


def test_episodes_of_one_seed_differ_and_global_generators_are_left_alone() -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[union-attr]
    env = ZOSamplingEnv(noise_std=0.1, gate="paper")
    first, _ = env.reset(seed=0)
    env.step(actions_for(env, 1)[0])
    assert not np.array_equal(first, env.reset()[0])
    assert torch.equal(torch_state, torch.get_rng_state())
    np.testing.assert_array_equal(numpy_state, np.random.get_state()[1])  # type: ignore[index]


# What problem= may be


def batched_bowl(points: np.ndarray) -> np.ndarray:
    return np.array([bowl(x) for x in points])


def tensor_bowl(x: torch.Tensor) -> torch.Tensor:
    assert isinstance(x, torch.Tensor)
    return 0.5 * (torch.tensor([1.0, 4.0, 9.0]) * (x - torch.as_tensor(CENTRE)).square()).sum() + 1.0


def a_problem() -> Problem:
    def fun(points: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(batched_bowl(points.numpy()))

    return single_problem("bowl", 3, fun, lambda generator: torch.as_tensor(START))


SOURCES: dict[str, dict[str, Any]] = {
    "callable": {"problem": bowl, "x0": START},
    "list": {"problem": bowl, "x0": START.tolist()},
    "batched": {"problem": batched_bowl, "x0": START, "batched": True},
    "tensors": {"problem": tensor_bowl, "x0": torch.as_tensor(START)},
    "problem": {"problem": a_problem()},
    "problem with x0": {"problem": a_problem(), "x0": START},
}


@pytest.mark.parametrize("name", SOURCES)
def test_every_way_to_give_f_gives_the_same_episode(name: str) -> None:
    reference = run(bowl_env())
    seen = run(ZOSamplingEnv(**SOURCES[name], smoothing=MU, learning_rate=ETA))
    for ours, theirs in zip(reference, seen, strict=True):
        if isinstance(ours, dict):
            assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-8)
        else:
            np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)


def test_dim_alone_draws_a_start_for_a_function() -> None:
    env = ZOSamplingEnv(lambda x: float(x @ x), dim=7)
    starts = np.array([env.reset(seed=seed)[0] for seed in range(300)])
    assert starts.shape == (300, 7)
    # N(0, I) / sqrt(7): 2,100 draws, so |x|^2 averages 1 with standard error sqrt(2 / 2100) = 0.03; four of them
    assert np.square(starts).sum(1).mean() == pytest.approx(1.0, abs=0.13)


def test_x0_replaces_a_registered_problems_start_and_dim_sizes_it() -> None:
    env = gym.make("ZOSampling-v0", problem="quadratic", dim=4, x0=[1, 2, 3, 4])
    for seed in (0, 1):
        np.testing.assert_array_equal(env.reset(seed=seed)[0], [1, 2, 3, 4])


def test_problem_options_reach_the_problem() -> None:
    for labels in ("pm1", "01"):
        env = ZOSamplingEnv("breast_cancer", problem_options={"labels": labels})
        _, info = env.reset(seed=0)
        x = torch.as_tensor(env.x)[None, :]
        assert info["f"] == make_problem("breast_cancer", labels=labels).values(x).item()
    pm1, zero_one = (ZOSamplingEnv(problem_options={"labels": name}).reset(seed=0)[1]["f"] for name in ("pm1", "01"))
    assert pm1 > zero_one  # by 0.37 times the mean of 1 + 2 s over the negative class


def test_float32_start_makes_a_float32_run() -> None:
    env = ZOSamplingEnv(lambda x: float(x @ x), x0=np.ones(4, dtype=np.float32))
    env.reset(seed=0)
    env.step(np.ones(4))
    assert env.x.dtype == np.float32


# Numbers of every kind


def test_an_integer_beyond_64_bits_is_a_value_like_any_other() -> None:
    exact = [2**70, 10**30, -(2**65)]
    values = iter([*exact, *exact])
    env = ZOSamplingEnv(lambda x: next(values), x0=[0.0], direction="raw")
    assert env.reset(seed=0)[1]["f"] == 2.0**70
    assert env.step(np.zeros(1))[4]["f"] == -(2.0**65)
    many = ZOSamplingEnv(lambda X: [2**70 + round(x[0]) for x in X], x0=[0.0], batched=True)
    assert many.reset(seed=0)[1]["f"] == 2.0**70
    endless = ZOSamplingEnv(lambda x: 10**400, x0=[0.0])
    with pytest.raises(ObjectiveError, match="returned inf at query 1"):
        endless.reset(seed=0)


@pytest.mark.parametrize("dtype", [">f8", ">f4", ">i4", np.longdouble])
@pytest.mark.parametrize("batched", [False, True])
def test_foreign_byte_orders_and_long_doubles_are_numbers(dtype: Any, batched: bool) -> None:
    start = np.array([3, 1, -2], dtype=dtype)

    def fun(x: np.ndarray) -> np.ndarray:
        return ((x - 1) ** 2).sum(-1).astype(dtype)

    env = ZOSamplingEnv(fun, x0=start, batched=batched, learning_rate=0.1)
    observation, info = env.reset(seed=0)
    assert (observation.tolist(), info["f"]) == ([3.0, 1.0, -2.0], 13.0)
    assert env.x.dtype.isnative
    assert env.x.dtype == (np.float32 if dtype == ">f4" else np.float64)
    env.step(np.array([0.0, 0.0, 1.0]))
    if dtype != ">i4":  # which rounds f
        np.testing.assert_allclose(env.x, [3, 1, -2 + 0.1 * 5.99], rtol=1e-4 if dtype == ">f4" else 1e-9)


def test_reversed_and_read_only_values_are_copied() -> None:
    kept = []

    def fun(points: np.ndarray) -> np.ndarray:
        values = (points**2).sum(1)[::-1]
        values.flags.writeable = False
        kept.append(values)
        return values

    env = ZOSamplingEnv(fun, x0=[1.0, 2.0], batched=True)
    assert env.reset(seed=0)[1]["f"] == kept[0][0] == 5.0


# Update rules


@pytest.mark.parametrize("name", sorted(set(RULES) - {"update-rnn"}))  # which descends only once it is trained
def test_every_update_rule_descends_and_can_be_given_ready_made(name: str) -> None:
    rate = {"sgd": 0.1, "momentum": 0.02, "adaptive": 1.0}.get(name, 0.05)
    seen = run(bowl_env(update=name, learning_rate=rate), steps=60)
    assert seen[-1]["best_f"] < 0.7 * seen[1]["f"]
    assert same(seen, run(bowl_env(update=RULES[name](rate)), steps=60))


def test_adaptive_never_climbs_and_keeps_x_where_it_rejects() -> None:
    env = bowl_env(update="adaptive", learning_rate=100.0)
    env.reset(seed=0)
    rejected = 0
    for action in actions_for(env, 40):
        x = env.x
        reward = env.step(action)[1]
        assert reward >= 0
        rejected += reward == 0
        assert (reward == 0) == np.array_equal(x, env.x)
    assert rejected > 3


# Rendering


def play(env: gym.Env[Any, Any]) -> Any:
    env.reset(seed=0)
    for action in actions_for(env, 3):
        env.step(action)
    return env.render()


@pytest.mark.parametrize(("problem", "dim", "width"), [("breast_cancer", None, 600), ("quadratic", 2, 1000)])
def test_rgb_array_is_a_picture(problem: str, dim: int | None, width: int) -> None:
    env = gym.make("ZOSampling-v0", problem=problem, dim=dim, learning_rate=0.01, render_mode="rgb_array")
    env.reset(seed=0)
    first = env.render()
    assert first.shape == (400, width, 3)
    assert first.dtype == np.uint8
    env.step(actions_for(env, 1)[0])
    assert not np.array_equal(first, env.render())
    env.reset(seed=0)
    np.testing.assert_array_equal(first, env.render())  # the old episode is gone from the picture


def test_ansi_names_the_problem_and_the_queries() -> None:
    text = play(gym.make("ZOSampling-v0", render_mode="ansi"))
    assert "breast_cancer" in text
    assert "7" in text


@pytest.mark.parametrize("dim", [2, 3])
def test_looking_costs_no_queries(dim: int) -> None:
    env = ZOSamplingEnv("quadratic", dim=dim, learning_rate=0.01, render_mode="rgb_array")
    play(env)
    assert env.oracle.queries[0] == env.oracle.total == 7


@pytest.mark.parametrize("mode", ["rgb_array", "human"])
def test_rendering_without_matplotlib_says_what_to_install(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'zo-gym\[plot\]'.*render_mode=\"ansi\""):
        play(gym.make("ZOSampling-v0", render_mode=mode))
    play(gym.make("ZOSampling-v0", render_mode="ansi"))


def test_human_without_a_display_says_what_to_use() -> None:
    with pytest.raises(RuntimeError, match=r'render_mode="human" needs a window.*render_mode="rgb_array"'):
        gym.make("ZOSampling-v0", render_mode="human").reset(seed=0)


def test_human_shows_every_step_and_closes_its_window(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[int] = []
    closed: list[object] = []
    window = object()

    def show(picture: Any, before: object) -> object:
        assert before is (window if shown else None)
        shown.append(len(picture.queries))
        return window

    monkeypatch.setattr("zo_gym.envs.render.canvas.show", show)
    monkeypatch.setattr("zo_gym.envs.render.canvas.close", closed.append)
    env = gym.make("ZOSampling-v0", render_mode="human")
    assert play(env) is None
    assert shown == [1, 2, 3, 4, 4]
    env.close()
    env.close()
    assert closed == [window]


def test_render_without_a_mode_says_so() -> None:
    env = ZOSamplingEnv()
    env.reset(seed=0)
    with pytest.warns(UserWarning, match='render_mode="rgb_array"'):
        assert env.render() is None


# Round trips

TRIPS: dict[str, dict[str, Any]] = {
    "default": {"budget": 20},
    "gate": {"gate": "calibrated", "num_directions": 3, "budget": 40, "observation": "history"},
    "options": {"problem": "quadratic", "problem_options": {"condition": 3.0}, "dim": 4, "update": "adaptive"},
    "render": {"render_mode": "ansi"},
    "x0": {"problem": "quadratic", "dim": 2, "x0": [1.0, 2.0]},
}


@pytest.fixture(params=[*TRIPS, "function"])
def made(request: pytest.FixtureRequest) -> Iterator[gym.Env[Any, Any]]:
    options = TRIPS.get(request.param, {"problem": bowl, "x0": START, "learning_rate": 0.01})
    env = gym.make("ZOSampling-v0", **options)
    yield env
    env.close()


def test_pickled_copy_plays_the_same(made: gym.Env[Any, Any]) -> None:
    made.reset(seed=8)  # a started episode does not travel, its settings do
    twin = pickle.loads(pickle.dumps(made.unwrapped))
    assert twin.render_mode == made.unwrapped.render_mode
    assert same(run(made), run(twin))


def test_deep_copy_plays_the_same_from_its_reset_on(made: gym.Env[Any, Any]) -> None:
    made.reset(seed=8)
    twin = copy.deepcopy(made.unwrapped)
    with pytest.raises(gym.error.ResetNeeded):  # the settings are copied, the episode is not
        twin.step(made.action_space.sample())
    assert same(run(made), run(twin))


def test_a_function_that_pickle_cannot_carry_travels_by_cloudpickle() -> None:
    centre = np.array([1.0, -1.0])
    env = ZOSamplingEnv(lambda x: float(((x - centre) ** 2).sum()), x0=[0.0, 3.0], learning_rate=0.1)
    twin = cloudpickle.loads(cloudpickle.dumps(env))
    assert same(run(env), run(twin))
    assert same(run(env), run(copy.deepcopy(env)))


def test_unknown_keyword_is_told_in_the_words_that_torchrl_waits_for() -> None:
    """Its GymEnv passes a keyword of Atari games and drops it where the error has Python's own words."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'frameskip'"):
        gym.make("ZOSampling-v0", frameskip=1)


def test_made_again_from_its_spec_plays_the_same(made: gym.Env[Any, Any]) -> None:
    assert made.spec is not None
    assert same(run(made), run(gym.make(made.spec)))


@pytest.mark.parametrize("name", TRIPS)
def test_spec_survives_json(name: str) -> None:
    env = gym.make("ZOSampling-v0", **TRIPS[name])
    assert env.spec is not None
    spec = EnvSpec.from_json(env.spec.to_json())
    assert spec.kwargs == env.spec.kwargs
    assert same(run(env), run(gym.make(spec)))
