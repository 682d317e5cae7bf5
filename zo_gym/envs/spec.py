"""The keywords of `gym.make("ZOSampling-v0", ...)`, checked and turned into parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch

from zo_gym.base import Gate, Method, Sampler, UpdateRule
from zo_gym.checks import check_flag, check_integer, check_number, check_positive, check_smoothing
from zo_gym.estimators import forward
from zo_gym.gate import GATES
from zo_gym.oracle import OnFailure, Oracle
from zo_gym.problem import Problem
from zo_gym.problems import as_problem
from zo_gym.registry import factory_of, lookup, reject_unknown
from zo_gym.samplers import SAMPLERS
from zo_gym.step import cost
from zo_gym.updates import RULES

Observation = Literal["x", "history", "context"]
Reward = Literal["decrease", "paper", "relative", "log"]
Direction = Literal["unit", "raw", "scaled"]


@dataclass(frozen=True)
class Settings:
    """Holds the keywords of `gym.make("ZOSampling-v0", ...)`; the docstring of `ZOSamplingEnv` explains each."""

    problem: str | Problem | Callable[[Any], Any] = "breast_cancer"
    x0: Any = None
    dim: int | None = None
    batched: bool = False
    problem_options: Mapping[str, Any] | None = None
    device: str | torch.device | None = None
    observation: Observation = "x"
    reward: Reward = "decrease"
    smoothing: float = 0.01
    learning_rate: float = 1.0
    update: str | UpdateRule = "sgd"
    direction: Direction = "unit"
    budget: int = 5000
    target: float | None = None
    noise_std: float = 0.0
    reevaluate: bool = False
    on_failure: OnFailure = "raise"
    gate: str = "open"
    gate_threshold: float = 0.5
    num_directions: int = 20
    sampler: str | Sampler = "gaussian"
    diagnostics: bool = False

    def __post_init__(self) -> None:
        """Raise TypeError or ValueError where a value is not as described; the oracle and the parts check the rest."""
        for name, known in (("observation", Observation), ("reward", Reward), ("direction", Direction)):
            lookup(dict.fromkeys(get_args(known)), getattr(self, name), name)
        for name in ("batched", "reevaluate", "diagnostics"):
            check_flag(name, getattr(self, name))
        if self.target is not None:
            check_number("target", self.target)
        check_number("gate_threshold", self.gate_threshold)
        check_positive("smoothing", self.smoothing)
        check_integer("num_directions", self.num_directions, 1)


@dataclass(frozen=True)
class EnvSpec:
    """Holds the settings, checked, and the parts that they name."""

    settings: Settings
    problem: Problem
    gate: Gate
    sampler: Sampler
    policy_step: Method
    """The step along the action (eq. 2): forward difference, q = 1."""
    random_step: Method
    """The step behind a shut gate (eq. 1): forward differences along q directions of the sampler."""
    policy_cost: int
    """Queries of a step that follows the action: 2 (+ 1 with `reevaluate`)."""
    random_cost: int
    """Queries of a step behind a shut gate: q + 2 (+ 1 with `reevaluate`), the action's probe among them."""

    @property
    def observation_dim(self) -> int:
        """Return the length of one observation."""
        d, context = self.problem.dim, self.problem.context
        length = {"x": d, "history": 3 * d + 1, "context": d if context is None else d + context.shape[-1]}
        return length[self.settings.observation]


def resolve(**options: Any) -> EnvSpec:
    """Check settings given by keyword, and turn names into parts; raise TypeError or ValueError for what is wrong."""
    reject_unknown(options, Settings.__dataclass_fields__, "ZOSampling-v0")
    s = Settings(**options)
    problem = as_problem(
        s.problem,
        x0=s.x0,
        dim=s.dim,
        batched=s.batched,
        device=s.device,
        options=s.problem_options,
        catch=s.on_failure != "raise",
    )
    if s.observation == "context" and problem.context is None:
        raise ValueError(
            f"observation='context' needs a problem with a context, and '{problem.name}' has none. Use observation='x'."
        )
    if s.diagnostics and problem.gradient is None:
        raise ValueError(f"diagnostics=True needs a gradient, and problem '{problem.name}' has none. Drop diagnostics.")
    check_smoothing(s.smoothing, problem.dtype)
    rule = s.update if isinstance(s.update, UpdateRule) else factory_of("update", RULES, s.update)(s.learning_rate)
    sampler = s.sampler if isinstance(s.sampler, Sampler) else factory_of("sampler", SAMPLERS, s.sampler)()
    if s.direction == "scaled" and sampler.scale is None:
        raise ValueError(
            f"direction='scaled' needs a sampler with learned scales, got {s.sampler!r}. Pass "
            "sampler=zo_gym.samplers.query_rnn(weights=FILE)."
        )
    q = int(s.num_directions)
    gate = lookup(GATES, s.gate, "gate")(s.gate_threshold, problem.dim, q)
    policy_step, random_step = Method(sampler, forward, rule, 1), Method(sampler, forward, rule, q)
    return EnvSpec(
        settings=s,
        problem=problem,
        gate=gate,
        sampler=sampler,
        policy_step=policy_step,
        random_step=random_step,
        policy_cost=cost(policy_step, 1, problem.dim, reevaluate=s.reevaluate),
        random_cost=cost(random_step, q, problem.dim, probe=True, reevaluate=s.reevaluate),
    )


def make_oracle(spec: EnvSpec, rows: int) -> Oracle:
    """Make an oracle for `rows` runs under the settings' budget, which must hold a step, noise and failure policy."""
    s = spec.settings
    generators = [torch.Generator(device=spec.problem.device)] * rows
    oracle = Oracle(
        spec.problem, rows, budget=s.budget, noise_std=s.noise_std, generators=generators, on_failure=s.on_failure
    )
    oracle.require_step(spec.policy_cost if s.gate == "open" else spec.random_cost)
    return oracle
