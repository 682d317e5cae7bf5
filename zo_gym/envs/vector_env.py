"""`gym.make_vec("ZOSampling-v0", num_envs=n)`: n episodes advanced as one batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils import EzPickle, seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from zo_gym.base import Iterate
from zo_gym.checks import check_integer
from zo_gym.envs import mdp, views
from zo_gym.envs.env import episode_generator, instances_of, spaces_of, to_tensor
from zo_gym.envs.mdp import MDPState
from zo_gym.envs.spec import make_oracle, resolve
from zo_gym.tree import leaves, with_leaves


class ZOSamplingVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray], EzPickle):
    """`ZOSamplingEnv` with a batch of rows: one evaluation f(X[n, d]) serves all of them.

    Row i is the scalar environment seeded with seed + i, bit for bit. A row that ends starts anew in the same step
    (`AutoresetMode.SAME_STEP`): the returned observation is the new episode's first, and `info["final_obs"][i]` and
    `info["final_info"]` hold the old one's last. Every info array comes with a mask `_name`, as in
    `gymnasium.vector.SyncVectorEnv`.

    Args:
        problem: See `ZOSamplingEnv`.
        num_envs: n.
        **options: See `ZOSamplingEnv`. There is nothing to render.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - as the base class declares it
        "autoreset_mode": AutoresetMode.SAME_STEP,
        "render_modes": [],
    }

    def __init__(
        self, problem: Any = "breast_cancer", *, num_envs: int = 1, render_mode: None = None, **options: Any
    ) -> None:
        EzPickle.__init__(self, problem, num_envs=num_envs, render_mode=render_mode, **options)
        self.num_envs = check_integer("num_envs", num_envs, 1)
        if render_mode is not None:
            raise ValueError(f"render_mode must be None for the batched environment, got {render_mode!r}.")
        self.render_mode = None
        self.config = resolve(problem=problem, **options)
        self.single_observation_space, self.single_action_space = spaces_of(self.config)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.oracle = make_oracle(self.config, self.num_envs)
        self._streams: list[np.random.Generator | None] = [None] * self.num_envs
        self._seeds: list[int] = [-1] * self.num_envs
        self._generators: list[torch.Generator] = [torch.Generator()] * self.num_envs
        self._state: MDPState | None = None
        self._last: Iterate | None = None

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """One generator a row, as in `gymnasium.vector.SyncVectorEnv`."""
        return tuple(self._stream(row) for row in range(self.num_envs))

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """The seed of each row's generator."""
        self.np_random  # noqa: B018 - seeds the rows that have no stream yet
        return tuple(self._seeds)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start new episodes in all rows. Costs 1 query a row.

        Args:
            seed: Row i is seeded with seed + i; or one seed (or None) a row.
            options: {"instance": [...]} chooses each row's problem of a family; without it, and when a row starts anew,
                the row's generator does. No other is known.
        """
        instances = instances_of(self.config, options, self.num_envs)
        if seed is None:
            seeds: list[int | None] = [None] * self.num_envs
        elif isinstance(seed, (int, np.integer)):
            seeds = [int(seed) + row for row in range(self.num_envs)]
        elif isinstance(seed, Sequence) and len(seed) == self.num_envs:
            seeds = list(seed)
        else:
            raise ValueError(f"seed must be None, an int, or a list of {self.num_envs} (num_envs), got {seed!r:.80}.")
        for row, value in enumerate(seeds):
            if value is not None:
                self._streams[row], self._seeds[row] = seeding.np_random(value)
        self._state = None  # until the new episodes have begun
        self._generators = [episode_generator(self._stream(row), self.config) for row in range(self.num_envs)]
        self._state = mdp.initial(self.config, self.oracle, self._generators, np.arange(self.num_envs), instances)
        self._last = self._state.iterate
        return views.observation(self.config, self.oracle, self._state), self._masked(
            views.info(self.config, self.oracle, self._state, None), np.ones(self.num_envs, dtype=bool)
        )

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step every row with its action (num_envs, d); rows that end start anew. See `ZOSamplingEnv.step`."""
        if self._state is None:
            raise ResetNeeded("No episode is running. Call reset() before step().")
        u = to_tensor(self.config, actions, (self.num_envs, self.config.problem.dim))
        before = self._state
        state, outcome = mdp.transition(self.config, self.oracle, self._generators, before, u)
        reward = views.reward(self.config, before, state)
        self._state, self._last = state, state.iterate
        terminated = mdp.terminated(self.config, state)
        truncated = mdp.truncated(self.config, self.oracle, state) & ~terminated
        observation = views.observation(self.config, self.oracle, state)
        report = views.info(self.config, self.oracle, state, outcome)
        ended = terminated | truncated
        if not ended.any():
            return observation, reward, terminated, truncated, self._masked(report, ~ended)
        rows = np.flatnonzero(ended)
        final_obs = np.full(self.num_envs, None, dtype=object)
        for row in rows:
            final_obs[row] = observation[row].copy()
        self._restart(rows)
        observation[rows] = views.observation(self.config, self.oracle, self._state)[rows]
        fresh = views.info(self.config, self.oracle, self._state, None)
        infos = self._masked(report, ~ended) | self._masked(fresh, np.ones_like(ended))
        infos |= {"final_obs": final_obs, "_final_obs": ended}
        infos |= {"final_info": self._masked(report, ended), "_final_info": ended.copy()}
        return observation, reward, terminated, truncated, infos

    def true_cosine(self) -> np.ndarray | None:
        """Each row's cos(g, grad f) of the last step, (num_envs,): see `zo_gym.envs.views.true_cosine`."""
        if self._state is None:
            return None
        found = views.true_cosine(self.config, self.oracle, self._state)
        return None if found is None else found.cpu().numpy()

    @property
    def x(self) -> torch.Tensor:
        """The iterates after the last step in full precision, (num_envs, d); of a row that ended, its last one."""
        return self._shown().x.clone()

    @property
    def best_x(self) -> torch.Tensor:
        """Each row's iterate with the least f in its episode, (num_envs, d); of a row that ended, the old episode's."""
        return self._shown().best_x.clone()

    def _shown(self) -> Iterate:
        if self._last is None:
            raise ResetNeeded("There is no episode yet. Call reset() first.")
        return self._last

    def state_dict(self) -> dict[str, Any]:
        """Where all rows stand, their generators included, as tensors and plain values: nothing that runs on load.

        Raises:
            ResetNeeded: There is no episode yet.
        """
        if self._state is None:
            raise ResetNeeded("There is no state before reset().")
        return {
            "oracle": self.oracle.state_dict(),
            "tensors": leaves(self._state),
            "generators": [generator.get_state() for generator in self._generators],
            "streams": [self._stream(row).bit_generator.state for row in range(self.num_envs)],
            "seeds": list(self.np_random_seed),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` of an environment with the same settings returned. Costs no queries.

        Raises:
            ValueError: It came from an environment with other settings; nothing has changed.
        """
        blank = mdp.blank(self.config, self.num_envs)
        self._require_same_shape(state["tensors"], leaves(blank))
        self.oracle.load_state_dict(state["oracle"])
        self._state = with_leaves(blank, state["tensors"])
        self._last = self._state.iterate
        self._seeds = list(state["seeds"])
        for row in range(self.num_envs):
            self._streams[row], _ = seeding.np_random(self._seeds[row])
            self._stream(row).bit_generator.state = state["streams"][row]
            self._generators[row] = torch.Generator(device=self.config.problem.device)
            self._generators[row].set_state(state["generators"][row].cpu())
        self.oracle.generators = list(self._generators)

    def _require_same_shape(self, given: list[torch.Tensor], wanted: list[torch.Tensor]) -> None:
        rows, d = wanted[0].shape
        found = given[0].shape
        for name, value, expected in (("num_envs", found[0], rows), ("dim", found[-1], d)):
            if value != expected:
                raise ValueError(f"The state must be of {name} = {expected}, got {value}: another environment's.")
        if [tensor.shape for tensor in given] != [tensor.shape for tensor in wanted]:
            raise ValueError("The state must be of an environment with the same settings (update, gate, sampler).")

    def _restart(self, rows: np.ndarray) -> None:
        assert self._state is not None
        ended, self._state = self._state, None  # until the new episodes have begun
        for row in rows:
            self._generators[row] = episode_generator(self._stream(row), self.config)
        generators = [self._generators[row] for row in rows]
        self._state = mdp.restart(self.config, self.oracle, generators, ended, rows)

    def _stream(self, row: int) -> np.random.Generator:
        stream = self._streams[row]
        if stream is None:
            stream, self._seeds[row] = seeding.np_random()
            self._streams[row] = stream
        return stream

    def _masked(self, report: dict[str, Any], mask: np.ndarray) -> dict[str, Any]:
        return report | {f"_{name}": mask.copy() for name in report}
