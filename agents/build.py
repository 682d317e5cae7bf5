"""Build what is trained: the environment as Stable-Baselines3 wants it, and an agent by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv, VecMonitor
from stable_baselines3.sac.policies import SACPolicy

from zo_gym import ENV_ID
from zo_gym.registry import lookup

from .algorithms.directional import DirectionalDDPG, DirectionalTD3
from .algorithms.zorl import ZODDPG, ZOSAC, ZOTD3, DirectionNoise
from .networks.conv_batchnorm import ConvBatchNorm
from .networks.unit_policy import DirectionalPolicy, UnitPolicy
from .presets import DIRECTIONAL, Preset
from .sb3.slope_buffer import SlopeBuffer, SlopeBufferConfig
from .sb3.vec_env import GymVecEnv, RewardScale, env_of

NETWORKS: tuple[str, ...] = ("mlp", "cnn")
"""mlp: two hidden layers of 64. cnn: the paper's convolutions with batch normalisation."""

AGENTS: dict[str, tuple[type[OffPolicyAlgorithm], type[BasePolicy]]] = {
    "ddpg": (ZODDPG, UnitPolicy),
    "td3": (ZOTD3, UnitPolicy),
    "sac": (ZOSAC, SACPolicy),
}
"""Name -> algorithm and policy class."""

DIRECTIONAL_AGENTS: dict[str, tuple[type[OffPolicyAlgorithm], type[BasePolicy]]] = {
    "ddpg": (DirectionalDDPG, DirectionalPolicy),
    "td3": (DirectionalTD3, DirectionalPolicy),
}
"""The same for agents whose critic is fitted to signed slopes."""


def parts_of(algo: str, network: str) -> tuple[type[OffPolicyAlgorithm], type[BasePolicy]]:
    """Return algorithm and policy class; an unknown algo, or one that does not suit the policy, raises ValueError."""
    parts = lookup(AGENTS, algo, "algo")
    if network != DIRECTIONAL:
        return parts
    if algo not in DIRECTIONAL_AGENTS:
        raise ValueError(
            f"--policy directional is for --algo {' or '.join(DIRECTIONAL_AGENTS)}, got {algo}. Choose one of these."
        )
    return DIRECTIONAL_AGENTS[algo]


def policy_kwargs(network: str, dim: int, shape: tuple[int, ...] | None) -> dict[str, Any]:
    """Return the keywords with which SB3's policy class builds the network; an unknown one raises ValueError."""
    lookup(dict.fromkeys((*NETWORKS, DIRECTIONAL)), network, "policy")
    if network == DIRECTIONAL:
        return {"shape": shape}
    if network == "mlp":
        return {"net_arch": [64, 64]}
    extractor = {"dim": dim, "shape": shape}
    return {"net_arch": [128], "features_extractor_class": ConvBatchNorm, "features_extractor_kwargs": extractor}


def build_env(settings: dict[str, Any], num_envs: int, scale_rewards: bool, device: str) -> VecEnv:
    """Build the batched environment as SB3 wants it; `settings` are keywords of `ZOSampling-v0`."""
    env: VecEnv = VecMonitor(GymVecEnv(gym.make_vec(ENV_ID, num_envs=num_envs, device=device, **settings)))
    return RewardScale(env) if scale_rewards else env


def while_training(settings: dict[str, Any], preset: Preset) -> dict[str, Any]:
    """Return the settings with those that the preset trains with instead; problem options that were asked for stay."""
    own = dict(preset.training)
    problem = {**own.pop("problem_options", {}), **settings["problem_options"]}
    return {**settings, **own, "problem_options": problem}


def build_agent(
    algo: str,
    env: VecEnv,
    preset: Preset,
    *,
    shape: tuple[int, ...] | None,
    seed: int,
    device: str,
    buffer_size: int,
) -> OffPolicyAlgorithm:
    """Build an untrained agent; an unknown algo or network raises ValueError.

    Args:
        algo: A key of `AGENTS`.
        env: What it trains on; actions (d,).
        preset: Its hyper-parameters.
        shape: Shape of the image behind the vector, or None.
        seed: Seed of the weights, the exploration and the replay sampling.
        device: "cpu", "cuda" or "auto".
        buffer_size: Transitions kept.
    """
    algorithm, policy_class = parts_of(algo, preset.network)
    assert env.action_space.shape is not None
    (d,) = env.action_space.shape
    sigma = math.sqrt(d) if preset.exploration is None else preset.exploration
    if preset.random_probes:
        sigma = 1.0  # any length does: random probes are normalised
    options: dict[str, Any] = {}
    if algo != "sac":  # SAC explores by its own distribution
        options["action_noise"] = DirectionNoise(sigma, d, np.random.default_rng([seed, 1]), env.num_envs)
    if algo == "td3":
        # Smoothing noise per coordinate, for a unit action: TD3's 0.2 is meant for coordinates of size 1.
        options |= {"target_policy_noise": 0.2 / math.sqrt(d), "target_noise_clip": 0.5 / math.sqrt(d)}
    if preset.network == DIRECTIONAL:
        options |= _directional_options(preset, shape, seed)
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
        seed=seed,
        device=device,
        **options,
    )


def agent_for(
    algo: str,
    settings: Mapping[str, Any],
    preset: Preset,
    *,
    rows: int,
    seed: int,
    transitions: int,
    device: str = "cpu",
) -> OffPolicyAlgorithm:
    """Build the environment with these settings, and an agent on so many rows of it; see `build_agent`."""
    env = build_env(dict(settings), rows, preset.scale_rewards, device)
    shape = env_of(env).config.problem.shape
    return build_agent(algo, env, preset, shape=shape, seed=seed, device=device, buffer_size=max(1000, transitions))


def _directional_options(preset: Preset, shape: tuple[int, ...] | None, seed: int) -> dict[str, Any]:
    """Return the further keywords of a directional agent; its buffer keeps images in half precision."""
    buffer = SlopeBufferConfig(
        keep_next=preset.reward_weight > 0 and preset.gamma > 0,
        precision="float32" if shape is None else "float16",
        seed=seed,
        shape=shape,
        shift=0 if shape is None else round(preset.shift * shape[0]),
        recency=preset.recency,
    )
    return {
        "replay_buffer_class": SlopeBuffer,
        "replay_buffer_kwargs": {"config": buffer},
        "slope_weight": preset.slope_weight,
        "reward_weight": preset.reward_weight,
        "random_probes": preset.random_probes,
    }
