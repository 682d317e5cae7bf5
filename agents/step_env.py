"""The environment of the step-size agent: directions come from a frozen policy, the action is how far to go."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from agents.guides import LEARNING_RATE, REFRESH, SHARPNESS
from agents.pilot import MOST, NUM_FEATURES, STEPS, Flight, features, steered
from zo_gym.base import Family, Iterate, State
from zo_gym.checks import check_integer
from zo_gym.estimators import span
from zo_gym.methods import Method
from zo_gym.oracle import Oracle
from zo_gym.rng import make_generator
from zo_gym.rollout import counts_of
from zo_gym.samplers import prior_belief
from zo_gym.samplers.hybrid import Field
from zo_gym.step import begin, cost, observed, refinement, step


class StepSizeVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """Row i runs on instance i of a family for `STEPS` moves, each as long and as sharp as its action says.

    Observations are `agents.pilot.features`, actions (log length, sharpness) in [-1, 1]^2, and the reward is the
    logarithm of the least f before the move over the least f after it, which adds up to that of the episode. All rows
    end together, in the same step as they start anew (`AutoresetMode.SAME_STEP`), truncated.

    A step costs 1 query a row, and 1 more where it probes; a reset costs 1.

    Args:
        family: The instances.
        field: What the policy guesses, `agents.guides.field_of`.
        num_envs: Rows; instance i modulo the family's size in row i.
        smoothing: mu.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012

    def __init__(self, family: Family, field: Field, *, num_envs: int, smoothing: float = 0.01) -> None:
        self.num_envs = check_integer("num_envs", num_envs, 1)
        self.family = family
        self.smoothing = smoothing
        self.render_mode = None
        self.single_observation_space = gym.spaces.Box(-MOST, MOST, (NUM_FEATURES,), np.float32)
        self.single_action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.instances = torch.arange(self.num_envs, device=family.device) % family.size
        sampler = prior_belief(
            field,
            self.instances,
            family.known,
            shape=family.shape,
            smoothing=smoothing,
            sharpness=SHARPNESS,
            refresh_distance=REFRESH * LEARNING_RATE,  # as it is followed later
            gate=False,
        )
        self.method = Method(sampler, span, steered(None), 2)
        self.oracle = Oracle(family, self.num_envs)
        self._generators = [make_generator(row, family.device) for row in range(self.num_envs)]
        self._iterate: Iterate | None = None
        self._memory: State = None
        self._moves = 0

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start all rows anew; `seed` + i, or the i-th of them, seeds row i. No options are known."""
        if seed is not None:
            seeds = [seed + row for row in range(self.num_envs)] if isinstance(seed, int) else seed
            for row, value in enumerate(seeds):
                if value is not None:
                    self._generators[row] = make_generator(value, self.family.device)
        self._begin()
        return self._observation(), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Move as the actions (num_envs, 2) say."""
        if self._iterate is None:
            raise ResetNeeded("No episode is running. Call reset() before step().")
        flight: Flight = self._iterate.rule_state[0]
        action = torch.as_tensor(actions, device=self.family.device).to(flight.action).clamp(-1.0, 1.0)
        iterate = self._iterate._replace(rule_state=(flight._replace(action=action), None))
        sampler = self.method.sampler
        u, memory = sampler.sample(self._memory, iterate.x, 2, self._generators)
        done = step(
            self.oracle,
            iterate,
            u[:, : int(counts_of(sampler, memory, self.num_envs, 2).max())],
            self.method.estimator,
            self.method.update,
            self.smoothing,
            refine=refinement(sampler, memory),
            composite=True,
        )
        self._iterate, self._memory = done.iterate, observed(sampler, memory, done)
        self._moves += 1
        reward = (iterate.best_f / done.iterate.best_f).log().float().cpu().numpy()
        ended = np.full(self.num_envs, self._moves == STEPS)
        none = np.zeros(self.num_envs, dtype=bool)
        infos: dict[str, Any] = {"best_f": done.iterate.best_f.cpu().numpy(), "_best_f": np.ones(self.num_envs, bool)}
        if ended.any():
            last = np.empty(self.num_envs, dtype=object)
            last[:] = list(self._observation())
            infos |= {"final_obs": last, "_final_obs": ended, "final_info": dict(infos), "_final_info": ended}
            self._begin()
        return self._observation(), reward, none, ended, infos

    def cost(self) -> int:
        """Queries of one step of all rows, at most."""
        return self.num_envs * cost(self.method.estimator, 1, self.family.dim)

    def _begin(self) -> None:
        self.oracle.restart(np.arange(self.num_envs), self._generators, self.instances)
        x = self.family.starts(self.instances, self._generators)
        self._iterate = begin(x, self.oracle(x[:, None, :])[:, 0], self.method.update)
        self._memory = self.method.sampler.init(x)
        self._moves = 0

    def _observation(self) -> np.ndarray:
        assert self._iterate is not None
        seen = features(self._iterate.rule_state[0], self._iterate.fx)
        observation: np.ndarray = seen.float().cpu().numpy()
        return observation
