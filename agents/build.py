"""Agents by name, with two presets: what works ("default") and what the paper describes ("paper")."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.sac.policies import SACPolicy

from zo_gym.registry import lookup

from .algorithms.directional import DirectionalDDPG, DirectionalPolicy, DirectionalTD3
from .algorithms.zorl import ZODDPG, ZOSAC, ZOTD3, DirectionNoise
from .networks.conv_batchnorm import ConvBatchNorm
from .networks.unit_policy import UnitPolicy
from .sb3.slope_buffer import SlopeBuffer


@dataclass(frozen=True)
class Preset:
    """Hyper-parameters of an agent, and of the environment that they go with.

    Attributes:
        network: A key of `NETWORKS`, or `DIRECTIONAL`.
        gamma: Discount. 0: each step is judged by its own decrease, which suits a slope measured anew each step.
        agent_learning_rate: Of actor and critic.
        batch_size: Transitions per update.
        exploration: Norm of the Gaussian action noise relative to the unit action's; None for N(0, I) as printed.
        scale_rewards: Divide rewards by their running mean size; f's decreases span many orders of magnitude.
        update: The environment's update rule.
        learning_rate: The environment's eta.
        gate: The environment's gate.
        observation: What the agent sees.
        num_envs: Episodes advanced as one batch.
        total_queries: Queries of all of training.
        training: Settings of the environment that hold while training only.
        slope_weight: Of the errors of signed slopes, for a directional agent.
        reward_weight: Of its TD errors.
        random_probes: Collect along random directions instead of the actor's.
        updates_per_step: Updates after each batched step.
        final_updates: Updates after the last query, with the learning rate annealed to 0.
        shift: Share of an image's side by which a directional agent's samples are moved at random.
        recency: Above 1, a directional agent learns more from what is recent: see `SlopeBuffer`.
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
    "default": Preset("mlp", 0.0, 1e-3, 64, 1.5, True, "adaptive", 1.0, "calibrated"),
    "paper": Preset("cnn", 0.99, 1e-3, 64, None, False, "sgd", 1.0, "paper"),
}

DIRECTIONAL_PRESETS: dict[str, Preset] = {
    "online": Preset(
        DIRECTIONAL,
        0.0,
        1e-3,
        64,
        1.5,
        True,
        "adaptive",
        1.0,
        "open",
        slope_weight=1.0,
        reward_weight=0.0,
        updates_per_step=8,
        recency=2.0,
    ),
    "offline": Preset(
        DIRECTIONAL,
        0.0,
        3e-3,
        128,
        0.0,
        False,
        "diminishing",
        1.0,
        "open",
        observation="context",
        num_envs=50,
        total_queries=80_000,
        training={"budget": 5, "learning_rate": 0.5, "problem_options": {"augmented_share": 1.0}},
        slope_weight=1.0,
        reward_weight=0.0,
        random_probes=True,
        updates_per_step=1,
        final_updates=2300,
        shift=1 / 14,
        threads=2,
    ),
}
"""online: one run that learns as it descends. offline: learns on many short episodes of a family of attacks, then acts
on others without noise; its training starts at distorted images, along random probes."""

NETWORKS: tuple[str, ...] = ("mlp", "cnn")
"""mlp: two hidden layers of 64. cnn: the paper's convolutions with batch normalisation."""

AGENTS: dict[str, tuple[type[OffPolicyAlgorithm], type[BasePolicy]]] = {
    "ddpg": (ZODDPG, UnitPolicy),
    "td3": (ZOTD3, UnitPolicy),
    "sac": (ZOSAC, SACPolicy),
}

DIRECTIONAL_AGENTS: dict[str, tuple[type[OffPolicyAlgorithm], type[BasePolicy]]] = {
    "ddpg": (DirectionalDDPG, DirectionalPolicy),
    "td3": (DirectionalTD3, DirectionalPolicy),
}


