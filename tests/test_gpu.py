"""The same code path on CUDA: networks, replay samples and problems live on the device.

On a machine without CUDA a pretended device refuses what CUDA would refuse, and rounds convolutions as CUDA does. It
cannot show other rounding, nor speed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pretended_cuda import pretended_cuda

import zo_gym
from zo_gym import METHODS, PROBLEMS
from zo_gym.agents.algorithms.directional import Directional
from zo_gym.agents.arguments import TrainArgs, load_args, resolve_device
from zo_gym.agents.build import build_agent, build_env
from zo_gym.agents.evaluate import EvaluateArgs, run_evaluation
from zo_gym.agents.policies.bundle import load_policy
from zo_gym.agents.presets import DIRECTIONAL_PRESETS
from zo_gym.agents.sb3.vec_env import env_of
from zo_gym.agents.train import run_training
from zo_gym.agents.training_run import prepare
from zo_gym.batch_invariant import linear_map
from zo_gym.meta.rnn import INPUTS, CoordinateLSTM, LSTMOptimizer
from zo_gym.rng import make_generator

pytestmark = pytest.mark.gpu

REAL = torch.cuda.is_available()
CUDA = torch.device("cuda")
TINY = TrainArgs(
    problem="quadratic",
    problem_options='{"dim": 4}',
    budget=310,
    total_queries=500,
    num_envs=2,
    eval_seeds=0,
    progress=False,
    device="cuda",
)


@pytest.fixture(autouse=True)
def cuda() -> Iterator[None]:
    """Use the machine's device, or else a pretended one."""
    if REAL:
        yield
    else:
        with pretended_cuda():
            yield


@pytest.mark.parametrize("algo", ["ddpg", "td3", "sac"])
@pytest.mark.parametrize("gate", ["open", "hysteresis"])
def test_training_keeps_networks_replay_samples_and_f_on_the_device(algo: Any, gate: Any, tmp_path: Path) -> None:
    args = replace(TINY, algo=algo, gate=gate, policy="cnn", num_directions=4, logdir=tmp_path)
    run = prepare(args, tmp_path)
    assert {parameter.device.type for parameter in run.agent.policy.parameters()} == {"cuda"}
    run.agent.learn(60)
    assert run.agent.replay_buffer is not None
    sample = run.agent.replay_buffer.sample(8)
    assert {part.device.type for part in sample if isinstance(part, torch.Tensor)} == {"cuda"}
    assert run.agent.env is not None
    assert run.agent.env.get_attr("config")[0].problem.device.type == "cuda"


@pytest.mark.skipif(not REAL, reason="torch sees no CUDA device")
@pytest.mark.parametrize("rows", [64, 1024, 16_384])
def test_steps_per_second_of_a_policy_in_training(rows: int, capsys: pytest.CaptureFixture[str]) -> None:
    """It is a benchmark: it prints the device's speed, and fails only where nothing runs."""
    settings = {
        "problem": "digits_attack",
        "problem_options": {"augmented_share": 0.95},
        "observation": "context",
        "budget": 13,
    }
    preset = replace(DIRECTIONAL_PRESETS["offline"], num_envs=rows)
    env = build_env(settings, rows, preset.scale_rewards, "cuda")
    agent = build_agent(
        "ddpg", env, preset, shape=env_of(env).config.problem.shape, seed=0, device="cuda", buffer_size=20 * rows
    )
    agent.learn(3 * rows)
    torch.cuda.synchronize()
    started = time.perf_counter()
    agent.learn(10 * rows)
    torch.cuda.synchronize()
    pace = 10 * rows / (time.perf_counter() - started)
    with capsys.disabled():
        print(f"\n{rows} rows: {pace:,.0f} steps/s on {torch.cuda.get_device_name()}")
    assert np.isfinite(pace)


@pytest.mark.slow
def test_train_resume_and_evaluate_on_the_device(tmp_path: Path) -> None:
    folder = run_training(replace(TINY, logdir=tmp_path))
    assert run_training(replace(load_args(folder), resume=folder, progress=False)) == folder
    on_device, on_host = load_policy(folder / "policy", "cuda"), load_policy(folder / "policy", "cpu")
    observations = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
    # TF32 and other kernels round to about 1e-3.
    np.testing.assert_allclose(on_device(observations), on_host(observations), atol=5e-3)
    rows = run_evaluation(EvaluateArgs(folder, seeds=2, device="cuda"))
    assert len(rows) == 4


def test_auto_is_cuda_where_there_is_one() -> None:
    assert resolve_device("auto") == "cuda"
    assert resolve_device("cpu") == "cpu"


