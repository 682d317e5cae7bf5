"""Checkpoints: one file of tensors and plain values with everything that training needs to go on where it stopped.

On the CPU a resumed run continues bit for bit: networks, optimisers, replay buffer, environment, reward scale and all
random generators are restored. On CUDA they are, too, but kernels may sum in another order.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import pickle
import random
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecMonitor, unwrap_vec_wrapper

from zo_gym.files import write_atomically

from ..algorithms.zorl import DirectionNoise
from ..console import saving_to
from .slope_buffer import SlopeBuffer
from .vec_env import RewardScale, env_of

Episode = tuple[int, float]
"""Queries spent and best f of an episode that ended."""

_DIGEST_LENGTH = 64
"""Bytes of a SHA-256 as hexadecimal digits."""

_BUFFER = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
_COUNTERS = ("num_timesteps", "_n_updates", "_episode_num")


def save_checkpoint(agent: OffPolicyAlgorithm, path: Path, episodes: Sequence[Episode] = ()) -> None:
    """Write the agent, its environment and the episodes so far to `path`, atomically. Call it between two steps.

    A failed write, e.g. on a full disk, raises OSError; the old file is intact.
    """
    content = {
        "parameters": agent.get_parameters(),
        "variables": {name: getattr(agent, name).detach() for name in agent._get_torch_save_params()[1]},
        "counters": {name: int(getattr(agent, name)) for name in _COUNTERS},
        "history": list(episodes),
        "last_obs": torch.from_numpy(np.asarray(agent._last_obs)),
        "episodes": [{key: float(value) for key, value in entry.items()} for entry in agent.ep_info_buffer or ()],
        "buffer": _pack_buffer(agent),
        "environment": _pack_environment(agent),
        "random": _pack_random(agent),
    }

    def write(temporary: Path) -> None:
        torch.save(content, temporary)
        seal(temporary)

    with saving_to(path.parent):
        write_atomically(path, write)


def load_checkpoint(agent: OffPolicyAlgorithm, path: Path) -> list[Episode]:
    """Put a freshly built agent where `save_checkpoint` found it, at no query; return the episodes that had ended.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is damaged, could run code, or belongs to another configuration.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No checkpoint at {path}. The run ended before its first one: start it anew.")
    if not is_sealed(path):
        raise ValueError(
            f"The checkpoint {path} cannot be read: its checksum does not match, so it is damaged or was not written "
            "by this version. Restore a copy of it, or train anew."
        )
    try:
        return _restore(agent, torch.load(path, map_location=agent.device, weights_only=True))
    except pickle.UnpicklingError:  # torch's own message recommends to load such a file all the same
        raise ValueError(
            f"The checkpoint {path} cannot be read: it holds more than tensors and plain values, and could run code. "
            "Nothing of it was loaded. Resume only runs that train.py made."
        ) from None
    except (RuntimeError, EOFError, OSError, KeyError, ValueError, TypeError) as error:
        raise ValueError(
            f"The checkpoint {path} cannot be read: {error}. Resume it with the configuration that it was made with, "
            "restore a copy of it, or train anew."
        ) from error


def steps_in(path: Path) -> int:
    """Return after how many steps `save_checkpoint` wrote this file."""
    return int(torch.load(path, map_location="cpu", mmap=True, weights_only=True)["counters"]["num_timesteps"])


def _restore(agent: OffPolicyAlgorithm, content: dict[str, Any]) -> list[Episode]:
    """Take over the content of a checkpoint, and return its episodes."""
    agent._last_obs = content["last_obs"].cpu().numpy()
    agent._setup_learn(0, None, reset_num_timesteps=False)  # resets no environment, which would query f
    agent.set_parameters(content["parameters"], exact_match=True, device=agent.device)
    for name in agent._get_torch_save_params()[1]:  # learned tensors outside the networks, such as SAC's temperature
        getattr(agent, name).data.copy_(content["variables"][name])
    for name, value in content["counters"].items():
        setattr(agent, name, value)
    agent.ep_info_buffer = deque(content["episodes"], maxlen=agent._stats_window_size)
    agent.ep_success_buffer = deque(maxlen=agent._stats_window_size)
    _unpack_buffer(agent, content["buffer"])
    _unpack_environment(agent, content["environment"])
    _unpack_random(agent, content["random"])
    return [(int(queries), float(best)) for queries, best in content["history"]]


