"""Training without a run folder: agents that the benchmarks make by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from zo_gym.problems import make_problem

from .algorithms.directional import Directional
from .algorithms.slope_fit import regress
from .build import DIRECTIONAL_PRESETS, Preset, build_agent
from .policies.bundle import PolicyConfig, save_policy
from .sb3.callbacks import QueryBudget, TrainingDone, env_of
from .sb3.slope_buffer import SlopeBuffer
from .train import NEVER, build_env, while_training

OFFLINE = DIRECTIONAL_PRESETS["offline"]
BUDGET = 5000
"""Queries of a run that a policy is trained for."""


def agent_for(
    algo: str, settings: Mapping[str, Any], preset: Preset, *, rows: int, seed: int, transitions: int
) -> OffPolicyAlgorithm:
    """An untrained agent on so many rows of an environment with these settings, on the CPU."""
    env = build_env(dict(settings), rows, preset.scale_rewards, "cpu")
    shape = env_of(env).config.problem.shape
    return build_agent(algo, env, preset, shape=shape, seed=seed, device="cpu", buffer_size=max(1000, transitions))


def learn(agent: OffPolicyAlgorithm, queries: int, *watchers: BaseCallback) -> None:
    """Train until the queries are spent."""
    budget = QueryBudget(queries, progress=False, heed_interrupts=False)
    agent.set_logger(Logger(None, []))
    try:
        agent.learn(NEVER, callback=CallbackList([budget, *watchers]), log_interval=NEVER)
    except TrainingDone:
        pass  # the normal end
    finally:
        budget.close()


def train_policy(
    problem: str, folder: Path, preset: Preset = OFFLINE, *, seed: int, images: int = 50, plain: bool = False
) -> None:
    """Train a directional policy on a family of attacks, and save it.

    Args:
        problem: A key of `zo_gym.problems.FAMILIES`; its split "train" is learned from.
        folder: Where the policy goes.
        preset: How; costs `preset.total_queries`.
        seed: Of everything random.
        images: How many of the split's.
        plain: Only collect with the agent, then fit its model to the buffer by `zo_gym.agents.algorithms.slope_fit.regress`, outside SB3,
            with as many updates.
    """
    family = make_problem(problem, split="train", size=images)
    settings: dict[str, Any] = {
        "problem": problem,
        "problem_options": {"size": images},
        "observation": preset.observation,
        "update": preset.update,
        "learning_rate": preset.learning_rate,
        "gate": preset.gate,
        "budget": BUDGET,
    }
    agent = agent_for(
        "ddpg",
        while_training(settings, preset),
        replace(preset, updates_per_step=0) if plain else preset,
        rows=preset.num_envs,
        seed=seed,
        transitions=preset.total_queries // 2 + preset.num_envs,
    )
    assert isinstance(agent, Directional)
    learn(agent, preset.total_queries)
    if plain:
        assert isinstance(agent.replay_buffer, SlopeBuffer)
        updates = preset.updates_per_step * (agent.num_timesteps // preset.num_envs) + preset.final_updates
        (model,) = agent.slopes.critic.models
        rate, batch = preset.agent_learning_rate, preset.batch_size
        regress(model, agent.replay_buffer, updates, learning_rate=rate, batch_size=batch)
    else:
        agent.finish(preset.final_updates)
    observed = family.dim + (0 if family.context is None else family.context.shape[1])
    config = PolicyConfig(
        "ddpg", preset.network, family.dim, observed, family.shape, preset.exploration or 0.0, settings
    )
    save_policy(agent, config, folder)
