"""A policy as a folder: the same actions after loading, clear errors, and no code in the files."""

from __future__ import annotations

import json
import pickle
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from zo_gym import ZOSamplingVectorEnv
from zo_gym.agents.build import AGENTS, NETWORKS, build_agent
from zo_gym.agents.policies.bundle import FORMAT, Policy, PolicyConfig, load_policy, new_policy, save_policy
from zo_gym.agents.presets import PRESETS
from zo_gym.agents.sb3.vec_env import GymVecEnv

ENVIRONMENT: dict[str, Any] = {"problem": "quadratic", "problem_options": {"dim": 4}, "budget": 60}
CONFIG = PolicyConfig("ddpg", "mlp", 4, 4, None, 1.5, ENVIRONMENT)


def observations(rows: int = 5, n: int = 4) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((rows, n)).astype(np.float32)


def trained(algo: str, network: str) -> Any:
    env = GymVecEnv(ZOSamplingVectorEnv(num_envs=2, update="adaptive", **ENVIRONMENT))
    preset = replace(PRESETS["default"], network=network, batch_size=8)
    agent = build_agent(algo, env, preset, shape=None, seed=0, device="cpu", buffer_size=100)
    agent.learning_starts = 4
    return agent.learn(20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_policy(trained("ddpg", "mlp"), CONFIG, tmp_path / "policy")
    return tmp_path / "policy"


@pytest.mark.parametrize("algo", sorted(AGENTS))
@pytest.mark.parametrize("network", NETWORKS)
def test_a_loaded_policy_acts_like_the_agent_that_was_saved(algo: str, network: str, tmp_path: Path) -> None:
    agent, config = trained(algo, network), replace(CONFIG, algo=algo, network=network)
    save_policy(agent, config, tmp_path / "policy")
    policy = load_policy(tmp_path / "policy")
    found = policy(observations())
    agent.policy.set_training_mode(False)
    with torch.no_grad():
        expected = agent.policy(torch.from_numpy(observations()), deterministic=True).numpy()
    np.testing.assert_array_equal(found, expected)
    # `predict` maps actions to the box and back, which rounds numbers near 1 by half of 1.2e-7.
    np.testing.assert_allclose(found, agent.predict(observations(), deterministic=True)[0], rtol=0, atol=1.2e-7)
    assert (found.shape, found.dtype) == ((5, 4), np.float32)
    assert not np.allclose(found, new_policy(config, seed=1)(observations()), atol=1e-3)  # it is the trained one
    assert policy.config == config


def test_a_policy_ignores_the_other_rows_of_its_batch(tmp_path: Path) -> None:
    """Batch normalisation is in eval mode after loading."""
    save_policy(trained("ddpg", "cnn"), replace(CONFIG, network="cnn"), tmp_path)
    policy = load_policy(tmp_path)
    batch = observations()
    # Matrix products of other sizes round differently, by about 1e-7.
    np.testing.assert_allclose(np.concatenate([policy(row[None]) for row in batch]), policy(batch), atol=1e-5)
    assert not any(module.training for module in policy.actor.modules())


def test_an_images_shape_survives_the_way_through_json(tmp_path: Path) -> None:
    config = replace(CONFIG, network="cnn", shape=(2, 2))
    source = new_policy(config, seed=3)
    save_policy(_agent_of(source), config, tmp_path)
    loaded = load_policy(tmp_path)
    assert loaded.config.shape == (2, 2)
    np.testing.assert_array_equal(loaded(observations()), source(observations()))


def _agent_of(policy: Policy) -> Any:
    """Something with `.policy.actor`, which is all of an agent that is saved."""

    class Holder:
        pass

    agent, inner = Holder(), Holder()
    inner.actor = policy.actor  # type: ignore[attr-defined]
    agent.policy = inner  # type: ignore[attr-defined]
    return agent


def test_the_folder_holds_json_and_safetensors_and_nothing_that_could_run(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "weights.safetensors"]
    config = json.loads((folder / "config.json").read_text())
    assert config["format"] == FORMAT
    assert config["environment"] == ENVIRONMENT
    with pytest.raises(pickle.UnpicklingError):
        pickle.loads((folder / "weights.safetensors").read_bytes())


def test_loading_never_unpickles(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, forbidden)
    monkeypatch.setattr(torch, "load", forbidden)
    load_policy(folder)


def test_weights_that_are_a_pickle_are_refused(folder: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (folder / "was-run",))

    (folder / "weights.safetensors").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match="cannot be read"):
        load_policy(folder)
    assert not (folder / "was-run").exists()


