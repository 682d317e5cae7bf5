"""A trained policy as a folder: config.json + weights.safetensors. Loading it runs no code from the files."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from torch import Tensor

from zo_gym.files import write_atomically, write_json
from zo_gym.registry import reject_unknown

from ..algorithms.directional import SlopeActor
from ..build import DIRECTIONAL, parts_of, policy_kwargs
from ..networks.slope_models import slope_model

FORMAT = 1


@dataclass(frozen=True)
class PolicyConfig:
    """What is needed to rebuild the network, and what it was trained for.

    Attributes:
        algo: A key of `zo_gym.agents.build.AGENTS`.
        network: A key of `zo_gym.agents.build.NETWORKS`, or "directional".
        dim: d, the length of an action.
        observation_dim: Length of an observation.
        shape: Of the image behind the vector, or None.
        exploration: Norm of the Gaussian noise that the policy was trained with, relative to the unit action.
        environment: The settings of the environment that it was trained in.
        format: Of the folder.
    """

    algo: str
    network: str
    dim: int
    observation_dim: int
    shape: tuple[int, ...] | None
    exploration: float
    environment: dict[str, Any]
    format: int = FORMAT


@dataclass(frozen=True)
class Policy:
    """A deterministic policy: observations -> directions."""

    config: PolicyConfig
    actor: torch.nn.Module
    device: torch.device

    @torch.no_grad()
    def __call__(self, observations: np.ndarray) -> np.ndarray:
        """(B, observation_dim) float32 -> actions (B, d) float32."""
        batch = torch.as_tensor(observations, device=self.device)
        actions: Tensor = self.actor._predict(batch, deterministic=True)  # type: ignore[operator]
        return actions.cpu().numpy()

    @torch.no_grad()
    def gradient(self, observations: np.ndarray) -> np.ndarray:
        """h, the estimate of grad f (of its unknown part) with its length, (B, observation_dim) -> (B, d) float32.

        Raises:
            TypeError: The policy knows a direction alone.
        """
        if not isinstance(self.actor, SlopeActor):
            raise TypeError(
                f"gradient() needs a policy that models slopes, got network '{self.config.network}' of "
                f"'{self.config.algo}'. Train one: python train.py --policy directional"
            )
        batch = torch.as_tensor(observations, device=self.device)
        return self.actor.model.gradient(batch).cpu().numpy()


def new_policy(config: PolicyConfig, device: torch.device | str = "cpu", seed: int | None = None) -> Policy:
    """The network with random weights: drawn from `seed`, leaving torch's global generator as it was."""
    _, policy_class = parts_of(config.algo, config.network)
    box = spaces.Box(-1.0, 1.0, (config.dim,), np.float32)
    observations = spaces.Box(-np.inf, np.inf, (config.observation_dim,), np.float32)
    kwargs = policy_kwargs(config.network, config.dim, config.shape)
    with torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.manual_seed(seed)
        if config.network == DIRECTIONAL:
            actor: Any = SlopeActor(slope_model(config.dim, config.observation_dim, config.shape))
        else:
            whole: Any = policy_class(observations, box, lambda _: 0.0, **kwargs)
            actor = whole.actor
    actor = actor.to(device)
    actor.set_training_mode(False)
    return Policy(config, actor, torch.device(device))


def save_policy(agent: OffPolicyAlgorithm, config: PolicyConfig, folder: Path) -> None:
    """Write the agent's actor into `folder`, each file atomically."""
    actor: Any = agent.policy.actor
    save_weights(Policy(config, actor, torch.device("cpu")), folder)


def save_weights(policy: Policy, folder: Path) -> None:
    """Write the policy into `folder`, each file atomically."""
    weights = {name: value.detach().cpu().contiguous() for name, value in policy.actor.state_dict().items()}
    write_atomically(folder / "weights.safetensors", lambda path: save_file(weights, path))
    write_json(folder / "config.json", asdict(policy.config))


def load_policy(folder: Path, device: torch.device | str = "cpu") -> Policy:
    """The policy that `save_policy` wrote.

    Raises:
        FileNotFoundError: No policy there.
        ValueError: The files are damaged, or from another version.
    """
    config_file, weights_file = folder / "config.json", folder / "weights.safetensors"
    for file in (config_file, weights_file):
        if not file.is_file():
            raise FileNotFoundError(f"No policy in {folder}: {file.name} is missing. Train one: python train.py")
    try:
        fields = json.loads(config_file.read_text(encoding="utf-8"))
        if fields.get("format") != FORMAT:
            raise ValueError(f"{config_file} must have format {FORMAT}, got {fields.get('format')}.")
        reject_unknown(fields, PolicyConfig.__dataclass_fields__, str(config_file))
        fields["shape"] = None if fields["shape"] is None else tuple(fields["shape"])
        policy = new_policy(PolicyConfig(**fields), device)
        policy.actor.load_state_dict(load_file(weights_file, device=str(device)))
    except (
        KeyError,
        TypeError,
        AttributeError,
        UnicodeDecodeError,
        json.JSONDecodeError,
        SafetensorError,
        RuntimeError,
    ) as error:
        raise ValueError(f"The policy in {folder} cannot be read: {error}. Save or download it again.") from error
    return policy
