"""Make solvers of ZO-RL (Algorithm 2) for the comparison of the paper's section 4, and of its controls.

On classification the agent learns while it optimises: a fresh one for every start, all its queries counted. On an
attack it is trained on the training images first (one episode each), then applied to the test images without noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.recorder import Recorder
from benchmarks.solvers import baselines, zeroth_order
from benchmarks.solvers.base import Group, Run, Setup, Solver, SolverOutcome, join
from benchmarks.solvers.zeroth_order import lstm_file
from benchmarks.suites.task import Task
from benchmarks.tuner import tuned_options
from zo_gym.agents.build import agent_for
from zo_gym.agents.curves import Act
from zo_gym.agents.policies.bundle import PolicyConfig, load_policy, new_policy, save_policy
from zo_gym.agents.presets import PRESETS, Preset
from zo_gym.agents.sb3.callbacks import Trajectory
from zo_gym.agents.training_run import learn_within
from zo_gym.envs.vector_env import ZOSamplingVectorEnv
from zo_gym.meta.rnn import load_optimizer
from zo_gym.problem import Problem
from zo_gym.samplers import query_rnn
from zo_gym.updates import update_rnn

AGENT_COARSE_DELTAS = (1.0, 10.0, 100.0, 1000.0)
"""Coarse search range of delta for agents, shorter than `COARSE_DELTAS` because an agent's run takes about a minute."""
AGENT_FINER = (10**-0.5, 10**0.5)
"""Factors that are tried around the best of these."""


@dataclass(frozen=True)
class Variant:
    """Describes a variant of Algorithm 2.

    Attributes:
        algo: The agent's algorithm, "ddpg" or "td3".
        preset: Its environment and training.
        on_lstm: Whether it learns inside the distribution of ZO-LSTM (section 3.3): UpdateRNN moves, QueryRNN draws
            and scales the actions.
    """

    algo: str
    preset: Preset
    on_lstm: bool = False

    @property
    def tuned(self) -> bool:
        """Return whether its step size is tuned: neither rule of the others has one to choose."""
        return not (self.preset.update == "adaptive" or self.on_lstm)

    def settings(self, task: Task, problem: Problem, folder: Path, options: Mapping[str, float]) -> dict[str, Any]:
        """Return the settings of the environment; eta = delta / d where delta is tuned, else the preset's."""
        eta = options["delta"] / problem.dim if "delta" in options else self.preset.learning_rate
        settings: dict[str, Any] = {
            "problem": problem,
            "smoothing": task.smoothing,
            "learning_rate": eta,
            "update": self.preset.update,
            "budget": task.budget,
            "gate": self.preset.gate,
            "gate_threshold": 0.5,
            "num_directions": 20,
        }
        if self.on_lstm:
            weights = load_optimizer(lstm_file(folder))
            settings |= {"update": update_rnn(weights=weights), "sampler": query_rnn(weights), "direction": "scaled"}
        return settings

    def config(self, problem: Problem, settings: Mapping[str, Any]) -> PolicyConfig:
        """Return what a policy that was trained so is saved with."""
        exploration = problem.dim**0.5 if self.preset.exploration is None else self.preset.exploration
        environment = {key: value for key, value in settings.items() if isinstance(value, (int, float, str))}
        environment["problem"] = problem.name
        d, shape = problem.dim, problem.shape
        return PolicyConfig(self.algo, self.preset.network, d, d, shape, exploration, environment)


def online_run(variant: Variant) -> Run:
    """Return what runs a fresh agent on every row, which learns as it goes."""

    def run(setup: Setup) -> SolverOutcome:
        outcomes = []
        for row, seed in enumerate(setup.seeds):
            problem = setup.problem.subset([row])
            settings = variant.settings(setup.task, problem, setup.folder, setup.options)
            trace = Trajectory()
            steps = setup.task.budget // 2 + 1
            agent = agent_for(variant.algo, settings, variant.preset, rows=1, seed=seed, transitions=steps)
            learn_within(agent, setup.task.budget, trace)
            recorder = Recorder(problem, setup.task.budget, setup.task.early)
            for queries, best, cosine in zip(trace.queries, trace.best, trace.cosine, strict=True):
                recorder.add(queries, [best], cosine=[cosine])
            assert trace.best_x is not None
            outcomes.append(recorder.finish(trace.best_x[None]))
        return join(outcomes)

    return run


def run_behind_gate(setup: Setup, settings: Mapping[str, Any], act: Act, exploration: float) -> SolverOutcome:
    """Run all rows behind the gate with a policy that does not learn, plus Gaussian noise of norm `exploration`."""
    problem = setup.problem
    env = ZOSamplingVectorEnv(num_envs=problem.size, **settings)
    rng = np.random.default_rng([2, *setup.seeds])
    observations, info = env.reset(seed=list(setup.seeds), options={"instance": range(problem.size)})
    recorder = Recorder(problem, setup.task.budget, setup.task.early)
    queries, best, best_x = info["queries"], info["best_f"], env.best_x
    recorder.add(queries, best, env.x)
    running = np.ones(problem.size, dtype=bool)
    while running.any():
        noise = exploration / np.sqrt(problem.dim) * rng.standard_normal((problem.size, problem.dim))
        observations, _, terminated, truncated, info = env.step((act(observations) + noise).astype(np.float32))
        ended = terminated | truncated
        for rows, report in ((running & ~ended, info), (running & ended, info.get("final_info", {}))):
            if rows.any():
                queries, best = (np.where(rows, report[k], old) for k, old in (("queries", queries), ("best_f", best)))
        moved = torch.from_numpy(running).unsqueeze(1)
        best_x = torch.where(moved, env.best_x, best_x)
        seen = env.true_cosine() if recorder.wants_cosine(int(queries.max())) else None
        cosine = None if seen is None else np.where(running & ~ended, seen, np.nan)  # an ended row has begun anew
        recorder.add(queries, best, torch.where(moved, env.x, best_x), cosine)
        running &= ~ended
    return recorder.finish(best_x)


