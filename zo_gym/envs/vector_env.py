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
from zo_gym.directions import cosine
from zo_gym.envs import mdp, observations, spaces
from zo_gym.envs.mdp import MDPState, Outcome
from zo_gym.envs.spec import make_oracle, resolve
from zo_gym.registry import lookup
from zo_gym.tree import leaves, put, take

AUTORESET = {"same-step": AutoresetMode.SAME_STEP, "next-step": AutoresetMode.NEXT_STEP}
"""The keyword `autoreset_mode` -> Gymnasium's mode."""


class ZOSamplingVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray], EzPickle):
    """Advances n episodes of `ZOSamplingEnv` as the rows of one batch: one evaluation f(X[n, d]) serves all of them.

    Row i is the scalar environment seeded with seed + i, bit for bit. Every info array comes with a mask `_name`, as in
    `gymnasium.vector.SyncVectorEnv`. `copy.deepcopy` and `pickle` carry the settings; `state_dict` has the episodes.

    Args:
        problem: See `ZOSamplingEnv`.
        num_envs: n.
        autoreset_mode: When a row that ended starts anew. "same-step": in the step that ended it; the returned
            observation is the new episode's first, and `info["final_obs"][i]` and `info["final_info"]` hold the last of
            the old one. "next-step": in the next step, which ignores the row's action and returns reward 0; Gymnasium's
            `NormalizeObservation` of vector environments accepts no other. An `AutoresetMode` names either, too.
        max_episode_steps: Truncate an episode after so many steps, as `gymnasium.make` does; None or -1 for no limit.
        **options: See `ZOSamplingEnv`. There is nothing to render.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - as the base class declares it
        "autoreset_mode": AutoresetMode.SAME_STEP,
        "render_modes": [],
    }

    def __init__(
        self,
        problem: Any = "breast_cancer",
        *,
        num_envs: int = 1,
        autoreset_mode: str | AutoresetMode = "same-step",
        max_episode_steps: int | None = None,
        render_mode: None = None,
        **options: Any,
    ) -> None:
        own = {"autoreset_mode": autoreset_mode, "max_episode_steps": max_episode_steps, "render_mode": render_mode}
        EzPickle.__init__(self, problem, num_envs=num_envs, **own, **options)
        self.num_envs = check_integer("num_envs", num_envs, 1)
        if render_mode is not None:
            raise ValueError(f"render_mode must be None for the batched environment, got {render_mode!r}.")
        self.render_mode = None
        mode: Any = autoreset_mode
        self.autoreset_mode: AutoresetMode = (
            mode if mode in AUTORESET.values() else lookup(AUTORESET, mode, "autoreset_mode")
        )
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}
        endless = max_episode_steps in (None, -1)
        self._most_steps = None if endless else check_integer("max_episode_steps", max_episode_steps, 1)
        self.config = resolve(problem=problem, **options)
        self.single_observation_space, self.single_action_space = spaces.spaces_of(self.config)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.oracle = make_oracle(self.config, self.num_envs)
        self._streams = [seeding.np_random() for _ in range(self.num_envs)]  # each row's generator, and its seed
        self._generators: list[torch.Generator] = [torch.Generator()] * self.num_envs
        self._state: MDPState | None = None
        self._last: Iterate | None = None
        self._steps = np.zeros(self.num_envs, dtype=np.int64)  # of each row's episode
        self._waiting = np.zeros(self.num_envs, dtype=bool)  # rows that the next step starts anew

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """Return one generator a row, as `gymnasium.vector.SyncVectorEnv` does."""
        return tuple(stream for stream, _ in self._streams)

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """Return the seed of each row's generator."""
        return tuple(seed for _, seed in self._streams)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start new episodes in all rows. Costs 1 query a row.

        Args:
            seed: Row i is seeded with seed + i; or one seed (or None) a row.
            options: {"instance": [...]} chooses each row's instance; else, and at later starts, its generator does.
        """
        instances = spaces.instances_of(self.config, options, self.num_envs)
        for row, value in enumerate(spaces.row_seeds(seed, self.num_envs)):
            if value is not None:
                self._streams[row] = seeding.np_random(value)
        state = self._begin(np.arange(self.num_envs), instances)
        self._last = state.run.iterate
        self._waiting[:] = False
        infos = observations.masked(observations.info(self.config, self.oracle, state, None), ~self._waiting)
        return observations.observation(self.config, self.oracle, state), infos

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step every row with its action (num_envs, d); rows that end start anew. See `ZOSamplingEnv.step`."""
        if self._state is None:
            raise ResetNeeded("No episode is running. Call reset() before step().")
        u = spaces.to_tensor(self.config, actions, (self.num_envs, self.config.problem.dim))
        before, going = self._state, ~self._waiting
        state, outcome = self._advance(before, u, going)
        reward = mdp.reward(self.config, before, state)  # 0 in a waiting row, which has not moved
        self._state, self._last = state, state.run.iterate
        self._steps += going
        terminated, truncated = (mask & going for mask in mdp.ended(self.config, self.oracle, state))
        if self._most_steps is not None:
            truncated |= (self._steps >= self._most_steps) & going  # terminated or not, as gymnasium's TimeLimit
        observation = observations.observation(self.config, self.oracle, state)
        report = observations.info(self.config, self.oracle, state, outcome)
        ended, anew = terminated | truncated, self._waiting
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            anew = ended
        else:
            self._waiting = ended
        infos: dict[str, Any] = observations.masked(report, ~anew)
        if not anew.any():
            return observation, reward, terminated, truncated, infos
        rows = np.flatnonzero(anew)
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            final_obs = np.full(self.num_envs, None, dtype=object)
            for row in rows:
                final_obs[row] = observation[row].copy()
            infos |= {"final_obs": final_obs, "_final_obs": ended}
            infos |= {"final_info": observations.masked(report, ended), "_final_info": ended.copy()}
        fresh = self._begin(rows)
        if self.autoreset_mode is AutoresetMode.NEXT_STEP:
            self._last = fresh.run.iterate
        observation[rows] = observations.observation(self.config, self.oracle, fresh)[rows]
        infos |= observations.masked(observations.info(self.config, self.oracle, fresh, None), np.ones_like(anew))
        return observation, reward, terminated, truncated, infos

    def _advance(self, state: MDPState, u: torch.Tensor, going: np.ndarray) -> tuple[MDPState, Outcome | None]:
        """Step the rows that are going, (num_envs,) bool; the others stay, and repeat another row's outcome."""
        if going.all():
            return mdp.transition(self.config, self.oracle, self._generators, state, u)
        rows = np.flatnonzero(going)
        if not len(rows):
            return state, None
        generators = [self._generators[row] for row in rows]
        after, outcome = mdp.transition(self.config, self.oracle, generators, take(state, rows), take(u, rows), rows)
        return put(state, rows, after), take(outcome, np.maximum(np.cumsum(going) - 1, 0))

    def true_cosine(self) -> np.ndarray | None:
        """Compute each row's cos(g, grad f(x)) of the last step, (num_envs,), 0 at the start.

        None without an episode or a gradient. It serves loggers; `diagnostics=True` reports it at every step.
        """
        state, gradient = self._state, self.config.problem.gradient
        if state is None or gradient is None:
            return None
        found = cosine(state.estimate, gradient(state.run.iterate.x - state.move, self.oracle.instances))
        return found.cpu().numpy()

    @property
    def x(self) -> torch.Tensor:
        """Return the iterates after the last step in full precision, (num_envs, d); a row that ended shows its last."""
        return self._shown().x.clone()

    @property
    def best_x(self) -> torch.Tensor:
        """Return each episode's iterate with the least f, (num_envs, d); of a row that ended, the old episode's."""
        return self._shown().best_x.clone()

    def _shown(self) -> Iterate:
        if self._last is None:
            raise ResetNeeded("There is no episode yet. Call reset() first.")
        return self._last

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all rows and their generators as tensors and plain values, which run no code on load.

        Without an episode it raises ResetNeeded.
        """
        if self._state is None:
            raise ResetNeeded("There is no state before reset().")
        return {
            "oracle": self.oracle.state_dict(),
            "tensors": leaves(self._state),
            "generators": [generator.get_state() for generator in self._generators],
            "streams": [stream.bit_generator.state for stream in self.np_random],
            "seeds": list(self.np_random_seed),
            "steps": self._steps.tolist(),
            "waiting": self._waiting.tolist(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` of an environment with the same settings returned. Costs no queries.

        The state of an environment with other settings raises ValueError; that of a generator may raise RuntimeError
        or TypeError. Then nothing has changed.
        """
        restored = mdp.restored(self.config, self.num_envs, state["tensors"])
        streams = [seeding.np_random(seed) for seed in state["seeds"]]
        generators = [torch.Generator(device=self.config.problem.device) for _ in streams]
        for row, (stream, _) in enumerate(streams):
            stream.bit_generator.state = state["streams"][row]
            generators[row].set_state(state["generators"][row].cpu())
        self.oracle.load_state_dict(state["oracle"])
        self._state, self._last = restored, restored.run.iterate
        self._steps, self._waiting = np.array(state["steps"]), np.array(state["waiting"])
        self._streams, self._generators = streams, generators
        self.oracle.generators = list(generators)

    def _begin(self, rows: np.ndarray, instances: list[int] | None = None) -> MDPState:
        """Begin fresh episodes in these rows; return the state of all rows."""
        old, self._state = self._state, None  # until the new episodes have begun
        generators = [spaces.episode_generator(self._streams[row][0], self.config) for row in rows]
        for row, generator in zip(rows, generators, strict=True):
            self._generators[row] = generator
        fresh = mdp.initial(self.config, self.oracle, generators, rows, instances)
        self._state = fresh if len(rows) == self.num_envs else put(old, rows, fresh)
        self._steps[rows] = 0
        return self._state
