"""A replay buffer that also keeps what each step's queries measured: the signed slope and the black-box part of f."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import BaseBuffer, ReplayBuffer
from torch import Tensor


class SlopeSamples(NamedTuple):
    """Holds a batch of B transitions."""

    observations: Tensor
    """s, (B, n), with x first."""
    directions: Tensor
    """u, (B, d), of length 1."""
    slopes: Tensor
    """Signed slopes along u, (B,), of the black-box part of f; NaN where not measured."""
    values: Tensor
    """The black-box part of f at x, (B,); NaN where the problem declares no composite term."""
    rewards: Tensor
    """Rewards, (B, 1)."""
    dones: Tensor
    """1 where s' is terminal, 0 elsewhere and where the budget ended the episode, (B, 1)."""
    next_observations: Tensor | None
    """s', (B, n); None where the buffer does not keep them."""


@dataclass(frozen=True)
class SlopeBufferConfig:
    """Says what a `SlopeBuffer` keeps, and how it draws.

    Attributes:
        keep_next: Keep s', which temporal differences need and slopes do not.
        precision: Type of observations and directions: "float32", or "float16" where x is of size 1, as images are.
        seed: Seed of the sampling.
        shape: Shape of the image behind x, or None.
        shift: Pixels by which every sampled batch is moved at most, each way, images and directions alike: the scores
            of a classifier hardly change when an image moves by a pixel or two, and its slopes move along.
        recency: Ages are drawn as v^recency of all that is kept, v uniform in (0, 1): 1 draws every step alike, 2 draws
            the newest hundredth ten times as often.
    """

    keep_next: bool = True
    precision: str = "float32"
    seed: int = 0
    shape: tuple[int, ...] | None = None
    shift: int = 0
    recency: float = 1.0


class SlopeBuffer(ReplayBuffer):
    """Keeps transitions with their slopes in little memory: 40,000 of d = 784 in float16 without s' take 126 MB.

    `add` takes the slope of a row from `info["black_box_delta"]` where there is one, else from `info["delta"]`, and the
    value from `info["black_box_f"]`.

    Args:
        buffer_size: Transitions kept, all rows together.
        observation_space: Box (n,).
        action_space: Box (d,).
        device: Where samples are put.
        n_envs: Number of rows.
        optimize_memory_usage: Must be False; see `SlopeBufferConfig.keep_next`.
        config: What to keep, and how to draw.

    Attributes:
        rng: Generator of the samples; no global generator is used.
        stored: Names of the arrays that make up the content.

    Reference: Wang and Ross (2019), "Boosting Soft Actor-Critic: Emphasizing Recent Experience without Forgetting the
    Past", arXiv:1906.04009, for replay that prefers recent steps.
    """

    slopes: np.ndarray
    values: np.ndarray

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        device: torch.device | str = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        config: SlopeBufferConfig = SlopeBufferConfig(),
    ) -> None:
        assert not optimize_memory_usage, "s' is kept whole or not at all"
        BaseBuffer.__init__(self, buffer_size, observation_space, action_space, device, n_envs)  # allocates nothing
        self.buffer_size = max(buffer_size // n_envs, 1)
        self.rng = np.random.default_rng([config.seed, 2])
        self.config = config
        shape, n = (self.buffer_size, n_envs), self.obs_shape
        self.observations = np.zeros((*shape, *n), dtype=config.precision)
        self.actions = np.zeros((*shape, self.action_dim), dtype=config.precision)
        self.rewards, self.dones, self.timeouts, self.slopes, self.values = (
            np.zeros(shape, dtype=np.float32) for _ in range(5)
        )
        self.stored: tuple[str, ...] = ("observations", "actions", "rewards", "dones", "timeouts", "slopes", "values")
        if config.keep_next:
            self.next_observations = np.zeros((*shape, *n), dtype=config.precision)
            self.stored += ("next_observations",)

    def add(
        self,
        obs: np.ndarray,
        next_obs: np.ndarray,
        action: np.ndarray,
        reward: np.ndarray,
        done: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        """Keep one transition of every row; the arrays are (n_envs, ...)."""
        row = {
            "observations": obs,
            "next_observations": next_obs,
            "actions": action,
            "rewards": reward,
            "dones": done,
            "timeouts": [info.get("TimeLimit.truncated", False) for info in infos],
            "slopes": [info.get("black_box_delta", info["delta"]) for info in infos],
            "values": [info.get("black_box_f", np.nan) for info in infos],
        }
        for name in self.stored:
            # torch rounds to float16 ten times as fast as numpy
            torch.from_numpy(getattr(self, name)[self.pos]).copy_(torch.as_tensor(np.asarray(row[name])))
        self.pos += 1
        if self.pos == self.buffer_size:
            self.full, self.pos = True, 0

    def sample(self, batch_size: int, env: object = None) -> SlopeSamples:  # type: ignore[override]
        """Draw transitions with replacement; SB3's own tuple has no place for slopes."""
        at = self._steps(batch_size), self.rng.integers(self.n_envs, size=batch_size)
        shape, shift = self.config.shape, self.config.shift
        move = self.rng.integers(-shift, shift + 1, size=2).tolist() if shift else None

        def drawn(values: np.ndarray) -> Tensor:
            return torch.from_numpy(values[at].astype(np.float32)).to(self.device)

        def image(values: np.ndarray) -> Tensor:
            vectors = drawn(values)
            if move is None or shape is None:
                return vectors
            pixels = vectors[:, : self.action_dim].view(-1, *shape)
            return torch.cat([pixels.roll(move, (1, 2)).flatten(1), vectors[:, self.action_dim :]], dim=1)

        return SlopeSamples(
            observations=image(self.observations),
            directions=image(self.actions),
            slopes=drawn(self.slopes),
            values=drawn(self.values),
            rewards=drawn(self.rewards)[:, None],
            dones=(drawn(self.dones) * (1 - drawn(self.timeouts)))[:, None],
            next_observations=image(self.next_observations) if self.config.keep_next else None,
        )

    def _steps(self, count: int) -> np.ndarray:
        """Draw the places of a batch's steps, int64 (count,)."""
        kept = self.size()
        if self.config.recency == 1:  # v^1 would do, but the shipped policies were trained with these draws
            return self.rng.integers(kept, size=count)
        age = (kept * self.rng.random(count) ** self.config.recency).astype(np.int64)  # 0: the newest
        return (self.pos - 1 - age) % kept
