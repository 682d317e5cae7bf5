"""ZO-RL (Algorithm 2) in the comparison of the paper's section 4, and its controls.

On classification the agent learns while it optimises: a fresh one for every start, all its queries counted. On an
attack it is trained on the training images first (one episode each), then applied to the test images without noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from zo_gym.agents.build import PRESETS, Preset
from zo_gym.agents.curves import Act
from zo_gym.agents.offline import agent_for, learn
from zo_gym.agents.policies.bundle import PolicyConfig, load_policy, new_policy, save_policy
from zo_gym.agents.sb3.callbacks import Trajectory

from benchmarks import solvers as core
from benchmarks.recorder import Outcome, Recorder, join
from benchmarks.solvers.classical import Group, Run, Setup, Solver, lstm_file
from benchmarks.suites.paper import Task
from benchmarks.tuner import tuned_options
from zo_gym.envs.vector_env import ZOSamplingVectorEnv
from zo_gym.meta.rnn import load_optimizer
from zo_gym.problem import Problem
from zo_gym.samplers import query_rnn
from zo_gym.updates import update_rnn

COARSE = (1.0, 10.0, 100.0, 1000.0)
"""delta of the agents, whose runs take long."""
FINER = (10**-0.5, 10**0.5)
"""Then around the best."""


def settings_of(task: Task, family: Problem, preset: Preset, options: Mapping[str, float]) -> dict[str, Any]:
    """The environment of Algorithm 2: eta = delta / d where delta is tuned, else the preset's."""
    eta = options["delta"] / family.dim if "delta" in options else preset.learning_rate
    return {
        "problem": family,
        "smoothing": task.smoothing,
        "learning_rate": eta,
        "update": preset.update,
        "budget": task.budget,
        "gate": preset.gate,
        "gate_threshold": 0.5,
        "num_directions": 20,
    }


def learned_distribution(folder: Path) -> dict[str, Any]:
    """Settings of ZO-RL-LSTM (section 3.3): UpdateRNN moves, QueryRNN draws and scales the actions."""
    weights = load_optimizer(lstm_file(folder))
    return {"update": update_rnn(weights=weights), "sampler": query_rnn(weights), "direction": "scaled"}


def online(algo: str, preset: Preset, *, on_lstm: bool = False) -> Run:
    """A fresh agent for every row, learning as it goes."""

    def run(setup: Setup) -> Outcome:
        outcomes = []
        learned = learned_distribution(setup.folder) if on_lstm else {}
        for row, seed in enumerate(setup.seeds):
            family = setup.family.subset([row])
            settings = settings_of(setup.task, family, preset, setup.options) | learned
            trace = Trajectory()
            steps = setup.task.budget // 2 + 1
            learn(agent_for(algo, settings, preset, rows=1, seed=seed, transitions=steps), setup.task.budget, trace)
            recorder = Recorder(family, setup.task.budget, setup.task.early)
            for queries, best, cosine in zip(trace.queries, trace.best, trace.cosine, strict=True):
                recorder.add(queries, [best], cosine=[cosine])
            assert trace.best_x is not None
            outcomes.append(recorder.finish(trace.best_x[None]))
        return join(outcomes)

    return run


def follow(setup: Setup, settings: Mapping[str, Any], act: Act, exploration: float) -> Outcome:
    """All rows behind the gate with a policy that does not learn, plus Gaussian noise of this norm."""
    family = setup.family
    env = ZOSamplingVectorEnv(num_envs=family.size, **settings)
    rng = np.random.default_rng([2, *setup.seeds])
    observations, info = env.reset(seed=list(setup.seeds), options={"instance": range(family.size)})
    recorder = Recorder(family, setup.task.budget, setup.task.early)
    queries, best, best_x = info["queries"], info["best_f"], env.best_x
    recorder.add(queries, best, env.x)
    running = np.ones(family.size, dtype=bool)
    while running.any():
        noise = exploration / np.sqrt(family.dim) * rng.standard_normal((family.size, family.dim))
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


def _config(algo: str, preset: Preset, family: Problem, settings: Mapping[str, Any]) -> PolicyConfig:
    exploration = family.dim**0.5 if preset.exploration is None else preset.exploration
    environment = {key: value for key, value in settings.items() if isinstance(value, (int, float, str))}
    environment["problem"] = family.name
    return PolicyConfig(algo, preset.network, family.dim, family.dim, family.shape, exploration, environment)


