"""Everything that training needs to go on where it stopped, in one file that holds tensors and plain values only.

On the CPU a resumed run continues bit for bit: networks, optimisers, replay buffer, environment, reward scale and all
random generators are restored. On CUDA the weights are, but kernels may sum in another order.
"""

from __future__ import annotations

import pickle
import random
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecMonitor

from zo_gym.files import write_atomically

from ..algorithms.zorl import DirectionNoise
from .reward_scale import RewardScale
from .slope_buffer import SlopeBuffer
from .vec_env import GymVecEnv

Episode = tuple[int, float]
"""Queries spent and best f of an episode that ended."""

_BUFFER = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
_COUNTERS = ("num_timesteps", "_n_updates", "_episode_num")


def save_checkpoint(agent: OffPolicyAlgorithm, path: Path, episodes: Sequence[Episode] = ()) -> None:
    """Write the agent, its environment and the episodes so far to `path`, atomically. Call it between two steps."""
    content = {
        "parameters": agent.get_parameters(),
        "variables": {name: getattr(agent, name).detach() for name in _variables(agent)},
        "counters": {name: int(getattr(agent, name)) for name in _COUNTERS},
        "history": list(episodes),
        "last_obs": torch.from_numpy(np.asarray(agent._last_obs)),
        "episodes": [{key: float(value) for key, value in entry.items()} for entry in agent.ep_info_buffer or ()],
        "buffer": _pack_buffer(agent),
        "environment": _pack_environment(agent),
        "random": _pack_random(agent),
    }
    write_atomically(path, lambda temporary: torch.save(content, temporary))


def load_checkpoint(agent: OffPolicyAlgorithm, path: Path) -> list[Episode]:
    """Put a freshly built agent of the same configuration where `save_checkpoint` found it. Costs no queries.

    Returns:
        The episodes that had ended.

    Raises:
        FileNotFoundError: No such file.
        ValueError: The file is damaged or belongs to another configuration.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No checkpoint at {path}. The run ended before its first one: start it anew.")
    try:
        content = torch.load(path, map_location=agent.device, weights_only=True)
        _begin_without_reset(agent)
        agent.set_parameters(content["parameters"], exact_match=True, device=agent.device)
        for name in _variables(agent):
            getattr(agent, name).data.copy_(content["variables"][name])
        for name, value in content["counters"].items():
            setattr(agent, name, value)
        agent._last_obs = content["last_obs"].cpu().numpy()
        agent.ep_info_buffer = deque(content["episodes"], maxlen=agent._stats_window_size)
        agent.ep_success_buffer = deque(maxlen=agent._stats_window_size)
        _unpack_buffer(agent, content["buffer"])
        _unpack_environment(agent, content["environment"])
        _unpack_random(agent, content["random"])
        return [(int(queries), float(best)) for queries, best in content["history"]]
    except (RuntimeError, KeyError, ValueError, TypeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise ValueError(f"The checkpoint {path} cannot be read: {error}") from error


def _variables(agent: OffPolicyAlgorithm) -> list[str]:
    """Learned tensors outside the networks and their optimisers, such as SAC's temperature."""
    return agent._get_torch_save_params()[1]


def _begin_without_reset(agent: OffPolicyAlgorithm) -> None:
    """What `learn` sets up at first, but for the reset of the environment: that would query f."""
    assert agent.env is not None
    shape = agent.env.observation_space.shape
    assert shape is not None
    agent._last_obs = np.zeros((agent.env.num_envs, *shape), dtype=np.float32)
    agent._setup_learn(0, None, reset_num_timesteps=False)


def _pack_buffer(agent: OffPolicyAlgorithm) -> dict[str, Any]:
    buffer = agent.replay_buffer
    assert buffer is not None
    size = buffer.size()
    names = buffer.stored if isinstance(buffer, SlopeBuffer) else _BUFFER
    arrays = {name: torch.from_numpy(getattr(buffer, name)[:size]) for name in names}
    return {"pos": buffer.pos, "full": buffer.full, "arrays": arrays}


def _unpack_buffer(agent: OffPolicyAlgorithm, packed: dict[str, Any]) -> None:
    buffer = agent.replay_buffer
    assert buffer is not None
    buffer.pos, buffer.full = packed["pos"], packed["full"]
    for name, values in packed["arrays"].items():
        getattr(buffer, name)[: len(values)] = values.cpu().numpy()


def _layers(agent: OffPolicyAlgorithm) -> tuple[GymVecEnv, VecMonitor | None, RewardScale | None]:
    """The adapter and the wrappers around it that carry state."""
    monitor = scale = None
    env: Any = agent.env
    while not isinstance(env, GymVecEnv):
        monitor = env if isinstance(env, VecMonitor) else monitor
        scale = env if isinstance(env, RewardScale) else scale
        env = env.venv
    return env, monitor, scale


def _pack_environment(agent: OffPolicyAlgorithm) -> dict[str, Any]:
    adapter, monitor, scale = _layers(agent)
    packed: dict[str, Any] = {"state": adapter.env.unwrapped.state_dict()}  # type: ignore[attr-defined]
    if monitor is not None:
        packed["monitor"] = [monitor.episode_returns.tolist(), monitor.episode_lengths.tolist(), monitor.episode_count]
    if scale is not None:
        packed["scale"] = scale.scale
    return packed


def _unpack_environment(agent: OffPolicyAlgorithm, packed: dict[str, Any]) -> None:
    adapter, monitor, scale = _layers(agent)
    adapter.env.unwrapped.load_state_dict(packed["state"])  # type: ignore[attr-defined]
    if monitor is not None:
        returns, lengths, monitor.episode_count = packed["monitor"]
        monitor.episode_returns = np.array(returns, dtype=np.float32)
        monitor.episode_lengths = np.array(lengths, dtype=np.int32)
    if scale is not None:
        scale.scale = packed["scale"]


def _streams(agent: OffPolicyAlgorithm) -> list[np.random.Generator]:
    """Generators of the agent's own: its noise's, then its buffer's."""
    noise, buffer = agent.action_noise, agent.replay_buffer
    streams = [noise.rng] if isinstance(noise, DirectionNoise) else []
    return [*streams, buffer.rng] if isinstance(buffer, SlopeBuffer) else streams


def _pack_random(agent: OffPolicyAlgorithm) -> dict[str, Any]:
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "actions": agent.action_space.np_random.bit_generator.state,
        "noise": [stream.bit_generator.state for stream in _streams(agent)],
    }


def _unpack_random(agent: OffPolicyAlgorithm, packed: dict[str, Any]) -> None:
    random.setstate(packed["python"])
    name, keys, *rest = packed["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))
    torch.set_rng_state(packed["torch"].cpu())
    agent.action_space.np_random.bit_generator.state = packed["actions"]
    for stream, state in zip(_streams(agent), packed["noise"], strict=True):
        stream.bit_generator.state = state
