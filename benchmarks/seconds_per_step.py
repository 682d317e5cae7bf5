"""Time single actions: steps of environments and of training, evaluations of f, imports."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.logger import Logger

from zo_gym.agents.arguments import TrainArgs
from zo_gym.agents.build import build_agent
from zo_gym.agents.presets import PRESETS
from zo_gym.agents.sb3.vec_env import GymVecEnv
from zo_gym.agents.training_run import prepare, train_in_memory
from zo_gym.envs.env import ZOSamplingEnv
from zo_gym.envs.vector_env import ZOSamplingVectorEnv
from zo_gym.problems import make_problem
from zo_gym.rng import make_generator

ENDLESS = 10**12
"""A budget, in queries, that no measurement spends."""


class DoNothing(gym.vector.VectorEnv[Any, Any, Any]):
    """Has the spaces of another vector environment and does no work, to time training without an environment."""

    def __init__(self, like: ZOSamplingVectorEnv) -> None:
        self.num_envs = like.num_envs
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space = like.single_observation_space
        self.single_action_space = like.single_action_space
        self.observation_space, self.action_space = like.observation_space, like.action_space
        shape = like.observation_space.shape
        assert shape is not None
        self._observations = np.zeros(shape, dtype=np.float32)
        self._flags = np.zeros(self.num_envs, dtype=bool)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Return zeros."""
        return self._observations.copy(), {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Return zeros."""
        return self._observations.copy(), np.zeros(self.num_envs), self._flags.copy(), self._flags.copy(), {}


def seconds(action: Callable[[], Any], calls: int) -> float:
    """Measure the wall time of one call in seconds, the mean over so many."""
    started = time.perf_counter()
    for _ in range(calls):
        action()
    return (time.perf_counter() - started) / calls


def scalar_step(problem: str, calls: int, update: str = "sgd") -> Callable[[], float]:
    """Return what measures one step of the scalar environment."""
    env = ZOSamplingEnv(problem, budget=ENDLESS, update=update, learning_rate=0.1)
    env.reset(seed=0)
    action = np.random.default_rng(0).standard_normal(env.config.problem.dim).astype(np.float32)
    return lambda: seconds(lambda: env.step(action), calls)


def vector_step(problem: str, rows: int, calls: int) -> Callable[[], float]:
    """Return what measures one step of the batched environment."""
    env = ZOSamplingVectorEnv(problem, num_envs=rows, budget=ENDLESS, learning_rate=0.1)
    env.reset(seed=0)
    actions = np.random.default_rng(0).standard_normal((rows, env.config.problem.dim)).astype(np.float32)
    return lambda: seconds(lambda: env.step(actions), calls)


def two_evaluations(problem: str, rows: int, calls: int) -> Callable[[], float]:
    """Return what measures two evaluations of f at `rows` points."""
    found = make_problem(problem)
    points = torch.stack([found.start(make_generator(row)) for row in range(rows)])
    return lambda: 2 * seconds(lambda: found.values(points), 2 * calls)


def importing(modules: str) -> Callable[[], float]:
    """Return what measures the seconds of importing these modules in a fresh interpreter, its own start left out.

    Modules are read as compiled by the call before, as they are on a user's machine.
    """
    code = f"import time; began = time.perf_counter(); import {modules}; print(time.perf_counter() - began)"

    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def measure() -> float:
        answer = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        return float(answer.stdout)

    return measure


def training(steps: int) -> Callable[[], float]:
    """Return what measures a step of train.py's default run: environment, agent, metrics."""
    args = TrainArgs(total_queries=2 * steps, progress=False)

    def measure() -> float:
        run = prepare(args, Path())
        started = time.perf_counter()
        train_in_memory(run)
        return (time.perf_counter() - started) / run.agent.num_timesteps

    return measure


def training_on_nothing(steps: int) -> Callable[[], float]:
    """Return what measures a step of the same agent on `DoNothing`."""

    def measure() -> float:
        env = GymVecEnv(DoNothing(ZOSamplingVectorEnv(num_envs=1)))
        agent = build_agent(
            "ddpg", env, PRESETS["default"], shape=None, seed=0, device="cpu", buffer_size=max(1000, steps)
        )
        agent.set_logger(Logger(None, []))
        started = time.perf_counter()
        agent.learn(steps, log_interval=ENDLESS)
        return (time.perf_counter() - started) / agent.num_timesteps

    return measure