def seal(path: Path) -> None:
    """Append the SHA-256 of the zip archive that `torch.save` wrote, as the archive's comment.

    torch stores checksums of an archive's parts and does not check them: a flipped bit would change weights silently.
    """
    with path.open("r+b") as file:
        file.seek(-2, os.SEEK_END)  # the archive ends with the length of its comment, 0 so far
        file.write(_DIGEST_LENGTH.to_bytes(2, "little"))
        file.flush()
        file.write(_digest(file, file.tell()))


def is_sealed(path: Path) -> bool:
    """Tell whether the file ends with the SHA-256 of what is before it."""
    size = path.stat().st_size - _DIGEST_LENGTH
    if size <= 0:
        return False
    with path.open("rb") as file:
        file.seek(size)
        return _digest(file, size) == file.read()


def _digest(file: BinaryIO, size: int) -> bytes:
    """Compute the SHA-256 of the file's first `size` bytes, as hexadecimal digits."""
    with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as content:
        return hashlib.sha256(content).hexdigest().encode()


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


def _pack_environment(agent: OffPolicyAlgorithm) -> dict[str, Any]:
    packed: dict[str, Any] = {"state": env_of(agent.env).state_dict()}
    monitor, scale = _wrappers(agent)
    if monitor is not None:
        packed["monitor"] = [monitor.episode_returns.tolist(), monitor.episode_lengths.tolist(), monitor.episode_count]
    if scale is not None:
        packed["scale"] = scale.scale
    return packed


def _unpack_environment(agent: OffPolicyAlgorithm, packed: dict[str, Any]) -> None:
    env_of(agent.env).load_state_dict(packed["state"])
    monitor, scale = _wrappers(agent)
    if monitor is not None:
        returns, lengths, monitor.episode_count = packed["monitor"]
        monitor.episode_returns = np.array(returns, dtype=np.float32)
        monitor.episode_lengths = np.array(lengths, dtype=np.int32)
    if scale is not None:
        scale.scale = packed["scale"]


def _wrappers(agent: OffPolicyAlgorithm) -> tuple[VecMonitor | None, RewardScale | None]:
    """Return the wrappers around the environment that carry state."""
    assert agent.env is not None
    return unwrap_vec_wrapper(agent.env, VecMonitor), unwrap_vec_wrapper(agent.env, RewardScale)


def _streams(agent: OffPolicyAlgorithm) -> list[np.random.Generator]:
    """Return the agent's own generators: its noise's, then its buffer's."""
    noise, buffer = agent.action_noise, agent.replay_buffer
    streams = [noise.rng] if isinstance(noise, DirectionNoise) else []
    return [*streams, buffer.rng] if isinstance(buffer, SlopeBuffer) else streams


def _pack_random(agent: OffPolicyAlgorithm) -> dict[str, Any]:
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if agent.device.type == "cuda" else [],
        "actions": agent.action_space.np_random.bit_generator.state,
        "noise": [stream.bit_generator.state for stream in _streams(agent)],
    }


def _unpack_random(agent: OffPolicyAlgorithm, packed: dict[str, Any]) -> None:
    random.setstate(packed["python"])
    name, keys, *rest = packed["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))
    torch.set_rng_state(packed["torch"].cpu())
    for device, state in zip(range(torch.cuda.device_count()), packed.get("cuda", ()), strict=False):  # older: none
        torch.cuda.set_rng_state(state.cpu(), device)
    agent.action_space.np_random.bit_generator.state = packed["actions"]
    for stream, state in zip(_streams(agent), packed["noise"], strict=True):
        stream.bit_generator.state = state
