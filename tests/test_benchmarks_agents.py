"""ZO-RL in the comparison: exact counts, the learned distribution, training before an attack, and the commands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import tyro
from torch import Tensor

from benchmarks.figures.catalogue import FIGURES, draw
from benchmarks.paper import PaperArgs, run_paper
from benchmarks.plan import Job, Table, missing_rows
from benchmarks.policies import PoliciesArgs
from benchmarks.runner import RunArgs
from benchmarks.solvers.agents import SOLVERS, Variant, agent_folder, online_run, untrained_run, zo_rl_solver
from benchmarks.solvers.base import Setup
from benchmarks.solvers.zeroth_order import lstm_file
from benchmarks.suites.task import Task
from benchmarks.worker import work
from zo_gym.agents.evaluate import EvaluateArgs, redraw
from zo_gym.agents.presets import PRESETS
from zo_gym.base import Sampler, State
from zo_gym.envs.env import ZOSamplingEnv
from zo_gym.meta.stage import MetaTraining
from zo_gym.samplers import gaussian

SIZES: Any = {"test": 2, "tuning": 1, "train": 3, "validation": 2}
SMALL_LSTM = MetaTraining(steps=6, window=3, unrolls=1, update_epochs=1, query_epochs=1, validation_rows=2)
BOWL = Task("quadratic", "classification", SIZES, budget=150, lstm=SMALL_LSTM)
DIGITS = Task("digits_attack", "attack", SIZES, budget=100, lstm=SMALL_LSTM)
TASKS = {task.name: task for task in (BOWL, DIGITS)}
TABLE = Table("benchmarks.solvers.agents", f"{__name__}:TASKS")
MLP = replace(PRESETS["paper"], network="mlp")
"""The paper's preset with a network that is quick to train."""


def setup(task: Task, folder: Path, **options: float) -> Setup:
    return Setup(task, task.problem("test"), (0, 1), options, folder)


@pytest.mark.parametrize("preset", [MLP, PRESETS["default"]], ids=["paper", "default"])
def test_an_agent_that_learns_as_it_goes_pays_for_every_query(preset: Any, tmp_path: Path) -> None:
    outcome = online_run(Variant("ddpg", preset))(setup(BOWL, tmp_path, delta=0.1))
    dearest = 23  # a random step and a fresh start
    assert ((outcome.spent > 150 - dearest) & (outcome.spent <= 150)).all()
    assert (np.diff(outcome.best) <= 0).all()
    assert outcome.cosine is not None
    known = outcome.cosine[~np.isnan(outcome.cosine)]
    assert known.size > 0
    assert (np.abs(known) <= 1 + 1e-12).all()
    values = BOWL.problem("test").fun(outcome.best_x[:, None, :], torch.arange(2))[:, 0]
    np.testing.assert_allclose(values, outcome.best[:, -1])