def frozen(algo: str, preset: Preset) -> Run:
    """The untrained actor behind the same gate, with the same noise: what the gate and the step alone achieve."""

    def run(setup: Setup) -> Outcome:
        settings = settings_of(setup.task, setup.family, preset, setup.options)
        config = _config(algo, preset, setup.family, settings)
        noise = 0.0 if setup.task.kind == "attack" else config.exploration
        return follow(setup, settings, new_policy(config, seed=setup.seeds[0]), noise)

    return run


def policy_folder(folder: Path, name: str) -> Path:
    """Where the trained policy of a solver is kept among a task's results."""
    return folder / name / "policy"


def zo_rl(
    name: str,
    label: str,
    algo: str,
    preset: Preset,
    *,
    group: Group = "paper",
    on_lstm: bool = False,
    borrows: str | None = None,
) -> Solver:
    """Algorithm 2 with this agent: online on classification, trained before on an attack.

    On an attack its step is ZO-SGD's tuned one: behind the shut gate it is ZO-SGD plus one probe. `borrows` names the
    solver whose tuned step it takes on classification.
    """
    adaptive = preset.update == "adaptive" or on_lstm

    def settings_for(task: Task, family: Problem, folder: Path, options: Mapping[str, float]) -> dict[str, Any]:
        settings = settings_of(task, family, preset, options)
        return settings | (learned_distribution(folder) if on_lstm else {})

    def prepare(task: Task, folder: Path) -> None:
        place = policy_folder(folder, name)
        if task.kind == "classification" or (place / "config.json").is_file():
            return
        family = task.family("train")
        options = {} if adaptive else tuned_options("zo-sgd", core.SOLVERS, task, folder)
        settings = settings_for(task, family, folder, options)
        transitions = family.size * (task.budget // 2 + 1)
        agent = agent_for(algo, settings, preset, rows=family.size, seed=0, transitions=transitions)
        learn(agent, _training_queries(task))
        save_policy(agent, _config(algo, preset, family, settings), place)

    def run(setup: Setup) -> Outcome:
        if setup.task.kind == "classification":
            return online(algo, preset, on_lstm=on_lstm)(setup)
        settings = settings_for(setup.task, setup.family, setup.folder, setup.options)
        return follow(setup, settings, load_policy(policy_folder(setup.folder, name)), 0.0)

    return Solver(
        label,
        group,
        run,
        {"delta": COARSE} if not (adaptive or borrows) else {},
        FINER,
        tuning_rows=2,
        tuning_share=0.4,  # an agent's run takes about a minute
        prepare=prepare,
        needs="zo-lstm" if on_lstm else borrows,
        batched=False,
        borrows={} if adaptive else {"attack": "zo-sgd", **({"classification": borrows} if borrows else {})},
        training_queries=lambda task, folder: _training_queries(task) if task.kind == "attack" else 0,
    )


def _training_queries(task: Task) -> int:
    """One episode on each training image."""
    return task.sizes["train"] * task.budget


_PAPER, _DEFAULT = PRESETS["paper"], PRESETS["default"]

SOLVERS: dict[str, Solver] = {
    **core.SOLVERS,
    "zo-rl": zo_rl("zo-rl", "ZO-RL (DDPG)", "ddpg", _PAPER),
    "zo-rl-td3": zo_rl("zo-rl-td3", "ZO-RL (TD3)", "td3", _PAPER, group="further", borrows="zo-rl"),
    "zo-rl-lstm": zo_rl("zo-rl-lstm", "ZO-RL-LSTM", "ddpg", _PAPER, on_lstm=True),
    "zo-rl-frozen": Solver(
        "untrained actor, same gate",
        "control",
        frozen("ddpg", _PAPER),
        needs="zo-rl",
        borrows={"attack": "zo-sgd", "classification": "zo-rl"},
    ),
    "zo-rl-default": zo_rl("zo-rl-default", "ZO-RL, our preset", "ddpg", _DEFAULT, group="further"),
    "zo-rl-default-frozen": Solver("untrained actor, our preset", "control", frozen("ddpg", _DEFAULT)),
}
"""Everything that section 4 compares."""
