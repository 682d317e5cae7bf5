"""The step-size agent: TD3 learns how far to go along the directions of a policy that stays as it is.

python -m agents.step_agent runs/.../policy
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import tyro
from safetensors.torch import load_file, save_file
from stable_baselines3 import TD3
from stable_baselines3.common.noise import NormalActionNoise, VectorizedActionNoise
from torch import Tensor, nn

from agents.bundle import load_policy
from agents.console import fail_clearly
from agents.guides import field_of
from agents.pilot import NUM_FEATURES, Pilot
from agents.step_env import StepSizeVectorEnv
from agents.vec_env import GymVecEnv
from zo_gym.files import write_atomically
from zo_gym.problems import make_family

FILE = "pilot.safetensors"
"""Name of the actor's weights in a policy folder."""
HIDDEN = (64, 64)
QUERIES, ROWS = 60_000, 50


@dataclass(frozen=True)
class StepArgs:
    """Train a step-size agent for a policy, and save it beside the policy."""

    policy: tyro.conf.Positional[Path]
    """A policy folder."""
    queries: int = QUERIES
    """Of training."""
    gamma: float = 0.95
    """Discount."""
    updates: int = 4
    """Gradient updates after each step of all rows."""
    seed: int = 0
    """Of everything random."""


def train_steps(folder: Path, *, queries: int = QUERIES, gamma: float = 0.95, updates: int = 4, seed: int = 0) -> None:
    """Train a pilot for the policy in this folder on the problem that it was trained on; write `FILE` there.

    Raises:
        FileNotFoundError, ValueError: There is no policy, or it is of no family.
    """
    policy = load_policy(folder)
    environment = policy.config.environment
    family = make_family(environment["problem"], split="train", **environment.get("problem_options", {}))
    env = StepSizeVectorEnv(family, field_of(policy, family.context), num_envs=ROWS)
    noise = VectorizedActionNoise(NormalActionNoise(np.zeros(2), np.full(2, 0.3)), ROWS)
    agent = TD3(
        "MlpPolicy",
        GymVecEnv(env),
        learning_rate=1e-3,
        buffer_size=queries,
        learning_starts=10 * ROWS,
        batch_size=256,
        gamma=gamma,
        gradient_steps=updates,
        action_noise=noise,
        policy_kwargs={"net_arch": list(HIDDEN)},
        seed=seed,
        device="cpu",
    )
    agent.learn(queries // env.cost() * ROWS)
    weights = {name: value.detach().contiguous() for name, value in agent.policy.actor.mu.state_dict().items()}
    write_atomically(folder / FILE, lambda path: save_file(weights, path))


def load_pilot(folder: Path) -> Pilot:
    """What `train_steps` wrote.

    Raises:
        FileNotFoundError: There is none.
    """
    file = folder / FILE
    if not file.is_file():
        raise FileNotFoundError(f"No step-size agent in {folder}. Train one: python -m agents.step_agent {folder}")
    layers: list[nn.Module] = []
    widths = (NUM_FEATURES, *HIDDEN, 2)
    for place, (before, after) in enumerate(pairwise(widths)):
        layers += [nn.Linear(before, after), nn.ReLU() if place < len(HIDDEN) else nn.Tanh()]
    network = nn.Sequential(*layers)
    network.load_state_dict(load_file(file))
    network.requires_grad_(False)

    def pilot(features: Tensor) -> Tensor:
        seen: Tensor = network(features.float())
        return seen.to(features)

    return pilot


def main() -> None:
    """Entry point of `python -m agents.step_agent`."""
    with fail_clearly():
        args = tyro.cli(StepArgs)
        torch.set_num_threads(1)
        train_steps(args.policy, queries=args.queries, gamma=args.gamma, updates=args.updates, seed=args.seed)
        print(f"Wrote {args.policy / FILE}")


if __name__ == "__main__":
    main()
