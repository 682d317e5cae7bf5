"""The record of one episode behind the environment's `render`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from zo_gym.base import Iterate
from zo_gym.envs.render import canvas
from zo_gym.envs.render.picture import Picture, ansi
from zo_gym.problem import Problem


class EpisodeRecorder:
    """Records an episode, which f <= `target` ends, if there is one, and draws it.

    For contours it evaluates f outside the oracle, which is not counted.
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
        problem, path = self._problem, self._path
        queries, fun, best = (np.array(column) for column in zip(*self._curve, strict=True))
        title = f"{problem.name}, d = {problem.dim}"
        curve = Picture(title, queries, fun, best, target=self._target, minimum=problem.minimum)
        if problem.dim == 2:
            return replace(curve, path=np.stack(path), objective=self._objective)
        if problem.shape is not None:
            return replace(curve, original=path[0].reshape(problem.shape), current=path[-1].reshape(problem.shape))
        return curve

    def render(self, mode: str) -> Any:
        """Draw the episode as an array ("rgb_array"), as text ("ansi"), or in a window ("human": return None)."""
        if mode == "human":
            self._window = canvas.show(self.picture(), self._window)
            return None
        return ansi(self.picture()) if mode == "ansi" else canvas.rgb_array(self.picture())

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._window is not None:
            canvas.close(self._window)
        self._window = None

    def _objective(self, points: np.ndarray) -> np.ndarray:
        tensor = torch.as_tensor(points, dtype=self._problem.dtype, device=self._problem.device)
        return self._problem.values(tensor).cpu().numpy()
