"""A run that is interrupted and resumed is the run that was not, bit for bit; damaged files are refused."""

from __future__ import annotations

import json
import os
import shutil
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from zo_gym.agents.arguments import TrainArgs, preset_of
from zo_gym.agents.sb3 import callbacks, checkpoint
from zo_gym.agents.sb3.callbacks import NEVER, Checkpoints, QueryBudget, TrainingDone
from zo_gym.agents.sb3.checkpoint import load_checkpoint, save_checkpoint, seal
from zo_gym.agents.sb3.vec_env import RewardScale
from zo_gym.agents.training_run import prepare

TINY = TrainArgs(
    problem="quadratic",
    problem_options='{"dim": 4}',
    gate="open",
    budget=60,
    eval_seeds=0,
    progress=False,
    device="cpu",
)

RUNS = [
    pytest.param(replace(TINY, algo="ddpg", total_queries=500), id="ddpg-mlp"),
    pytest.param(replace(TINY, algo="ddpg", num_envs=3, total_queries=600), id="ddpg-mlp-3-envs"),
    pytest.param(
        replace(TINY, algo="td3", policy="cnn", gate="paper", gate_threshold=0.8, num_directions=4, total_queries=800),
        id="td3-cnn-gate",
    ),
    pytest.param(
        replace(
            TINY,
            algo="td3",
            policy="cnn",
            gate="hysteresis",
            num_directions=4,
            num_envs=3,
            noise_std=0.1,
            observation="history",
            total_queries=1500,
        ),
        id="td3-cnn-gate-3-envs-noise",
    ),
    pytest.param(replace(TINY, algo="sac", total_queries=500), id="sac"),
    pytest.param(replace(TINY, algo="sac", num_envs=3, total_queries=600), id="sac-3-envs"),
]


@dataclass
class Trained:
    """An agent and what it was told on its way."""

    agent: OffPolicyAlgorithm
    rewards: list[list[float]]


class Rewards(BaseCallback):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[list[float]] = []

    def _on_step(self) -> bool:
        self.seen.append(self.locals["rewards"].tolist())
        return True


class CopyOnce(BaseCallback):
    """Copies the first checkpoint, which later ones overwrite."""

    def __init__(self, source: Path, target: Path) -> None:
        super().__init__()
        self.source, self.target = source, target

    def _on_step(self) -> bool:
        if self.source.exists() and not self.target.exists():
            shutil.copy(self.source, self.target)
        return True


def fresh(args: TrainArgs) -> OffPolicyAlgorithm:
    return prepare(args, Path()).agent


def go_on(agent: OffPolicyAlgorithm, args: TrainArgs, *callbacks: BaseCallback) -> Trained:
    """Train until the query budget, from wherever the agent stands."""
    rewards, budget = Rewards(), QueryBudget(preset_of(args).total_queries, progress=False)
    agent.set_logger(Logger(None, []))
    try:
        agent.learn(
            NEVER,
            callback=CallbackList([budget, *callbacks, rewards]),
            log_interval=NEVER,
            reset_num_timesteps=False,
        )
    except TrainingDone:
        pass
    finally:
        budget.close()
    return Trained(agent, rewards.seen)


def resumed(args: TrainArgs, file: Path) -> OffPolicyAlgorithm:
    agent = fresh(args)
    load_checkpoint(agent, file)
    return agent


def oracle_of(agent: OffPolicyAlgorithm) -> Any:
    assert agent.env is not None
    return agent.env.get_attr("oracle")[0]


def full_state(agent: OffPolicyAlgorithm) -> dict[str, Any]:
    """Everything a later step could depend on, flat, as arrays."""
    buffer = agent.replay_buffer
    assert buffer is not None
    assert agent.env is not None
    flat: dict[str, Any] = {
        "num_timesteps": agent.num_timesteps,
        "updates": agent._n_updates,
        "position": (buffer.pos, buffer.full),
        "total": oracle_of(agent).total,
        "queries": oracle_of(agent).queries.copy(),
        "last_obs": np.asarray(agent._last_obs).copy(),
    }
    for name in ("observations", "next_observations", "actions", "rewards", "dones", "timeouts"):
        flat[f"buffer/{name}"] = getattr(buffer, name)[: buffer.size()].copy()
    flat |= {f"policy/{name}": value.numpy().copy() for name, value in agent.policy.state_dict().items()}
    for name, part in agent.get_parameters().items():
        for key, moments in part.get("state", {}).items() if "optimizer" in name else ():
            flat |= {f"{name}/{key}/{which}": np.asarray(value).copy() for which, value in moments.items()}
    if hasattr(agent, "log_ent_coef"):
        flat["log_ent_coef"] = agent.log_ent_coef.detach().numpy().copy()
    if isinstance(agent.env, RewardScale):
        flat["scale"] = agent.env.scale
    return flat


