"""A replay buffer that keeps what each transition's queries said: the signed slope, and the unknown part of f."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import BaseBuffer, ReplayBuffer
from torch import Tensor


class SlopeSamples(NamedTuple):
    """B transitions."""

    observations: Tensor
    """s, (B, n): x first."""
    directions: Tensor
    """u, (B, d), of length 1."""
    slopes: Tensor
    """D, signed, (B,): of the unknown part where the problem declares a known one; NaN where it was not measured."""
    values: Tensor
    """The unknown part of f at x, (B,); NaN where it was not told."""
    rewards: Tensor
    """(B, 1)."""
    dones: Tensor
    """1 where s' is terminal (not where the budget ended), (B, 1)."""
    next_observations: Tensor | None
    """s', (B, n); None where the buffer does not keep them."""


class SlopeBuffer(ReplayBuffer):
    """Transitions with their slopes, in little memory: 40,000 of d = 784 in float16 without s' take 126 MB.

    `add` takes the slope of a row from `info["black_box_delta"]` where there is one, else from `info["delta"]`, and the
    value from `info["black_box_f"]`.

    Args:
        buffer_size: Transitions kept, of all rows together.
        observation_space: Box (n,).
        action_space: Box (d,).
        device: Where samples go.
        n_envs: Rows.
        optimize_memory_usage: Not supported; see `keep_next`.
        keep_next: Keep s', which temporal differences need and slopes do not.
        precision: Of observations and directions: "float32", or "float16" where x is of size 1, as images are.
        seed: Of the sampling.
        shape: Of the image behind x, or None.
        shift: Every sampled batch is moved by up to so many pixels each way, images and directions alike: what a
            classifier says of an image hardly changes when it moves by a pixel or two, and its slopes move along.
        recency: Ages are drawn as v^recency of all that is kept, v uniform in (0, 1): 1 draws every step alike, 2 the
            newest hundredth ten times as often as that. Reference for replay that prefers what is recent: Wang and
            Ross (2019), arXiv:1906.04009.

    Attributes:
        rng: What samples are drawn with; no global generator is touched.
        stored: Names of the arrays that make up the content.
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
        *,
        keep_next: bool = True,
        precision: str = "float32",
        seed: int = 0,
        shape: tuple[int, ...] | None = None,
        shift: int = 0,
        recency: float = 1.0,
    ) -> None:
        assert not optimize_memory_usage, "s' is kept whole or not at all"
        BaseBuffer.__init__(self, buffer_size, observation_space, action_space, device, n_envs)  # allocates nothing
        self.buffer_size = max(buffer_size // n_envs, 1)
        self.rng = np.random.default_rng([seed, 2])
        self.shape, self.shift, self.recency = shape, shift, recency
        shape, n = (self.buffer_size, n_envs), self.obs_shape
        self.observations = np.zeros((*shape, *n), dtype=precision)
        self.actions = np.zeros((*shape, self.action_dim), dtype=precision)
        self.rewards, self.dones, self.timeouts, self.slopes, self.values = (
            np.zeros(shape, dtype=np.float32) for _ in range(5)
        )
        self.stored: tuple[str, ...] = ("observations", "actions", "rewards", "dones", "timeouts", "slopes", "values")
        if keep_next:
            self.next_observations = np.zeros((*shape, *n), dtype=precision)
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
        """One transition of every row, (n_envs, ...) each."""
        row = {
            "observations": obs,
            "next_observations": next_obs,
            "actions": action,
            "rewards": reward,
            "dones": done,
            "timeouts": [info.get("TimeLimit.truncated", False) for info in infos],
            "slopes": [slope_of(info) for info in infos],
            "values": [info.get("black_box_f", np.nan) for info in infos],
        }
        for name in self.stored:
            # torch rounds to float16 ten times as fast as numpy
            torch.from_numpy(getattr(self, name)[self.pos]).copy_(torch.as_tensor(np.asarray(row[name])))
        self.pos += 1
        if self.pos == self.buffer_size:
            self.full, self.pos = True, 0

    def sample(self, batch_size: int, env: object = None) -> SlopeSamples:  # type: ignore[override]
        """Transitions drawn with replacement; SB3's own tuple has no place for slopes."""
        at = self._steps(batch_size), self.rng.integers(self.n_envs, size=batch_size)
        move = self.rng.integers(-self.shift, self.shift + 1, size=2).tolist() if self.shift else None

        def drawn(values: np.ndarray) -> Tensor:
            return torch.from_numpy(values[at].astype(np.float32)).to(self.device)

        def image(values: np.ndarray) -> Tensor:
            vectors = drawn(values)
            if move is None or self.shape is None:
                return vectors
            pixels = vectors[:, : self.action_dim].view(-1, *self.shape)
            return torch.cat([pixels.roll(move, (1, 2)).flatten(1), vectors[:, self.action_dim :]], dim=1)

        return SlopeSamples(
            image(self.observations),
            image(self.actions),
            drawn(self.slopes),
            drawn(self.values),
            drawn(self.rewards)[:, None],
            (drawn(self.dones) * (1 - drawn(self.timeouts)))[:, None],
            image(self.next_observations) if "next_observations" in self.stored else None,
        )

    def _steps(self, count: int) -> np.ndarray:
        """Where the steps of a batch are kept, int64 (count,)."""
        kept = self.size()
        if self.recency == 1:  # v^1 would do, but draw otherwise than the policies that ship were trained with
            return self.rng.integers(kept, size=count)
        age = (kept * self.rng.random(count) ** self.recency).astype(np.int64)  # 0: the newest
        return (self.pos - 1 - age) % kept


def slope_of(info: dict[str, Any]) -> float:
    """The signed slope that a step measured: of the unknown part of f where a part is known, else of f."""
    return float(info.get("black_box_delta", info["delta"]))