def test_equal_seeds_learn_alike(tmp_path: Path) -> None:
    run = online_run(Variant("td3", MLP))
    first, second = (run(setup(BOWL, tmp_path, delta=0.1)).best for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_the_untrained_actor_stands_behind_the_same_gate_and_pays_the_same(tmp_path: Path) -> None:
    shut = replace(MLP, gate="calibrated")
    outcome = untrained_run(Variant("ddpg", shut))(setup(DIGITS, tmp_path, delta=1.0))
    assert ((outcome.spent - 1) % 22 == 0).any() or (outcome.spent <= 100).all()
    assert (outcome.spent <= 100).all()
    assert (outcome.extras["success_at"] <= 100).all()


def test_before_an_attack_the_agent_is_trained_on_other_images(tmp_path: Path) -> None:
    solver = zo_rl_solver("x", "x", Variant("ddpg", replace(PRESETS["default"], network="mlp")))
    assert solver.prepare is not None
    solver.prepare(DIGITS, tmp_path)
    stored = {path.name: path.stat().st_mtime_ns for path in agent_folder(tmp_path, "x").iterdir()}
    assert set(stored) == {"config.json", "weights.safetensors"}
    solver.prepare(DIGITS, tmp_path)  # nothing is trained twice
    assert {path.name: path.stat().st_mtime_ns for path in agent_folder(tmp_path, "x").iterdir()} == stored
    assert solver.training_queries(DIGITS, tmp_path) == 300
    outcome = solver.run(setup(DIGITS, tmp_path))
    assert outcome.best.shape[0] == 2
    assert (outcome.spent <= 100).all()


@pytest.mark.parametrize("task", [BOWL, DIGITS], ids=lambda task: task.name)
def test_zo_rl_lstm_learns_on_top_of_the_trained_networks(task: Task, tmp_path: Path) -> None:
    assert work(TABLE, Job(task.name, "zo-lstm"), tmp_path).failure == ""
    assert lstm_file(tmp_path / task.name).is_file()
    assert work(TABLE, Job(task.name, "zo-rl-lstm"), tmp_path).failure == ""
    assert work(TABLE, Job(task.name, "zo-rl-lstm", (0, 1)), tmp_path).failure == ""
    assert missing_rows(task, "zo-rl-lstm", tmp_path) == ()


def test_a_scaled_action_moves_along_scales_times_action_and_is_stored_as_the_action() -> None:
    scales = torch.tensor([[2.0, 0.5, 1.0]], dtype=torch.float64)
    plain = gaussian()

    def scale(state: State, x: Tensor) -> Tensor:
        return scales.expand(len(x), 3)

    sampler = Sampler(plain.init, plain.sample, plain.observe, scale)
    problem: Any = lambda x: float((x**2).sum())  # noqa: E731
    env = ZOSamplingEnv(
        problem, x0=np.ones(3), sampler=sampler, direction="scaled", gate="hysteresis", num_directions=3
    )
    env.reset(seed=0)
    _, _, _, _, info = env.step(np.ones(3))  # behind the shut gate: along g
    assert env._state is not None
    g = env._state.estimate[0].numpy()
    stored = info["direction"] * scales[0].numpy()
    np.testing.assert_allclose(stored / np.linalg.norm(stored), g / np.linalg.norm(g), rtol=1e-5)  # float32

    opened = ZOSamplingEnv(problem, x0=np.ones(3), sampler=sampler, direction="scaled", learning_rate=0.01)
    opened.reset(seed=0)
    action = np.array([0.3, -0.4, 0.2])
    opened.step(action)
    wanted = scales[0].numpy() * action
    moved = opened.x - 1.0
    assert abs(moved @ wanted) / np.linalg.norm(moved) / np.linalg.norm(wanted) == pytest.approx(1.0)
    u = np.sqrt(3) * wanted / np.linalg.norm(wanted)
    slope = (((1 + 0.01 * u) ** 2).sum() - 3.0) / 0.01
    np.testing.assert_allclose(moved, -0.01 * slope * u, rtol=1e-6)


def test_scales_need_a_sampler_that_has_them() -> None:
    with pytest.raises(ValueError, match="direction='scaled' needs a sampler with learned scales"):
        ZOSamplingEnv("quadratic", direction="scaled")


def test_every_method_of_the_paper_takes_part() -> None:
    groups: dict[str, list[str]] = {}
    for name, solver in SOLVERS.items():
        groups.setdefault(solver.group, []).append(name)
    assert {"zo-sgd", "guided-es", "zo-lstm", "zo-rl", "zo-rl-lstm"} <= set(groups["paper"])
    assert {"zo-sgd-q1", "zo-sgd-sphere", "rand-ada", "zo-rl-frozen"} <= set(groups["control"])
    assert {"cma-es", "l-bfgs-b"} <= set(groups["peer"])
    assert {"true-gradient"} <= set(groups["reference"])


def test_the_commands_share_their_options() -> None:
    words = ["--quick", "--results", "here", "--tasks", "heart_scale", "a9a", "--workers", "3", "--no-progress"]
    expected = RunArgs(Path("here"), tasks=("heart_scale", "a9a"), workers=3, progress=False)
    assert tyro.cli(PaperArgs, args=words) == PaperArgs(quick=True, run=expected)
    assert tyro.cli(PoliciesArgs, args=words) == PoliciesArgs(quick=True, run=expected)


@pytest.mark.needs_data("heart_scale")
def test_make_paper_runs_skips_draws_and_remembers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = PaperArgs(
        quick=True,
        run=RunArgs(tmp_path, tasks=("heart_scale",), methods=("zo-sgd", "rand-ada"), workers=1, progress=False),
    )
    out = run_paper(args)
    assert {"tables.md", "tables.csv", "figure5.png", "figure5.pdf", "figure5.csv", "figure6.png"} <= {
        path.name for path in out.iterdir()
    }
    first = capsys.readouterr().out
    assert "3 jobs to do" in first  # both methods, and the least known f
    assert "Figure 4 is left out" in first
    run_paper(args)
    assert "already" in capsys.readouterr().out


def test_a_figure_without_results_says_how_to_get_them(tmp_path: Path) -> None:
    for name in FIGURES.keys() - {"estimators"}:
        with pytest.raises(FileNotFoundError, match="make paper"):
            draw(name, tmp_path, tmp_path / "out")


def test_a_figure_takes_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--figure takes no run folder"):
        redraw(EvaluateArgs(run=tmp_path, figure="5"))