def parts_of(algo: str, network: str) -> tuple[type[OffPolicyAlgorithm], type[BasePolicy]]:
    """Algorithm and policy class.

    Raises:
        ValueError: Unknown algo, or one that the policy does not go with.
    """
    parts = lookup(AGENTS, algo, "algo")
    if network != DIRECTIONAL:
        return parts
    if algo not in DIRECTIONAL_AGENTS:
        raise ValueError(f"--policy directional is for --algo {' or '.join(DIRECTIONAL_AGENTS)}, got {algo}.")
    return DIRECTIONAL_AGENTS[algo]


def policy_kwargs(network: str, dim: int, shape: tuple[int, ...] | None) -> dict[str, Any]:
    """What SB3's policy class needs to build the network.

    Raises:
        ValueError: Unknown network.
    """
    lookup(dict.fromkeys((*NETWORKS, DIRECTIONAL)), network, "policy")
    if network == DIRECTIONAL:
        return {"shape": shape}
    if network == "mlp":
        return {"net_arch": [64, 64]}
    extractor = {"dim": dim, "shape": shape}
    return {"net_arch": [128], "features_extractor_class": ConvBatchNorm, "features_extractor_kwargs": extractor}


def build_agent(
    algo: str,
    env: VecEnv,
    preset: Preset,
    *,
    shape: tuple[int, ...] | None,
    seed: int,
    device: str,
    buffer_size: int,
    logdir: str | None = None,
) -> OffPolicyAlgorithm:
    """An untrained agent.

    Args:
        algo: A key of `AGENTS`.
        env: What it trains on; actions (d,).
        preset: Its hyper-parameters.
        shape: Of the image behind the vector, or None.
        seed: Of the weights, the exploration and the replay sampling.
        device: "cpu", "cuda" or "auto".
        buffer_size: Transitions kept.
        logdir: For TensorBoard; None for none.

    Raises:
        ValueError: Unknown algo or network.
    """
    algorithm, policy_class = parts_of(algo, preset.network)
    assert env.action_space.shape is not None
    (d,) = env.action_space.shape
    sigma = math.sqrt(d) if preset.exploration is None else preset.exploration
    options: dict[str, Any] = {}
    if algo != "sac":  # SAC explores by its own distribution
        options["action_noise"] = DirectionNoise(sigma, d, np.random.default_rng([seed, 1]), env.num_envs)
    if algo == "td3":
        # Smoothing noise per coordinate, for a unit action: TD3's 0.2 is meant for coordinates of size 1.
        options |= {"target_policy_noise": 0.2 / math.sqrt(d), "target_noise_clip": 0.5 / math.sqrt(d)}
    if preset.network == DIRECTIONAL:
        options |= directional_options(preset, shape, seed)
        if preset.random_probes:
            options["action_noise"] = DirectionNoise(1.0, d, np.random.default_rng([seed, 1]), env.num_envs)
    return algorithm(
        policy_class,
        env,
        learning_rate=preset.agent_learning_rate,
        buffer_size=buffer_size,
        learning_starts=1 if preset.network == DIRECTIONAL else 100,
        gradient_steps=preset.updates_per_step,
        batch_size=preset.batch_size,
        gamma=preset.gamma,
        policy_kwargs=policy_kwargs(preset.network, d, shape),
        tensorboard_log=logdir,
        seed=seed,
        device=device,
        **options,
    )


def directional_options(preset: Preset, shape: tuple[int, ...] | None, seed: int) -> dict[str, Any]:
    """What a directional agent takes besides; images are kept in half precision."""
    buffer = {
        "keep_next": preset.reward_weight > 0 and preset.gamma > 0,
        "precision": "float32" if shape is None else "float16",
        "seed": seed,
        "shape": shape,
        "shift": 0 if shape is None else round(preset.shift * shape[0]),
        "recency": preset.recency,
    }
    return {
        "replay_buffer_class": SlopeBuffer,
        "replay_buffer_kwargs": buffer,
        "slope_weight": preset.slope_weight,
        "reward_weight": preset.reward_weight,
        "random_probes": preset.random_probes,
    }


def with_overrides(preset: Preset, **overrides: Any) -> Preset:
    """The preset with every override that is not None."""
    return replace(preset, **{name: value for name, value in overrides.items() if value is not None})
