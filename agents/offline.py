"""Training without a run folder: agents that the benchmarks and `evaluate.py --from-scratch` train by themselves."""

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
from .build import build_agent, build_env, while_training
from .policies.bundle import PolicyConfig, save_policy
from .presets import DIRECTIONAL_PRESETS, Preset
from .sb3.callbacks import NEVER, QueryBudget, TrainingDone, Trajectory, env_of
from .sb3.slope_buffer import SlopeBuffer
from .training_run import Run

OFFLINE = DIRECTIONAL_PRESETS["offline"]
BUDGET = 5000
"""Queries of a run that a policy is trained for."""


def agent_for(
    algo: str, settings: Mapping[str, Any], preset: Preset, *, rows: int, seed: int, transitions: int
) -> OffPolicyAlgorithm:
    """Build an untrained agent on so many rows of an environment with these settings, on the CPU."""
    env = build_env(dict(settings), rows, preset.scale_rewards, "cpu")
    shape = env_of(env).config.problem.shape
    return build_agent(algo, env, preset, shape=shape, seed=seed, device="cpu", buffer_size=max(1000, transitions))


def learn(agent: OffPolicyAlgorithm, queries: int, *watchers: BaseCallback, heed_signals: bool = False) -> None:
    """Train until the queries are spent; nothing is logged or written.

    Raises:
        KeyboardInterrupt: A signal ended training, where `heed_signals`.
    """
    budget = QueryBudget(queries, progress=False, heed_signals=heed_signals)
    agent.set_logger(Logger(None, []))
    try:
        agent.learn(NEVER, callback=CallbackList([budget, *watchers]), log_interval=NEVER)
    except TrainingDone as done:
        if done.interrupted:
            raise KeyboardInterrupt from done
    finally:
        budget.close()


def train_in_memory(run: Run) -> tuple[list[int], list[float]]:
    """Train until the query budget; nothing is written.

    Returns:
        Queries spent and best f of the first row, at the start and after every step.
    """
    trace = Trajectory()
    learn(run.agent, run.preset.total_queries, trace, heed_signals=True)
    return trace.queries, trace.best


def train_policy(
    problem: str, folder: Path, preset: Preset = OFFLINE, *, seed: int, images: int = 50, plain: bool = False
) -> None:
    """Train a directional policy on the attacks of a training split, and save it.

    Args:
        problem: A key of `zo_gym.PROBLEMS` with splits; "train" is learned from.
        folder: Where the policy is saved.
        preset: How to train; costs `preset.total_queries`.
        seed: Seed of everything random.
        images: Images of the split that are used.
        plain: Only collect with the agent, then fit its model to the buffer outside SB3, with as many updates, by
            `zo_gym.agents.algorithms.slope_fit.regress`.
    """
    attacks = make_problem(problem, split="train", size=images)
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
        _fit_outside(agent, preset)
    else:
        agent.finish(preset.final_updates)
    observed = attacks.dim + (0 if attacks.context is None else attacks.context.shape[1])
    config = PolicyConfig(
        algo="ddpg",
        network=preset.network,
        dim=attacks.dim,
        observation_dim=observed,
        shape=attacks.shape,
        exploration=preset.exploration or 0.0,
        environment=settings,
    )
    save_policy(agent, config, folder)


def _fit_outside(agent: Directional, preset: Preset) -> None:
    """Fit the agent's model to its buffer with as many updates as the agent would have made."""
    assert isinstance(agent.replay_buffer, SlopeBuffer)
    updates = preset.updates_per_step * (agent.num_timesteps // preset.num_envs) + preset.final_updates
    (model,) = agent.slopes.critic.models
    rate, batch = preset.agent_learning_rate, preset.batch_size
    regress(model, agent.replay_buffer, updates, learning_rate=rate, batch_size=batch)
