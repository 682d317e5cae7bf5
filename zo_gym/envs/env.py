"""`ZOSampling-v0`: zeroth-order optimisation as a Gymnasium environment."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.utils import EzPickle

from zo_gym.envs import mdp, observations, spaces
from zo_gym.envs.mdp import MDPState, Outcome
from zo_gym.envs.render.recorder import EpisodeRecorder
from zo_gym.envs.spec import make_oracle, resolve
from zo_gym.registry import lookup


class ZOSamplingEnv(gym.Env[np.ndarray, np.ndarray], EzPickle):
    """An agent minimises f from its values alone by choosing where to probe.

    ## Description
    At x_k the agent proposes a perturbation u_k. The environment measures the slope
    delta = (f(x_k + mu u_k) - f(x_k)) / mu, forms the two-point estimate g = delta u_k (eq. 2 of the paper) and moves
    to x_{k+1} = x_k - eta g. A direction along +- the gradient makes g the gradient itself; most random directions make
    it nearly 0. To first order, u and -u are the same action.

    ## Action space
    `Box(-1, 1, (d,), float32)` holds u, which is normalised to unit length inside. The zero action moves nowhere.

    ## Observation space
    `Box(-m, m, (n,), float32)`, where m is the largest float32, since x has no bounds. `observation="x"` (the paper)
    shows x_k, n = d; "history" shows x_k, the last g, the last move and log(1 + queries left), n = 3 d + 1; "context"
    shows x_k and what the problem declares about its instance (`Problem.context`, k numbers), n = d + k.

    ## Reward
    "decrease" (default) is f(x_k) - f(x_{k+1}); "relative" divides it by |f(x_k)|; "log" is the decrease of log f;
    "paper" is f(x_{k+1}) - f(x_k) as the paper prints it, with which a maximiser would climb.

    ## Queries
    A reset costs 1 query and a step 2: f(x_k + mu u_k) and f(x_{k+1}), which is the next step's f(x_k). `reevaluate`
    adds 1 a step. Behind a shut gate a step costs num_directions + 2.

    ## Info
    Always: queries (spent so far in the episode, exact), f, best_f (least f at an iterate), and after a step delta.
    cosine, between g and the true gradient, with `diagnostics`. instance where the problem has several. black_box_f and
    black_box_delta, f(x_k) and its slope without the composite term, where the problem declares one. With a gate: rho
    (eq. 3, NaN where not measured), gate_open, and direction (the unit vector that x moved along up to sign, which a
    replay buffer should hold as the action). failures, the number of non-finite values, unless on_failure is "raise".

    ## Start and end
    An episode starts where the problem draws its start, or at x0. It is truncated when the budget does not hold one
    more step, and terminated when f(x) <= target.

    ## Arguments
    - problem: a key of `zo_gym.PROBLEMS`, a function, or a `zo_gym.Problem`. Every episode faces one of its instances
      (the generator draws it, or `reset(options={"instance": i})` chooses it). "mnist_attack[3]" names one instance.
      The default is non-convex classification (paper, section 4.3) on scikit-learn's breast-cancer data, d = 30.
    - x0, dim, batched: for a function: its start (d,) or its number of variables, and whether it takes points
      (m, d) at once. x0 also replaces a problem's own start.
    - problem_options: keywords of a registered problem, e.g. {"labels": "01"}.
    - device: where a registered problem is evaluated; a function follows x0.
    - smoothing: mu > 0, in units of x. learning_rate: eta. update: "sgd" (paper), "adaptive" (accept or reject), or
      another key of `zo_gym.RULES`, or an `UpdateRule`.
    - direction: "unit"; "raw" keeps |u|, a second step size; "scaled" multiplies the action by the scales of a learned
      sampler ("query-rnn") and gives it the length sqrt(d) of that sampler's directions (paper, section 3.3).
    - budget: queries that an episode may spend. target: the f that ends it.
    - noise_std: standard deviation of Gaussian noise added to every query. reevaluate: query f(x_k) anew each step.
    - on_failure: what NaN or infinity means: "raise", "penalize" or "retry" (see `zo_gym.Oracle`).
    - gate: "open" (default), "paper", "calibrated" or "hysteresis" (see `zo_gym.gate`). While it is shut, x follows
      num_directions random ones from `sampler` and the action is only probed (Algorithm 2). gate_threshold: epsilon.
    - diagnostics: report the cosine; the problem must know its gradient. The agent never observes it.
    - render_mode: "rgb_array", "human" or "ansi".

    ## Copies
    `copy.deepcopy` and `pickle` (for functions defined in a script: `cloudpickle`) carry the settings, not the episode:
    call reset() on the copy.

    ## Reference
    Anonymous (2022), "Learning Sampling Policy for Faster Derivative Free Optimization", section 3 and Algorithm 2.
    Deviations: the reward's sign (see above), and |u| = 1, without which eq. 2 cannot equal the gradient.

    ## Version history
    v0: first version.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - as the base class declares it
        "render_modes": ["rgb_array", "human", "ansi"],
        "render_fps": 10,
    }

    def __init__(self, problem: Any = "breast_cancer", *, render_mode: str | None = None, **options: Any) -> None:
        EzPickle.__init__(self, problem, render_mode=render_mode, **options)
        if render_mode is not None:
            lookup(dict.fromkeys(self.metadata["render_modes"]), render_mode, "render_mode")
        self.config = resolve(problem=problem, **options)
        self.observation_space, self.action_space = spaces.spaces_of(self.config)
        self.render_mode = render_mode
        self.oracle = make_oracle(self.config, 1)
        self._recorder = None if render_mode is None else EpisodeRecorder(self.config.settings.target)
        self._state: MDPState | None = None
        self._generators: list[torch.Generator] = []
        self._end = "it has not begun"

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start a new episode. Costs 1 query of its budget.

        Args:
            seed: Seeds the environment's generator; the same seed gives the same episode for the same actions.
            options: {"instance": i} chooses the instance; without it the generator draws one. There is no other option.
        """
        super().reset(seed=seed)
        instances = spaces.instances_of(self.config, options, 1)
        self._state, self._end = None, "reset() failed"  # until it has not
        self._generators = [spaces.episode_generator(self.np_random, self.config)]
        self._state = mdp.initial(self.config, self.oracle, self._generators, np.zeros(1, dtype=np.int64), instances)
        self._end = ""
        if self._recorder is not None:
            self._recorder.restart(self.config.problem.instance(int(self.oracle.instances)))
        return self._shown(self._state, None)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Probe along the action and move; the docstring of the class lists the costs and the infos.

        Raises:
            ValueError, TypeError: The action is not d finite numbers. Nothing has changed: step again.
            ResetNeeded: The episode has ended or not begun.
            ObjectiveError: f failed.
        """
        if self._end or self._state is None:
            raise gym.error.ResetNeeded(f"No episode is running: {self._end}. Call reset() before step().")
        u = spaces.to_tensor(self.config, action, (self.config.problem.dim,))[None, :]
        before = self._state
        after, outcome = mdp.transition(self.config, self.oracle, self._generators, before, u)
        reward = float(mdp.reward(self.config, before, after)[0])
        self._state = after  # nothing can fail any more
        terminated, truncated = mdp.ended(self.config, self.oracle, after)
        if terminated[0]:
            self._end = f"the target f <= {self.config.settings.target} is reached"
        elif truncated[0]:
            self._end = f"the budget of {self.config.settings.budget} queries is spent"
        observation, infos = self._shown(after, outcome)
        return observation, reward, bool(terminated[0]), bool(truncated[0]), infos

    @property
    def x(self) -> np.ndarray:
        """Return the iterate x_k in full precision, (d,), a copy."""
        return self._running().run.iterate.x[0].cpu().numpy().copy()

    @property
    def best_x(self) -> np.ndarray:
        """Return the iterate with the least f in this episode, (d,), a copy."""
        return self._running().run.iterate.best_x[0].cpu().numpy().copy()

    def render(self) -> Any:
        """Draw the episode in the `render_mode`: return an image (H, W, 3) uint8 or a text, or update the window."""
        if self._recorder is None or self.render_mode is None:
            gym.logger.warn('render() does nothing without a render_mode; pass render_mode="rgb_array" to gym.make.')
            return None
        self._running()
        return self._recorder.render(self.render_mode)

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._recorder is not None:
            self._recorder.close()

    def _running(self) -> MDPState:
        if self._state is None:
            raise gym.error.ResetNeeded("There is no episode yet. Call reset() first.")
        return self._state

    def _shown(self, state: MDPState, outcome: Outcome | None) -> tuple[np.ndarray, dict[str, Any]]:
        """Return the observation and the infos, and give the renderer its frame."""
        observation = observations.observation(self.config, self.oracle, state)[0]
        report = observations.info(self.config, self.oracle, state, outcome)
        if self._recorder is not None:
            self._recorder.add(state.run.iterate, report)
            if self.render_mode == "human":
                self.render()
        return observation, {name: v[0] if v.ndim > 1 else v[0].item() for name, v in report.items()}