@pytest.mark.parametrize("args", RUNS)
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(args: TrainArgs, tmp_path: Path) -> None:
    # Half of the steps that the budget could hold at 2 queries each, and after updates began (100 steps).
    rows = preset_of(args).num_envs
    every = 130 // rows
    saved, first = tmp_path / "checkpoint.pt", tmp_path / "first.pt"
    whole = go_on(fresh(args), args, Checkpoints(saved, every), CopyOnce(saved, first))
    expected = full_state(whole.agent)
    assert expected["total"] <= preset_of(args).total_queries
    assert first.exists()
    assert expected["updates"] > 20

    agent = resumed(args, first)
    assert agent.num_timesteps == every * rows
    rest = go_on(agent, args)
    assert rest.rewards == whole.rewards[every:]
    found = full_state(rest.agent)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_a_checkpoint_taken_while_training_does_not_change_the_run(tmp_path: Path) -> None:
    args = replace(TINY, total_queries=400)
    plain = full_state(go_on(fresh(args), args).agent)
    saving = full_state(go_on(fresh(args), args, Checkpoints(tmp_path / "c.pt", 10)).agent)
    for name, value in plain.items():
        np.testing.assert_array_equal(saving[name], value, err_msg=name)


def test_checkpoints_come_every_interval_and_not_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved_at: list[int] = []
    monkeypatch.setattr(
        "zo_gym.agents.sb3.callbacks.save_checkpoint", lambda agent, *_: saved_at.append(agent.num_timesteps)
    )
    args = replace(TINY, total_queries=150)
    go_on(fresh(args), args, Checkpoints(tmp_path / "c.pt", 20))
    assert saved_at == [20, 40, 60]


def test_a_checkpoint_that_is_too_old_is_replaced_before_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved_at: list[int] = []
    monkeypatch.setattr(callbacks, "save_checkpoint", lambda agent, *_: saved_at.append(agent.num_timesteps))
    args = replace(TINY, total_queries=150)
    agent = fresh(args)
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: float(agent.num_timesteps))  # a second per step
    go_on(agent, args, Checkpoints(tmp_path / "c.pt", 50, seconds=20))
    assert saved_at == [20, 40, 50, 70]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint after a few steps."""
    args = replace(TINY, total_queries=60)
    file = tmp_path_factory.mktemp("stored") / "checkpoint.pt"
    save_checkpoint(go_on(fresh(args), args).agent, file)
    return file


def test_the_file_loads_with_weights_only(stored: Path) -> None:
    """Tensors and plain values: nothing in it can run code."""
    content = torch.load(stored, weights_only=True)
    assert set(content) >= {"parameters", "counters", "buffer", "environment", "random"}


def test_loading_never_runs_code_from_the_file(stored: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "was-run",))

    file = tmp_path / "checkpoint.pt"
    torch.save({**torch.load(stored, weights_only=True), "counters": Evil()}, file)
    seal(file)
    with pytest.raises(ValueError, match=r"could run code\. Nothing of it was loaded") as refused:
        load_checkpoint(fresh(TINY), file)
    assert not (tmp_path / "was-run").exists()
    # torch's own message explains how to load the file all the same.
    assert "weights_only" not in "".join(traceback.format_exception(refused.value))


def test_every_flipped_bit_is_refused(stored: Path, tmp_path: Path) -> None:
    data, rng = stored.read_bytes(), np.random.default_rng(0)
    file, agent = tmp_path / "checkpoint.pt", fresh(TINY)
    before = full_weights(agent)
    for place in [0, len(data) - 1, *rng.integers(len(data), size=58)]:
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(rng.integers(8))
        file.write_bytes(flipped)
        with pytest.raises(ValueError, match=r"checkpoint\.pt cannot be read: its checksum does not match"):
            load_checkpoint(agent, file)
    assert all(torch.equal(before[name], value) for name, value in full_weights(agent).items())
    file.write_bytes(data)
    load_checkpoint(agent, file)
    assert agent.num_timesteps > 0


def full_weights(agent: OffPolicyAlgorithm) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in agent.policy.state_dict().items()}


def test_a_crash_while_writing_keeps_the_old_checkpoint(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = stored.read_bytes()

    def half(content: Any, path: Path) -> None:
        path.write_bytes(b"half a file")
        raise OSError("No space left on device")

    agent = fresh(TINY)
    load_checkpoint(agent, stored)
    monkeypatch.setattr(checkpoint.torch, "save", half)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(agent, stored)
    assert stored.read_bytes() == before
    assert [path.name for path in stored.parent.iterdir()] == [stored.name]


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files")
def test_a_full_disk_is_one_error_with_the_folder_and_the_remedy(stored: Path) -> None:
    before, agent = stored.read_bytes(), fresh(TINY)
    load_checkpoint(agent, stored)
    expected = rf"Nothing can be saved in {stored.parent}: .*Free space there .*--resume; .* is intact"
    with no_file_larger_than(1000), pytest.raises(OSError, match=expected):
        save_checkpoint(agent, stored)
    assert stored.read_bytes() == before
    assert [path.name for path in stored.parent.iterdir()] == [stored.name]


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """Let writes beyond so many bytes fail, as on a full disk."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_missing_checkpoint_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"No checkpoint at .*nothing\.pt\. .* start it anew"):
        load_checkpoint(fresh(TINY), tmp_path / "nothing.pt")


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _without_counters(file: Path) -> None:
    content = torch.load(file, weights_only=True)
    del content["counters"]
    torch.save(content, file)
    seal(file)