def untrained_run(variant: Variant) -> Run:
    """Return what runs the untrained actor behind the same gate: it shows what the gate and the step alone achieve.

    On classification it gets the noise that the agent explores with, on attacks none, as the trained one.
    """

    def run(setup: Setup) -> SolverOutcome:
        settings = variant.settings(setup.task, setup.problem, setup.folder, setup.options)
        config = variant.config(setup.problem, settings)
        noise = 0.0 if setup.task.kind == "attack" else config.exploration
        return run_behind_gate(setup, settings, new_policy(config, seed=setup.seeds[0]), noise)

    return run


def agent_folder(folder: Path, name: str) -> Path:
    """Return where the trained policy of a solver is kept in the folder of a task's results."""
    return folder / name / "policy"


def zo_rl_solver(
    name: str, label: str, variant: Variant, *, group: Group = "paper", borrows: str | None = None
) -> Solver:
    """Return the solver of a variant of Algorithm 2: online on classification, trained before on an attack.

    On an attack its step is ZO-SGD's tuned one, because behind the shut gate it is ZO-SGD plus one probe.

    Args:
        name: Its name in SOLVERS.
        label: Its name in tables.
        variant: Algorithm, preset and distribution.
        group: The part of the table that it is in.
        borrows: The solver whose tuned step it takes on classification; None: its own search, where it has one.
    """

    def run(setup: Setup) -> SolverOutcome:
        if setup.task.kind == "classification":
            return online_run(variant)(setup)
        settings = variant.settings(setup.task, setup.problem, setup.folder, setup.options)
        return run_behind_gate(setup, settings, load_policy(agent_folder(setup.folder, name)), 0.0)

    return Solver(
        label,
        group,
        run,
        search={"delta": AGENT_COARSE_DELTAS} if variant.tuned and not borrows else {},
        finer=AGENT_FINER,
        tuning_rows=2,
        tuning_share=0.4,
        prepare=_training(name, variant),
        needs="zo-lstm" if variant.on_lstm else borrows,
        batched=False,
        borrows={"attack": "zo-sgd", **({"classification": borrows} if borrows else {})} if variant.tuned else {},
        training_queries=lambda task, folder: _training_queries(task) if task.kind == "attack" else 0,
    )


def _training(name: str, variant: Variant) -> Callable[[Task, Path], None]:
    """Return what trains the policy of a solver on an attack's training images, unless it is there."""

    def prepare(task: Task, folder: Path) -> None:
        place = agent_folder(folder, name)
        if task.kind == "classification" or (place / "config.json").is_file():
            return
        problem = task.problem("train")
        options = tuned_options("zo-sgd", zeroth_order.SOLVERS, task, folder) if variant.tuned else {}
        settings = variant.settings(task, problem, folder, options)
        transitions = problem.size * (task.budget // 2 + 1)
        agent = agent_for(variant.algo, settings, variant.preset, rows=problem.size, seed=0, transitions=transitions)
        learn_within(agent, _training_queries(task))
        save_policy(agent, variant.config(problem, settings), place)

    return prepare


def _training_queries(task: Task) -> int:
    """Return the queries of one episode on each training image."""
    return task.sizes["train"] * task.budget


_PAPER = Variant("ddpg", PRESETS["paper"])
_PAPER_TD3 = Variant("td3", PRESETS["paper"])
_PAPER_LSTM = Variant("ddpg", PRESETS["paper"], on_lstm=True)
_DEFAULT = Variant("ddpg", PRESETS["default"])

SOLVERS: dict[str, Solver] = {
    **zeroth_order.SOLVERS,
    **baselines.SOLVERS,
    "zo-rl": zo_rl_solver("zo-rl", "ZO-RL (DDPG)", _PAPER),
    "zo-rl-td3": zo_rl_solver("zo-rl-td3", "ZO-RL (TD3)", _PAPER_TD3, group="further", borrows="zo-rl"),
    "zo-rl-lstm": zo_rl_solver("zo-rl-lstm", "ZO-RL-LSTM", _PAPER_LSTM),
    "zo-rl-frozen": Solver(
        "untrained actor, same gate",
        "control",
        untrained_run(_PAPER),
        needs="zo-rl",
        borrows={"attack": "zo-sgd", "classification": "zo-rl"},
    ),
    "zo-rl-default": zo_rl_solver("zo-rl-default", "ZO-RL, our preset", _DEFAULT, group="further"),
    "zo-rl-default-frozen": Solver("untrained actor, our preset", "control", untrained_run(_DEFAULT)),
}
"""Everything that the paper's section 4 compares, and more."""