@pytest.mark.parametrize("name", ["config.json", "weights.safetensors"])
def test_a_missing_file_is_named_with_the_way_to_make_one(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(
        FileNotFoundError, match=rf"No policy in .*{name} is missing\. Train one: python -m zo_gym\.agents\.train"
    ):
        load_policy(folder)


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize("name", ["config.json", "weights.safetensors"])
@pytest.mark.parametrize("damage", [_truncate, lambda file: file.write_bytes(b"")], ids=["truncated", "empty"])
def test_a_damaged_file_is_a_value_error_that_names_the_folder(folder: Path, name: str, damage: Any) -> None:
    damage(folder / name)
    with pytest.raises(ValueError, match=rf"The policy in {folder} cannot be read"):
        load_policy(folder)


@pytest.mark.parametrize("content", [b"[1, 2]", b"3", b"\xff\xfe\x00"], ids=["list", "number", "binary"])
def test_a_config_that_is_no_json_object_is_a_value_error_that_names_the_folder(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"{folder}"):
        load_policy(folder)


def edit(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    fields = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({name: value for name, value in fields.items() if value != "drop"}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 99}, "must have format 1, got 99"),
        ({"format": "drop"}, "must have format 1, got None"),
        ({"dim": "drop"}, "cannot be read: .*dim"),
        ({"shape": "drop"}, "cannot be read: .*shape"),
        ({"algo": "dpg"}, "Unknown algo 'dpg'. Did you mean 'ddpg'"),
        ({"network": "mpl"}, "Unknown policy 'mpl'. Did you mean 'mlp'"),
        ({"dmi": 3}, "got an unexpected keyword argument 'dmi'. Did you mean 'dim'"),
        ({"dim": 5, "observation_dim": 5}, "cannot be read: .*size mismatch"),
        ({"network": "cnn"}, "cannot be read: .*Missing key"),
    ],
)
def test_a_config_of_another_policy_says_what_is_wrong(folder: Path, changes: dict[str, Any], message: str) -> None:
    edit(folder, **changes)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        load_policy(folder)


def test_weights_of_another_network_are_refused(folder: Path) -> None:
    weights = load_file(folder / "weights.safetensors")
    del weights[next(iter(weights))]
    save_file(weights, folder / "weights.safetensors")
    with pytest.raises(ValueError, match=r"(?s)cannot be read.*Missing key"):
        load_policy(folder)


@pytest.mark.parametrize("seed", [None, 7])
def test_a_new_policy_leaves_every_global_generator_as_it_was(seed: int | None) -> None:
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()
    new_policy(CONFIG, seed=seed)
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_equal(before[1], np.random.get_state())
    assert before[2] == random.getstate()


@pytest.mark.parametrize("network", NETWORKS)
def test_saving_returns_what_loading_reads(network: str, tmp_path: Path) -> None:
    agent = trained("ddpg", network)
    returned = save_policy(agent, replace(CONFIG, network=network), tmp_path)
    loaded = load_policy(tmp_path)
    assert returned.config == loaded.config
    np.testing.assert_array_equal(returned(observations()), loaded(observations()))
    before = loaded(observations())
    agent.learn(10, reset_num_timesteps=False)  # it is a copy: what the agent learns later does not change it
    np.testing.assert_array_equal(returned(observations()), before)


@pytest.mark.parametrize("algo", sorted(AGENTS))
@pytest.mark.parametrize("network", NETWORKS)
def test_a_new_policy_is_a_function_of_its_seed(algo: str, network: str) -> None:
    config = replace(CONFIG, algo=algo, network=network)
    first = new_policy(config, seed=1)(observations())
    torch.rand(3)
    np.testing.assert_array_equal(first, new_policy(config, seed=1)(observations()))
    assert not np.allclose(first, new_policy(config, seed=2)(observations()), atol=1e-3)


@pytest.mark.parametrize("error", [OSError("[Errno 28] No space left on device"), SafetensorError("I/O error: full")])
def test_a_full_disk_is_one_error_and_the_old_policy_is_intact(
    folder: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise error

    before = load_policy(folder)(observations())
    monkeypatch.setattr("zo_gym.agents.policies.bundle.save_file", full)
    with pytest.raises(OSError, match=rf"Nothing can be saved in {folder}: .*{str(error)[-4:]}\. Free space there"):
        save_policy(_agent_of(new_policy(CONFIG, seed=5)), CONFIG, folder)
    np.testing.assert_array_equal(load_policy(folder)(observations()), before)


def test_a_file_is_not_called_a_missing_folder(tmp_path: Path) -> None:
    (tmp_path / "agent.zip").write_bytes(b"PK")
    with pytest.raises(
        NotADirectoryError, match=r"A policy is a folder .*, got the file .*agent\.zip\. Pass the folder"
    ):
        load_policy(tmp_path / "agent.zip")


def test_saving_over_a_policy_replaces_it(folder: Path) -> None:
    source = new_policy(CONFIG, seed=11)
    save_policy(_agent_of(source), replace(CONFIG, exploration=0.5), folder)
    loaded = load_policy(folder)
    np.testing.assert_array_equal(loaded(observations()), source(observations()))
    assert loaded.config.exploration == 0.5
    assert len(list(folder.iterdir())) == 2