def _a_list(file: Path) -> None:
    torch.save([1, 2], file)
    seal(file)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda file: file.write_bytes(_cut(file.read_bytes())), id="truncated"),
        pytest.param(lambda file: file.write_bytes(b""), id="empty"),
        pytest.param(_without_counters, id="incomplete"),
        pytest.param(
            lambda file: file.write_text("not a checkpoint"),
            id="text",
        ),
        pytest.param(
            lambda file: file.write_bytes(bytes(range(1, 256)) * 8),
            id="garbage",
        ),
        pytest.param(
            _a_list,
            id="a-list",
        ),
    ],
)
def test_a_damaged_file_is_a_value_error_that_names_it(stored: Path, tmp_path: Path, damage: Any) -> None:
    file = tmp_path / "checkpoint.pt"
    shutil.copy(stored, file)
    damage(file)
    with pytest.raises(ValueError, match=r"The checkpoint .*checkpoint\.pt cannot be read"):
        load_checkpoint(fresh(TINY), file)


@pytest.mark.parametrize(
    "other",
    [
        replace(TINY, problem_options='{"dim": 5}'),
        replace(TINY, policy="cnn"),
        replace(TINY, num_envs=2),
        replace(TINY, algo="td3"),
        replace(TINY, observation="history"),
    ],
    ids=["dim", "network", "num_envs", "algo", "observation"],
)
def test_a_checkpoint_of_another_configuration_is_refused(stored: Path, other: TrainArgs) -> None:
    with pytest.raises(ValueError, match=r"checkpoint\.pt cannot be read"):
        load_checkpoint(fresh(other), stored)


def test_every_evaluation_of_f_is_counted_across_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from zo_gym import PROBLEMS

    evaluated = [0]
    plain = PROBLEMS["quadratic"]

    @wraps(plain)
    def counting(**options: Any) -> Any:
        problem = plain(**options)

        def fun(points: torch.Tensor, instances: torch.Tensor) -> torch.Tensor:
            evaluated[0] += points.shape[:2].numel()
            return problem.fun(points, instances)

        return replace(problem, fun=fun)

    monkeypatch.setitem(PROBLEMS, "quadratic", counting)
    half, args = replace(TINY, total_queries=100), replace(TINY, total_queries=200)
    first = go_on(fresh(half), half).agent
    assert evaluated[0] == oracle_of(first).total
    save_checkpoint(first, tmp_path / "c.pt")
    agent = go_on(resumed(args, tmp_path / "c.pt"), args).agent
    assert evaluated[0] == oracle_of(agent).total <= 200


def test_cudas_generators_survive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for each device; a machine with fewer devices takes what it can, and older files have none."""
    found: list[tuple[int, list[int]]] = []
    states = [torch.tensor([k, k], dtype=torch.uint8) for k in (3, 5)]
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: states)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: found.append((device, state.tolist())))
    agent, args, file = fresh(TINY), replace(TINY, total_queries=60), tmp_path / "checkpoint.pt"
    go_on(agent, args)
    for device, devices, expected in (
        ("cpu", 2, []),
        ("cuda", 2, [(0, [3, 3]), (1, [5, 5])]),
        ("cuda", 1, [(0, [3, 3])]),
    ):
        monkeypatch.setattr(torch.cuda, "device_count", lambda devices=devices: devices)
        monkeypatch.setattr(agent, "device", torch.device(device))
        save_checkpoint(agent, file)
        found.clear()
        load_checkpoint(fresh(TINY), file)
        assert found == expected
    content = torch.load(file, weights_only=True)
    del content["random"]["cuda"]
    torch.save(content, file)
    seal(file)
    load_checkpoint(fresh(TINY), file)


def test_the_episode_statistics_survive(stored: Path) -> None:
    agent = fresh(TINY)
    load_checkpoint(agent, stored)
    assert agent.ep_info_buffer is not None
    assert len(agent.ep_info_buffer) == 1
    assert json.dumps(list(agent.ep_info_buffer)) != "[]"
    assert set(agent.ep_info_buffer[0]) >= {"r", "l"}
