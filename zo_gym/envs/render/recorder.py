"""The record of one episode behind the environment's `render`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from zo_gym.base import Iterate
from zo_gym.envs.render import window
from zo_gym.envs.render.canvas import rgb_array
from zo_gym.envs.render.picture import Picture
from zo_gym.envs.render.text import ansi
from zo_gym.problem import Problem
from zo_gym.registry import lookup


class EpisodeRecorder:
    """Records an episode and draws it. For contours it evaluates f outside the oracle, which is not counted.

    Args:
        target: f that ends the episode, or None.
    """

    def __init__(self, target: float | None) -> None:
        self._target = target
        self._window: Any = None

    def restart(self, problem: Problem) -> None:
        """Forget the last episode; the next one minimises this problem of size 1."""
        self._problem = problem
        self._curve: list[tuple[int, float, float]] = []
        self._path: list[np.ndarray] = []

    def add(self, iterate: Iterate, report: dict[str, np.ndarray]) -> None:
        """Record the start or one step of the single row."""
        self._curve.append((report["queries"][0], report["f"][0], report["best_f"][0]))
        x = iterate.x[0].cpu().numpy().copy()
        if self._problem.dim == 2:
            self._path.append(x)
        elif self._problem.shape is not None:
            self._path = [*self._path[:1], x]

    def picture(self) -> Picture:
        """Return the episode so far."""
        queries, fun, best = (np.array(column) for column in zip(*self._curve, strict=True))
        extras: dict[str, Any] = {}
        if self._problem.dim == 2:
            extras = {"path": np.stack(self._path), "objective": self._objective}
        elif self._problem.shape is not None:
            extras = {
                "original": self._path[0].reshape(self._problem.shape),
                "current": self._path[-1].reshape(self._problem.shape),
            }
        return Picture(
            title=f"{self._problem.name}, d = {self._problem.dim}",
            queries=queries,
            fun=fun,
            best=best,
            target=self._target,
            minimum=self._problem.minimum,
            **extras,
        )

    def render(self, mode: str) -> Any:
        """Draw the episode as an array ("rgb_array"), as text ("ansi"), or in a window ("human": return None)."""
        if mode == "human":
            self._window = window.show(self.picture(), self._window)
            return None
        draw = lookup({"rgb_array": rgb_array, "ansi": ansi}, mode, "render_mode")
        return draw(self.picture())

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._window is not None:
            window.close(self._window)
            self._window = None

    def _objective(self, points: np.ndarray) -> np.ndarray:
        tensor = torch.as_tensor(points, dtype=self._problem.dtype, device=self._problem.device)
        return self._problem.values(tensor).cpu().numpy()
