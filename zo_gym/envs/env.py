"""`ZOSampling-v0`: zeroth-order optimisation as a Gymnasium environment."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.utils import EzPickle

from zo_gym.envs import mdp, views
from zo_gym.envs.mdp import MDPState, Outcome
from zo_gym.envs.render.recorder import EpisodeRecorder
from zo_gym.envs.spec import EnvSpec, make_oracle, resolve
from zo_gym.registry import lookup
from zo_gym.rng import make_generator


def spaces_of(spec: EnvSpec) -> tuple[spaces.Box, spaces.Box]:
    """The observation and the action space of one row."""
    most = np.finfo(np.float32).max
    observation = spaces.Box(-most, most, (spec.observation_dim,), np.float32)
    return observation, spaces.Box(-1.0, 1.0, (spec.problem.dim,), np.float32)


def to_tensor(spec: EnvSpec, actions: Any, shape: tuple[int, ...]) -> torch.Tensor:
    """Actions of this shape as a tensor in the problem's dtype and on its device.

    Raises:
        ValueError: Another shape, or not finite.
        TypeError: Not numbers.
    """
    try:
        array = np.asarray(actions.detach().cpu() if isinstance(actions, torch.Tensor) else actions)
    except (TypeError, ValueError) as error:
        raise TypeError(f"action must be an array of real numbers, got {actions!r:.80}.") from error
    if array.dtype.kind not in "fiub":
        raise TypeError(f"action must be an array of real numbers, got {actions!r:.80}.")
    if array.shape != shape:
        raise ValueError(f"action must have shape {shape}, got {array.shape}.")
    if not np.isfinite(array).all():
        place = np.argwhere(~np.isfinite(array))[0].tolist()
        raise ValueError(
            f"action must be finite, got {array[tuple(place)]} at index {place}. "
            "Check the policy's output; if x has diverged, lower learning_rate or use update='adaptive'."
        )
    own = array.astype(np.float64)  # astype copies: the caller may change its array
    return torch.from_numpy(own).to(dtype=spec.problem.dtype, device=spec.problem.device)


class ZOSamplingEnv(gym.Env[np.ndarray, np.ndarray], EzPickle):
    """Minimise f from values alone; the agent chooses where to look.

    ## Description
    At x_k the agent proposes a perturbation u_k. The environment measures the slope
    delta = (f(x_k + mu u_k) - f(x_k)) / mu, forms the two-point estimate g = delta u_k (eq. 2 of the paper) and moves,
    x_{k+1} = x_k - eta g. A direction along +- the gradient makes g the gradient itself; most random directions make
    it nearly 0. u and -u are the same action to first order.

    ## Action space
    `Box(-1, 1, (d,), float32)`: u, normalised to unit length inside. The zero action probes and moves nowhere.

    ## Observation space
    `Box(-m, m, (n,), float32)` with m the largest float32 (x has no bounds): x_k, n = d (the paper); or with
    `observation="history"` x_k, the last g, the last move and log(1 + queries left), n = 3 d + 1; with "context"
    x_k and what the problem tells of itself (`Problem.context`), n = d + k.

    ## Reward
    The decrease f(x_k) - f(x_{k+1}) ("decrease", default); "relative": divided by |f(x_k)|; "log": the decrease of
    log f; "paper": f(x_{k+1}) - f(x_k) as the paper prints it, which a maximiser would use to climb.

    ## Queries
    1 at reset and 2 a step: f(x_k + mu u_k) and f(x_{k+1}), which is the next step's f(x_k). One more a step with
    `reevaluate`. Behind a shut gate a step costs num_directions + 2.

    ## Info
    queries (spent, exact), f, best_f (least f at an iterate), delta; cosine of g and the true gradient with
    `diagnostics`; instance where the problem has several; with a gate rho (eq. 3, NaN where not measured), gate_open,
    direction (the unit vector x moved along up to sign: what a replay buffer should hold as the action); failures
    unless on_failure is "raise".

    ## Start and end
    The problem's own start distribution, or x0. Truncated when the budget does not hold one more step, terminated
    when f(x) <= target.

    ## Arguments
    - problem: a key of `zo_gym.PROBLEMS`, a function, or a `zo_gym.Problem`. Every episode faces one of its
      instances (drawn by the generator, or `reset(options={"instance": i})`). Default: non-convex
      classification (paper, section 4.3) on scikit-learn's breast-cancer data, d = 30, no download.
    - x0, dim, batched: for a function: its start (d,) or its number of variables, and whether it takes points
      (m, d) at once. x0 also replaces a problem's own start.
    - problem_options: keywords of a registered problem, e.g. {"labels": "01"}.
    - device: of a registered problem; a function follows x0.
    - smoothing: mu > 0. learning_rate: eta. update: "sgd" (paper), "adaptive" (accept or reject), or another key of
      `zo_gym.RULES`, or an `UpdateRule`.
    - direction: "unit", or "raw" to keep |u|, which acts as a second step size; "scaled": the action times the scales
      of a learned sampler ("query_rnn"), to the length sqrt(d) of that sampler's directions (paper, section 3.3).
    - budget: queries an episode may spend. target: f that ends it.
    - noise_std: Gaussian noise added to every query. reevaluate: query f(x_k) anew each step.
    - on_failure: what NaN or infinity means: "raise", "penalize" or "retry" (see `zo_gym.Oracle`).
    - gate: "open" (default), "paper", "calibrated", "hysteresis" (see `zo_gym.gate`): while it is shut, x follows
      num_directions random directions from `sampler` and the action is only probed (Algorithm 2). gate_threshold:
      epsilon.
    - diagnostics: report the cosine; needs a problem that knows its gradient. Never shown to the agent.
    - render_mode: "rgb_array", "human" or "ansi".

    ## Reference
    Anonymous (2022), "Learning Sampling Policy for Faster Derivative Free Optimization", section 3 and Algorithm 2.
    Deviations: the reward's sign (see above) and |u| = 1, without which eq. 2 cannot equal the gradient.

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
        self.observation_space, self.action_space = spaces_of(self.config)
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
            options: {"instance": i} chooses the instance of the problem; without it the generator does. No other is known.
        """
        super().reset(seed=seed)
        instances = instances_of(self.config, options, 1)
        self._state, self._end = None, "reset() failed"  # until it has not
        self._generators = [episode_generator(self.np_random, self.config)]
        self._state = mdp.initial(self.config, self.oracle, self._generators, np.zeros(1, dtype=np.int64), instances)
        self._end = ""
        if self._recorder is not None:
            self._recorder.restart(self.config.problem.instance(int(self.oracle.instances)))
        return self._observe(self._state), self._report(self._state, None)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Probe along the action and move. See the class for what it costs and returns.

        Raises:
            ValueError, TypeError: The action is not d finite numbers. Nothing has changed: step again.
            ResetNeeded: The episode has ended or not begun.
            ObjectiveError: f failed.
        """
        if self._end or self._state is None:
            raise gym.error.ResetNeeded(f"No episode is running: {self._end}. Call reset() before step().")
        u = to_tensor(self.config, action, (self.config.problem.dim,))[None, :]
        before = self._state
        after, outcome = mdp.transition(self.config, self.oracle, self._generators, before, u)
        reward = float(views.reward(self.config, before, after)[0])
        self._state = after  # nothing can fail any more
        terminated = bool(mdp.terminated(self.config, self._state)[0])
        truncated = not terminated and bool(mdp.truncated(self.config, self.oracle, self._state)[0])
        if terminated:
            self._end = f"the target f <= {self.config.settings.target} is reached"
        elif truncated:
            self._end = f"the budget of {self.config.settings.budget} queries is spent"
        return self._observe(self._state), reward, terminated, truncated, self._report(self._state, outcome)

    @property
    def x(self) -> np.ndarray:
        """The iterate x_k in full precision, (d,), a copy."""
        return self._running().iterate.x[0].cpu().numpy().copy()

    @property
    def best_x(self) -> np.ndarray:
        """The iterate with the least f in this episode, (d,), a copy."""
        return self._running().iterate.best_x[0].cpu().numpy().copy()

    def render(self) -> Any:
        """What `render_mode` asks for: an image (H, W, 3) uint8, a text, or None with a window kept up to date."""
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

    def _observe(self, state: MDPState) -> np.ndarray:
        return views.observation(self.config, self.oracle, state)[0]

    def _report(self, state: MDPState, outcome: Outcome | None) -> dict[str, Any]:
        report = views.info(self.config, self.oracle, state, outcome)
        if self._recorder is not None:
            self._recorder.add(state.iterate, report)
            if self.render_mode == "human":
                self.render()
        return {name: values[0] if values.ndim > 1 else values[0].item() for name, values in report.items()}