@pytest.mark.parametrize("name", ["quadratic", "rosenbrock", "ellipsoid", "rastrigin", "breast_cancer"])
def test_problems_have_the_same_values_on_the_device(name: str) -> None:
    host, device = zo_gym.make_problem(name), zo_gym.make_problem(name, device="cuda")
    assert name in PROBLEMS
    points = torch.randn(5, host.dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values = device.values(points.to(CUDA))
    assert values.device.type == "cuda"
    torch.testing.assert_close(values.cpu(), host.values(points), rtol=1e-9, atol=1e-12)


def test_attacks_are_on_the_device() -> None:
    attacks = zo_gym.make_problem("digits_attack", device="cuda", size=2)
    x = torch.stack([attacks.start(make_generator(i, "cuda"), i) for i in range(2)])
    rows = torch.arange(2, device="cuda")
    assert attacks.gradient is not None
    assert attacks.measure is not None
    found = [attacks.fun(x.unsqueeze(1), rows), attacks.gradient(x, rows), *attacks.measure(x, rows).values()]
    assert {part.device.type for part in found} == {"cuda"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_attacks_have_the_same_values_on_the_device(dtype: torch.dtype) -> None:
    """TF32, which torch allows convolutions by default, would be off by 1e-3 of a logit: as much as a step of f."""
    host, device = (
        zo_gym.make_problem("digits_attack", device=device, size=5, dtype=dtype) for device in ("cpu", "cuda")
    )
    rows = torch.arange(5)
    x = torch.stack([host.start(make_generator(i), i) for i in range(5)])
    points = x.unsqueeze(1) + 0.05 * torch.randn(5, 20, host.dim, dtype=dtype, generator=make_generator(9))
    values = device.fun(points.to(CUDA), rows.to(CUDA))
    # A logit is the sum of many terms of order 1: they cancel, so the error is not relative to f.
    torch.testing.assert_close(values.cpu(), host.fun(points, rows), rtol=0, atol=1e3 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_runs_on_the_device_as_on_the_host(method: str) -> None:
    generator = torch.Generator().manual_seed(0)
    networks = LSTMOptimizer(*(CoordinateLSTM(INPUTS[part], generator) for part in ("update", "query")))
    weights = networks if method == "zo-lstm" else None
    budget = 40 if method.startswith("gp") else 130  # 20 steps: pretending is slow, and these have many operations
    there, here = (
        zo_gym.minimize(
            zo_gym.make_problem("breast_cancer", device=device), method=method, weights=weights, budget=budget, seed=0
        )
        for device in ("cuda", "cpu")
    )
    assert np.isfinite(there.trace.fun).all()
    if method != "zo-lstm":  # its networks are not trained
        assert there.fun < there.trace.best[0]
    if not REAL:
        np.testing.assert_array_equal(there.trace.fun, here.trace.fun)


def test_sparse_data_are_on_the_device() -> None:
    """The matrix has so many zeros that it is kept sparse, as a9a's."""
    matrix = torch.eye(40, dtype=torch.float64)[:, :30]
    w, r = torch.arange(60.0, dtype=torch.float64).view(2, 30), torch.ones(2, 40, dtype=torch.float64)
    there = linear_map(matrix.to(CUDA))
    for found, expected in ((there.apply(w.to(CUDA)), w @ matrix.T), (there.adjoint(r.to(CUDA)), r @ matrix)):
        assert found.device.type == "cuda"
        torch.testing.assert_close(found.cpu(), expected)


@pytest.mark.parametrize("composite", [False, True])
@pytest.mark.parametrize("method", ["gp", "pretrained:digits-attack"])
def test_attacks_run_on_the_device_as_on_the_host(method: str, composite: bool) -> None:
    found = [
        zo_gym.minimize(
            zo_gym.make_problem("digits_attack[0]", device=device, dtype=torch.float64),
            method=method,
            budget=40,
            seed=0,
            composite=composite,
        ).fun
        for device in ("cuda", "cpu")
    ]
    if not REAL:
        assert found[0] == found[1]
    assert np.isfinite(found).all()


def test_a_directional_policy_learns_on_the_device(tmp_path: Path) -> None:
    args = TrainArgs(
        problem="digits_attack", policy="directional", total_queries=600, num_envs=10, threads=1, device="cuda"
    )
    agent = prepare(replace(args, budget=60, progress=False), tmp_path).agent
    before = [weights.detach().clone() for weights in agent.policy.parameters()]
    assert isinstance(agent, Directional)
    agent.learn(100)
    agent.finish(2)
    assert {weights.device.type for weights in before} == {"cuda"}
    assert any(not torch.equal(old, new) for old, new in zip(before, agent.policy.parameters(), strict=True))


@pytest.mark.parametrize("method", ["rand-ada", "zo-sgd", "zo-adam"])
def test_minimize_follows_a_cuda_start(method: str) -> None:
    seen: set[str] = set()

    def fun(x: torch.Tensor) -> torch.Tensor:
        seen.add(x.device.type)
        return (x - 1.0).square().sum(-1)

    x0 = torch.zeros(6, dtype=torch.float64, device="cuda")
    result = zo_gym.minimize(fun, x0, method=method, budget=500, batched=True, seed=0)
    assert seen == {"cuda"}
    assert isinstance(result.x, torch.Tensor)
    assert result.x.device.type == "cuda"
    assert result.fun < 6.0
    assert result.nfev <= 500
    assert torch.equal(x0.cpu(), torch.zeros(6, dtype=torch.float64))
