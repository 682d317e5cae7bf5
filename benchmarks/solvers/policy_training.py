"""Train the policies of the benchmark, one a repeat, each way of training in folders of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.utils import update_learning_rate

from benchmarks.suites.policies import SOURCE, policy_folder
from benchmarks.suites.task import Task
from zo_gym.agents.algorithms.directional import Directional, slope_loss
from zo_gym.agents.build import agent_for, while_training
from zo_gym.agents.networks.slope_model import SlopeModel
from zo_gym.agents.policies.bundle import PolicyConfig, save_policy
from zo_gym.agents.presets import DIRECTIONAL_PRESETS, Preset
from zo_gym.agents.sb3.slope_buffer import SlopeBuffer
from zo_gym.agents.training_run import learn_within
from zo_gym.files import write_json
from zo_gym.problems import make_problem

OFFLINE = DIRECTIONAL_PRESETS["offline"]
BUDGET = 5000
"""Queries of a run that a policy is trained for."""

TRAININGS: dict[str, tuple[Preset, dict[str, Any]]] = {
    "slopes": (OFFLINE, {}),
    "rewards": (replace(OFFLINE, slope_weight=0.0, reward_weight=1.0), {}),
    "both": (replace(OFFLINE, reward_weight=1.0), {}),
    "in-the-loop": (replace(OFFLINE, random_probes=False, exploration=1.0), {}),
    "regression": (OFFLINE, {"plain": True}),
    "plain-images": (
        replace(OFFLINE, shift=0.0, training={**OFFLINE.training, "problem_options": {"augmented_share": 0.0}}),
        {},
    ),
    "quarter": (replace(OFFLINE, total_queries=OFFLINE.total_queries // 4, updates_per_step=8), {}),
}
"""Name -> how a policy is trained: its preset, and options of `train_policy`."""


def train_policies(name: str) -> Callable[[Task, Path], None]:
    """Return what trains the policies of a task in one of the ways of `TRAININGS`, unless they are there."""

    def prepare(task: Task, folder: Path) -> None:
        preset, options = TRAININGS[name]
        problem = SOURCE.get(task.name, task.name)
        for repeat in range(task.repeats):
            place = policy_folder(task, folder, name, repeat)
            if not (place / "config.json").is_file():
                began = time.perf_counter()
                train_policy(problem, place, preset, seed=repeat, images=task.sizes["train"], **options)
                seconds = time.perf_counter() - began
                write_json(place / "training.json", {"queries": preset.total_queries, "seconds": seconds})

    return prepare


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
            `regress`.
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
    learn_within(agent, preset.total_queries)
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


def regress(
    model: SlopeModel, buffer: SlopeBuffer, updates: int, *, learning_rate: float = 1e-3, batch_size: int = 128
) -> None:
    """Fit the model to a buffer by Adam, the rate annealed to 0, as agents do that learn from slopes alone.

    The model's scale stays as it is. Costs no queries.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    for k in range(updates):
        update_learning_rate(optimizer, learning_rate * (1 - k / updates))
        optimizer.zero_grad()
        slope_loss(model, buffer.sample(batch_size)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
