"""What happens while an agent trains: metrics, checkpoints, the progress bar, and the end of the query budget."""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor
from tqdm import tqdm

from zo_gym.envs.vector_env import ZOSamplingVectorEnv
from zo_gym.metrics import NAMES

from .checkpoint import Episode, save_checkpoint
from .reward_scale import RewardScale
from .vec_env import GymVecEnv

SATURATED = 0.999
COSINE_EVERY = 10
"""Steps between looks at the true gradient, which costs about as much as f."""


class TrainingDone(Exception):  # noqa: N818 - the normal end of training, not an error
    """Leaves SB3's `learn` between two steps, where the state is whole."""

    def __init__(self, interrupted: bool) -> None:
        super().__init__("interrupted" if interrupted else "query budget spent")
        self.interrupted = interrupted


def adapter_of(env: Any) -> GymVecEnv:
    """The adapter under SB3's wrappers."""
    while not isinstance(env, GymVecEnv):
        env = env.venv
    return env


def env_of(env: Any) -> ZOSamplingVectorEnv:
    """The project's environment under the adapter."""
    found = adapter_of(env).env.unwrapped
    assert isinstance(found, ZOSamplingVectorEnv)
    return found


class MetricsCallback(BaseCallback):
    """Logs the means of the project's metrics (`zo_gym.metrics`) over every `interval` steps.

    Attributes:
        episodes: (queries, best_f) of every episode that ended, in order, row by row.
    """

    def __init__(self, episodes: Sequence[Episode] = (), interval: int = 50) -> None:
        super().__init__()
        self.interval = interval
        self.episodes: list[Episode] = list(episodes)
        self._sums: dict[str, list[float]] = {}

    def _on_step(self) -> bool:
        report = adapter_of(self.training_env).batch_info
        for name, key in (("zo/f", "f"), ("zo/best_f", "best_f"), ("zo/queries", "queries"), ("zo/rho", "rho")):
            self._add(name, report.get(key))
        self._add("zo/gate_open", report.get("gate_open"))
        if self.n_calls % COSINE_EVERY == 0:
            self._add("zo/cosine", self._env().true_cosine())
        self._add("zo/slope", np.abs(report["delta"]))
        self._add("zo/saturation", np.abs(self.locals["actions"]) >= SATURATED)
        for row in np.flatnonzero(self.locals["dones"]):
            self.episodes.append((int(report["queries"][row]), float(report["best_f"][row])))
        if self.n_calls % self.interval == 0:
            self.flush()
        return True

    def total_queries(self) -> int:
        """Queries spent since training began, all rows and episodes."""
        return self._env().oracle.total

    def _env(self) -> ZOSamplingVectorEnv:
        return env_of(self.training_env)

    def _add(self, name: str, values: np.ndarray | None) -> None:
        if values is None:
            return
        known = values[~np.isnan(values)] if values.dtype.kind == "f" else values
        if known.size:
            self._sums.setdefault(name, []).append(float(known.mean()))

    def flush(self) -> None:
        """Write what has been gathered since the last entry, if anything."""
        if not self._sums:
            return
        for name, values in self._sums.items():
            assert name in NAMES, name
            self.logger.record(name, float(np.mean(values)))
        self._sums.clear()
        self.logger.record("zo/total_queries", self.total_queries())
        if isinstance(self.training_env, RewardScale):
            self.logger.record("zo/reward_scale", self.training_env.scale)
        self.model.dump_logs()


class QueryBudget(BaseCallback):
    """Ends training before a step that the total budget does not hold, or at Ctrl-C; shows the progress.

    Args:
        total_queries: Queries for all of training.
        progress: Show a bar, where there is a terminal.
        heed_interrupts: False leaves Ctrl-C to the process, e.g. a worker that ignores it.

    The first Ctrl-C ends training after the current step; a second one at once.
    """

    def __init__(self, total_queries: int, progress: bool, heed_interrupts: bool = True) -> None:
        super().__init__()
        self.total_queries = total_queries
        self.progress = progress
        self.heed_interrupts = heed_interrupts
        self._interrupted = False
        self._bar: tqdm[Any] | None = None
        self._previous: Any = None

    def _on_training_start(self) -> None:
        self._bar = tqdm(
            total=self.total_queries, unit=" queries", disable=None if self.progress else True, dynamic_ncols=True
        )
        if self.heed_interrupts and threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._interrupt)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def _on_rollout_start(self) -> None:
        env, bar = env_of(self.training_env), self._bar
        assert bar is not None
        bar.update(env.oracle.total - bar.n)
        # A step's dearest case, and a fresh start (1 query) for every row that it may end.
        dearest = (
            max(env.config.policy_cost, env.config.random_cost * (env.config.settings.gate != "open")) + 1
        ) * env.num_envs
        if self._interrupted or env.oracle.total + dearest > self.total_queries:
            raise TrainingDone(self._interrupted)

    def _on_step(self) -> bool:
        if self._bar is not None and self.n_calls % 100 == 0:
            self._bar.set_postfix_str(f"best f {adapter_of(self.training_env).batch_info['best_f'].mean():.5g}")
        return True

    def close(self) -> None:
        """Give the terminal and Ctrl-C back."""
        if self._bar is not None:
            self._bar.close()
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None


class Checkpoints(BaseCallback):
    """Saves the whole state every `interval` steps, between two steps."""

    def __init__(self, path: Path, interval: int, metrics: MetricsCallback | None = None) -> None:
        super().__init__()
        self.metrics = metrics
        self.path = path
        self.interval = interval

    def _on_rollout_start(self) -> None:
        if self.n_calls and self.n_calls % self.interval == 0:
            save_checkpoint(self.model, self.path, self.metrics.episodes if self.metrics else ())  # type: ignore[arg-type]

    def _on_step(self) -> bool:
        return True


class Trajectory(BaseCallback):
    """Keeps queries spent, best f and the true cosine (NaN where unknown) of the first row, start and every step.

    Attributes:
        best_x: The iterate with the least f so far, (d,).
    """

    def __init__(self) -> None:
        super().__init__()
        self.queries: list[int] = []
        self.best: list[float] = []
        self.cosine: list[float] = []
        self.best_x: Tensor | None = None

    def _on_training_start(self) -> None:
        self._keep(adapter_of(self.training_env).reset_infos[0], None)

    def _on_step(self) -> bool:
        report = adapter_of(self.training_env).batch_info
        ended = bool(self.locals["dones"][0])  # the row has begun anew: its estimate is gone
        cosine = None if ended else env_of(self.training_env).true_cosine()
        self._keep({name: values[0] for name, values in report.items()}, cosine)
        return True

    def _keep(self, report: Mapping[str, Any], cosine: np.ndarray | None) -> None:
        self.queries.append(int(report["queries"]))
        self.best.append(float(report["best_f"]))
        self.cosine.append(np.nan if cosine is None else float(cosine[0]))
        self.best_x = env_of(self.training_env).best_x[0]
