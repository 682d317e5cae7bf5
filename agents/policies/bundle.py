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

from ..build import parts_of, policy_kwargs
from ..console import saving_to
from ..networks.slope_model import slope_model
from ..networks.unit_policy import SlopeActor
from ..presets import DIRECTIONAL

FORMAT = 1
"""Version of the folder's layout."""


@dataclass(frozen=True)
class PolicyConfig:
    """Holds what is needed to rebuild the network, and what it was trained for.

    Attributes:
        algo: A key of `zo_gym.agents.build.AGENTS`.
        network: A key of `zo_gym.agents.build.NETWORKS`, or "directional".
        dim: d, the length of an action.
        observation_dim: Length of an observation.
        shape: Shape of the image behind the vector, or None.
        exploration: Norm of the Gaussian noise that the policy was trained with, relative to the unit action.
        environment: Settings of the environment that it was trained for.
        format: Version of the folder's layout.
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
    """Maps observations to directions, deterministically.

    Attributes:
        config: What it was trained for.
        actor: Its network, in evaluation mode.
        device: Where the network lives.
    """

    config: PolicyConfig
    actor: torch.nn.Module
    device: torch.device

    @torch.no_grad()
    def __call__(self, observations: np.ndarray) -> np.ndarray:
        """Compute actions, (B, observation_dim) float32 -> (B, d) float32."""
        batch = torch.as_tensor(observations, device=self.device)
        actions: Tensor = self.actor._predict(batch, deterministic=True)  # type: ignore[operator]
        return actions.cpu().numpy()

    @torch.no_grad()
    def gradient(self, observations: np.ndarray) -> np.ndarray:
        """Compute h, a guess of grad f (of its black-box part), (B, observation_dim) float32 -> (B, d) float32.

        A policy that knows only a direction raises TypeError.
        """
        if not isinstance(self.actor, SlopeActor):
            raise TypeError(
                f"gradient() needs a policy that models slopes, got network '{self.config.network}' of "
                f"'{self.config.algo}'. Follow this one with method 'zo-rl', or train one: "
                "python -m zo_gym.agents.train --policy directional"
            )
        batch = torch.as_tensor(observations, device=self.device)
        return self.actor.model.gradient(batch).cpu().numpy()


def new_policy(config: PolicyConfig, device: torch.device | str = "cpu", seed: int | None = None) -> Policy:
    """Make the network with random weights, drawn from `seed`; torch's global generator stays as it was."""
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


def save_policy(agent: OffPolicyAlgorithm, config: PolicyConfig, folder: Path) -> Policy:
    """Write the agent's actor into `folder`, and return what `load_policy` would read there.

    A failed write, e.g. on a full disk, raises OSError; what was saved there before is intact.
    """
    policy = new_policy(config)
    trained: Any = agent.policy.actor
    policy.actor.load_state_dict({name: value.cpu() for name, value in trained.state_dict().items()})
    save_weights(policy, folder)
    return policy


def save_weights(policy: Policy, folder: Path) -> None:
    """Write the policy into `folder`, each file atomically; errors are those of `save_policy`."""
    weights = {name: value.detach().cpu().contiguous() for name, value in policy.actor.state_dict().items()}
    with saving_to(folder):
        write_atomically(folder / "weights.safetensors", lambda path: save_file(weights, path))
        write_json(folder / "config.json", asdict(policy.config))


def load_policy(folder: Path, device: torch.device | str = "cpu") -> Policy:
    """Read the policy that `save_policy` wrote into this folder, or into the subfolder policy of a run.

    Raises:
        FileNotFoundError, NotADirectoryError: No policy is there, or it is a file.
        ValueError: The files are damaged, or from another version.
    """
    if (folder / "policy").is_dir():
        folder = folder / "policy"
    config_file, weights_file = folder / "config.json", folder / "weights.safetensors"
    if folder.is_file():
        raise NotADirectoryError(
            f"A policy is a folder with config.json and weights.safetensors, got the file {folder}. Pass the folder of "
            "a run that train.py made; zips of Stable-Baselines3 are not read."
        )
    for file in (config_file, weights_file):
        if not file.is_file():
            raise FileNotFoundError(
                f"No policy in {folder}: {file.name} is missing. Train one: python -m zo_gym.agents.train"
            )
    try:
        fields = json.loads(config_file.read_text(encoding="utf-8"))
        if fields.get("format") != FORMAT:
            raise ValueError(f"{config_file.name} must have format {FORMAT}, got {fields.get('format')}")
        reject_unknown(fields, PolicyConfig.__dataclass_fields__, str(config_file))
        fields["shape"] = None if fields["shape"] is None else tuple(fields["shape"])
        policy = new_policy(PolicyConfig(**fields), device)
        policy.actor.load_state_dict(load_file(weights_file, device=str(device)))
    except (AttributeError, KeyError, RuntimeError, SafetensorError, TypeError, ValueError) as error:
        raise ValueError(f"The policy in {folder} cannot be read: {error}. Save or download it again.") from error
    return policy