def instances_of(spec: EnvSpec, options: dict[str, Any] | None, rows: int) -> list[int] | None:
    """The option "instance" of reset(), one problem of the family a row; None where it was not given.

    Raises:
        ValueError: Another option, no family, or not one existing instance a row.
    """
    if not options:
        return None
    unknown = sorted(set(options) - {"instance"})
    if unknown:
        raise ValueError(
            f"reset() takes no options but 'instance', got {unknown}. Pass others to gym.make or gym.make_vec instead."
        )
    problem = spec.problem
    if problem.size == 1:
        raise ValueError(f"The option 'instance' is for problems with several; '{problem.name}' has one. Drop it.")
    chosen = np.atleast_1d(np.asarray(options["instance"]))
    integers = chosen.shape == (rows,) and chosen.dtype.kind in "iu"
    if not (integers and bool(((chosen >= 0) & (chosen < problem.size)).all())):
        expected = f"{rows} integer(s) from 0 to {problem.size - 1}, one a row"
        raise ValueError(f"instance must be {expected}, got {options['instance']!r:.80}.")
    return [int(i) for i in chosen]


def episode_generator(np_random: np.random.Generator, spec: EnvSpec) -> torch.Generator:
    """The generator of one episode of one row, seeded from that row's own stream."""
    return make_generator(int(np_random.integers(2**63 - 1)), spec.problem.device)
