"""Callbacks while an agent trains: metrics, checkpoints, the progress bar, and the end of the query budget."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor
from tqdm import tqdm

from zo_gym.interruption import Interruption
from zo_gym.metrics import NAMES

from .checkpoint import Episode, save_checkpoint
from .vec_env import RewardScale, adapter_of, env_of

NEVER = 10**12
"""Steps or episodes, more than any run has: `QueryBudget` ends training, and `MetricsCallback` writes the log."""
SATURATED = 0.999
"""Size of an action's coordinate from which on it counts as being at a bound of the box."""
COSINE_EVERY = 10
"""Steps between evaluations of the true gradient, which costs about as much time as f."""
BAR_EVERY = 100
"""Steps between updates of the number beside the progress bar."""


class TrainingDone(Exception):  # noqa: N818 - the normal end of training, not an error
    """Leaves SB3's `learn` between two steps, where the state is whole."""


class MetricsCallback(BaseCallback):
    """Logs the means of the project's metrics (`zo_gym.metrics`) over every `interval` steps.

    Args:
        episodes: Episodes that ended before training was resumed.
        interval: Steps between two entries.

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
        for key in ("f", "best_f", "queries", "rho", "gate_open"):
            self._add(f"zo/{key}", report.get(key))
        if self.n_calls % COSINE_EVERY == 0:
            self._add("zo/cosine", env_of(self.training_env).true_cosine())
        self._add("zo/slope", np.abs(report["delta"]))
        self._add("zo/saturation", np.abs(self.locals["actions"]) >= SATURATED)
        for row in np.flatnonzero(self.locals["dones"]):
            self.episodes.append((int(report["queries"][row]), float(report["best_f"][row])))
        if self.n_calls % self.interval == 0:
            self.flush()
        return True

    def total_queries(self) -> int:
        """Return the queries spent since training began, all rows and episodes."""
        return env_of(self.training_env).oracle.total

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
    """Ends training before a step that the total budget does not hold, or on a signal; shows the progress.

    Args:
        total_queries: Queries for all of training.
        progress: Show a bar, where stderr is a terminal.
        interruption: What notes signals; None leaves them to the process, e.g. in a worker that ignores them.
    """

    def __init__(self, total_queries: int, progress: bool, interruption: Interruption | None = None) -> None:
        super().__init__()
        self.total_queries = total_queries
        self.interruption = interruption or Interruption()
        self._bar: tqdm[Any] = tqdm(
            total=total_queries, unit=" queries", disable=None if progress else True, dynamic_ncols=True
        )

    def _on_rollout_start(self) -> None:
        env = env_of(self.training_env)
        self._bar.update(env.oracle.total - self._bar.n)
        dearest = max(env.config.policy_cost, env.config.random_cost * (env.config.settings.gate != "open"))
        # Every row may take the step that costs most, and a fresh start (1 query) after it.
        if self.interruption.noted or env.oracle.total + (dearest + 1) * env.num_envs > self.total_queries:
            raise TrainingDone

    def _on_step(self) -> bool:
        if self.n_calls % BAR_EVERY == 0:
            self._bar.set_postfix_str(f"best f {adapter_of(self.training_env).batch_info['best_f'].mean():.5g}")
        return True

    def close(self) -> None:
        """Give the terminal back."""
        if self.interruption.noted - {signal.SIGINT, signal.SIGTERM}:
            self._bar.disable = True  # after SIGHUP the terminal is gone, and writing to it raises
        self._bar.close()


class Checkpoints(BaseCallback):
    """Saves the whole state between two steps, every `interval` steps and where the last checkpoint is too old.

    Args:
        path: The file.
        interval: Steps from one checkpoint to the next.
        metrics: Whose episodes are saved, too.
        seconds: Age of a checkpoint, or of the run, at which the next is written before its turn.
    """

    def __init__(
        self, path: Path, interval: int, metrics: MetricsCallback | None = None, seconds: float = 60.0
    ) -> None:
        super().__init__()
        self.metrics = metrics
        self.path = path
        self.interval = interval
        self.seconds = seconds
        self._saved_at = 0.0

    def _on_training_start(self) -> None:
        self._saved_at = time.monotonic()

    def _on_rollout_start(self) -> None:
        due = self.n_calls % self.interval == 0 or time.monotonic() - self._saved_at >= self.seconds
        if self.n_calls and due:
            save_checkpoint(self.model, self.path, self.metrics.episodes if self.metrics else ())  # type: ignore[arg-type]
            self._saved_at = time.monotonic()

    def _on_step(self) -> bool:
        return True


class Trajectory(BaseCallback):
    """Keeps what the first row reached at the start and after every step.

    Attributes:
        queries: Queries spent.
        best: Least f so far.
        cosine: cos(g, grad f) of the step; NaN at the start and where the gradient is not known.
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
