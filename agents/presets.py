"""Hyper-parameters of agents and of the environments that go with them, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Preset:
    """Holds the hyper-parameters of an agent, and of the environment that they go with.

    Attributes:
        network: A key of `zo_gym.agents.build.NETWORKS`, or `DIRECTIONAL`.
        gamma: Discount. With 0 each step is judged by its own decrease, which suits a slope measured anew each step.
        agent_learning_rate: Adam's learning rate, of actor and critic.
        batch_size: Transitions per update.
        exploration: Norm of the Gaussian action noise relative to the unit action's; None for N(0, I) as printed.
        scale_rewards: Divide rewards by their running mean size; f's decreases span many orders of magnitude.
        update: The environment's update rule, a key of `zo_gym.RULES`.
        learning_rate: The environment's eta.
        gate: The environment's gate, a key of `zo_gym.GATES`.
        observation: What the agent sees, a key of `zo_gym.envs.interface.OBSERVATIONS`.
        num_envs: Episodes advanced as one batch.
        total_queries: Queries of all of training.
        training: Settings of the environment that hold while training only.
        slope_weight: Weight of the squared errors of signed slopes, for a directional agent.
        reward_weight: Weight of its squared TD errors.
        random_probes: Collect along random directions instead of the actor's.
        updates_per_step: Updates after each batched step.
        final_updates: Updates after the last query, with the learning rate annealed to 0.
        shift: Share of an image's side by which a directional agent's samples are moved at random.
        recency: Above 1, a directional agent learns more from recent steps; see `SlopeBuffer`.
        threads: CPU threads of torch; more do not help small networks.
    """

    network: str
    gamma: float
    agent_learning_rate: float
    batch_size: int
    exploration: float | None
    scale_rewards: bool
    update: str
    learning_rate: float
    gate: str
    observation: str = "x"
    num_envs: int = 1
    total_queries: int = 20_000
    training: Mapping[str, Any] = field(default_factory=dict)
    slope_weight: float = 0.0
    reward_weight: float = 1.0
    random_probes: bool = False
    updates_per_step: int = 1
    final_updates: int = 0
    shift: float = 0.0
    recency: float = 1.0
    threads: int = 1


DIRECTIONAL = "directional"
"""The policy whose critic is fitted to signed slopes (`zo_gym.agents.algorithms.directional`)."""

PRESETS: dict[str, Preset] = {
    "default": Preset(
        network="mlp",
        gamma=0.0,
        agent_learning_rate=1e-3,
        batch_size=64,
        exploration=1.5,
        scale_rewards=True,
        update="adaptive",
        learning_rate=1.0,
        gate="calibrated",
    ),
    "paper": Preset(
        network="cnn",
        gamma=0.99,
        agent_learning_rate=1e-3,
        batch_size=64,
        exploration=None,
        scale_rewards=False,
        update="sgd",
        learning_rate=1.0,
        gate="paper",
    ),
}
"""default: works. paper: as Anonymous (2022) prints it."""

DIRECTIONAL_PRESETS: dict[str, Preset] = {
    "online": Preset(
        network=DIRECTIONAL,
        gamma=0.0,
        agent_learning_rate=1e-3,
        batch_size=64,
        exploration=1.5,
        scale_rewards=True,
        update="adaptive",
        learning_rate=1.0,
        gate="open",
        slope_weight=1.0,
        reward_weight=0.0,
        updates_per_step=8,
        recency=2.0,
    ),
    "offline": Preset(
        network=DIRECTIONAL,
        gamma=0.0,
        agent_learning_rate=3e-3,
        batch_size=128,
        exploration=0.0,
        scale_rewards=False,
        update="diminishing",
        learning_rate=1.0,
        gate="open",
        observation="context",
        num_envs=50,
        total_queries=80_000,
        training={"budget": 5, "learning_rate": 0.5, "problem_options": {"augmented_share": 1.0}},
        slope_weight=1.0,
        reward_weight=0.0,
        random_probes=True,
        final_updates=2300,
        shift=1 / 14,
        threads=2,
    ),
}
"""online: one run that learns as it descends. offline: learns on many short episodes of the attacks of a training
split, then acts on others without noise; its training starts at distorted images, along random probes."""
