"""Agents by name, with two presets: what works ("default") and what the paper describes ("paper")."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.sac.policies import SACPolicy

from agents.networks import ConvBatchNorm
from agents.policies import UnitPolicy
from agents.zorl import ZODDPG, ZOSAC, ZOTD3, DirectionNoise
from zo_gym.registry import lookup


@dataclass(frozen=True)
class Preset:
    """Hyper-parameters of an agent, and of the environment that they go with.

    Attributes:
        network: A key of `NETWORKS`.
        gamma: Discount. 0: each step is judged by its own decrease, which suits a slope measured anew each step.
        agent_learning_rate: Of actor and critic.
        batch_size: Transitions per update.
        exploration: Norm of the Gaussian action noise relative to the unit action's; None for N(0, I) as printed.
        scale_rewards: Divide rewards by their running mean size; f's decreases span many orders of magnitude.
        update: The environment's update rule.
        learning_rate: The environment's eta.
        gate: The environment's gate.
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


PRESETS: dict[str, Preset] = {
    "default": Preset("mlp", 0.0, 1e-3, 64, 1.5, True, "adaptive", 1.0, "calibrated"),
    "paper": Preset("cnn", 0.99, 1e-3, 64, None, False, "sgd", 1.0, "paper"),
}

NETWORKS: tuple[str, ...] = ("mlp", "cnn")
"""mlp: two hidden layers of 64. cnn: the paper's convolutions with batch normalisation."""

AGENTS: dict[str, tuple[type[OffPolicyAlgorithm], type[BasePolicy]]] = {
    "ddpg": (ZODDPG, UnitPolicy),
    "td3": (ZOTD3, UnitPolicy),
    "sac": (ZOSAC, SACPolicy),
}


def policy_kwargs(network: str, dim: int, shape: tuple[int, ...] | None) -> dict[str, Any]:
    """What SB3's policy class needs to build the network.

    Raises:
        ValueError: Unknown network.
    """
    lookup(dict.fromkeys(NETWORKS), network, "policy")
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
    algorithm, policy_class = lookup(AGENTS, algo, "algo")
    assert env.action_space.shape is not None
    (d,) = env.action_space.shape
    sigma = math.sqrt(d) if preset.exploration is None else preset.exploration
    options: dict[str, Any] = {}
    if algo != "sac":  # SAC explores by its own distribution
        options["action_noise"] = DirectionNoise(sigma, d, np.random.default_rng([seed, 1]))
    if algo == "td3":
        # Smoothing noise per coordinate, for a unit action: TD3's 0.2 is meant for coordinates of size 1.
        options |= {"target_policy_noise": 0.2 / math.sqrt(d), "target_noise_clip": 0.5 / math.sqrt(d)}
    return algorithm(
        policy_class,
        env,
        learning_rate=preset.agent_learning_rate,
        buffer_size=buffer_size,
        learning_starts=100,
        batch_size=preset.batch_size,
        gamma=preset.gamma,
        policy_kwargs=policy_kwargs(preset.network, d, shape),
        tensorboard_log=logdir,
        seed=seed,
        device=device,
        **options,
    )


def with_overrides(preset: Preset, **overrides: Any) -> Preset:
    """The preset with every override that is not None."""
    return replace(preset, **{name: value for name, value in overrides.items() if value is not None})
