"""The paper's CNN with batch normalisation, the unit actor and the critic that sees directions only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

from zo_gym import ZOSamplingEnv, ZOSamplingVectorEnv
from zo_gym.agents.build import AGENTS, build_agent, policy_kwargs
from zo_gym.agents.networks.conv_batchnorm import ConvBatchNorm
from zo_gym.agents.networks.unit_policy import UnitActor, UnitCritic, UnitPolicy
from zo_gym.agents.presets import PRESETS
from zo_gym.agents.sb3.vec_env import GymVecEnv

# dim, image shape, observation length: a vector, an image (odd sides too), and `observation="history"` (3 d + 1).
CASES = [
    pytest.param(7, None, 7, id="vector"),
    pytest.param(7, None, 22, id="vector-history"),
    pytest.param(12, (4, 3), 12, id="image"),
    pytest.param(12, (4, 3), 37, id="image-history"),
]


def box(n: int) -> spaces.Box:
    return spaces.Box(-np.inf, np.inf, (n,), np.float32)


def batch(rows: int, n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, n, generator=torch.Generator().manual_seed(seed))


def running_stats(module: torch.nn.Module) -> list[torch.Tensor]:
    return [value.clone() for name, value in module.named_buffers() if "running_" in name]


def small_policy(network: str, n: int = 5, d: int = 5) -> UnitPolicy:
    action = spaces.Box(-1.0, 1.0, (d,), np.float32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UnitPolicy(box(n), action, lambda _: 1e-3, n_critics=2, **policy_kwargs(network, d, None))


@pytest.mark.parametrize(("dim", "shape", "n"), CASES)
def test_features_have_the_promised_length_and_blocks_become_channels(
    dim: int, shape: tuple[int, ...] | None, n: int
) -> None:
    network = ConvBatchNorm(box(n), dim, shape, features_dim=16)
    assert network(batch(6, n)).shape == (6, 16)
    blocks, rest = (1, 0) if n == dim else (3, 1)
    convolutions = [layer for layer in network.convolutions if isinstance(layer, (torch.nn.Conv1d, torch.nn.Conv2d))]
    assert [layer.in_channels for layer in convolutions] == [blocks, 16]
    assert [layer.out_channels for layer in convolutions] == [16, 32]
    assert isinstance(convolutions[0], torch.nn.Conv1d if shape is None else torch.nn.Conv2d)
    sides = [(side + 1) // 2 for side in ((dim,) if shape is None else shape)]
    assert network.head[0].in_features == 32 * int(np.prod(sides)) + rest


def test_the_blocks_reach_the_convolutions_as_x_g_and_the_last_move() -> None:
    network = ConvBatchNorm(box(3 * 4 + 1), 4, (2, 2)).eval()
    seen: list[torch.Tensor] = []
    network.convolutions.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network(torch.arange(13.0)[None])
    assert torch.equal(seen[0], torch.arange(12.0).reshape(1, 3, 2, 2))


@pytest.mark.parametrize("position", range(13))
def test_every_entry_of_a_history_observation_matters(position: int) -> None:
    network = ConvBatchNorm(box(13), 4).eval()
    observations = batch(1, 13)
    changed = observations.clone()
    changed[0, position] += 3.0
    assert not torch.equal(network(observations), network(changed))


def test_a_shape_that_does_not_fit_the_dimension_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape must have 12 entries \(dim\), got \(4, 4\)"):
        ConvBatchNorm(box(12), 12, (4, 4))


@pytest.mark.parametrize(("dim", "shape", "n"), CASES)
def test_batch_norm_learns_statistics_in_train_mode_only(dim: int, shape: tuple[int, ...] | None, n: int) -> None:
    network = ConvBatchNorm(box(n), dim, shape)
    start = running_stats(network)
    assert len(start) == 2 * 4  # mean and variance of: the input, two convolutions, the head
    network.eval()
    network(batch(6, n))
    assert all(torch.equal(a, b) for a, b in zip(start, running_stats(network), strict=True))
    network.train()
    network(batch(6, n))
    assert all(not torch.equal(a, b) for a, b in zip(start, running_stats(network), strict=True))


@pytest.mark.parametrize(("dim", "shape", "n"), CASES)
def test_in_eval_mode_a_row_does_not_depend_on_its_companions(dim: int, shape: tuple[int, ...] | None, n: int) -> None:
    network = ConvBatchNorm(box(n), dim, shape)
    network(batch(32, n))  # statistics that are not the initial 0 and 1
    rows, others = batch(4, n, seed=1), 100.0 + batch(4, n, seed=2)
    network.train()
    mixed = network(torch.cat([rows, others]))[:4]
    assert not torch.allclose(mixed, network(rows), rtol=1e-3)
    network.eval()
    # Not bit for bit: matrix products of other sizes sum in another order; float32 rounding is 1e-7.
    torch.testing.assert_close(network(torch.cat([rows, others]))[:4], network(rows), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_the_actor_emits_unit_vectors(network: str) -> None:
    policy = small_policy(network)
    assert isinstance(policy.actor, UnitActor)
    policy.set_training_mode(False)
    observations = torch.cat([batch(20, 5), 1e3 * batch(20, 5), torch.zeros(1, 5)])
    lengths = torch.linalg.vector_norm(policy.actor(observations), dim=1)
    torch.testing.assert_close(lengths, torch.ones(41), rtol=1e-5, atol=0)


def test_no_tanh_folds_the_actors_directions() -> None:
    """A direction along an axis is reachable: with a closing tanh its coordinate could not come near 1."""
    policy = small_policy("mlp")
    with torch.no_grad():
        last = policy.actor.mu[-2]
        assert isinstance(last, torch.nn.Linear)
        last.weight.zero_()
        last.bias.copy_(torch.tensor([9.0, 0.0, 0.0, 12.0, 0.0]))
    torch.testing.assert_close(policy.actor(batch(1, 5))[0], torch.tensor([0.6, 0.0, 0.0, 0.8, 0.0]))


@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_the_critics_see_the_direction_and_not_the_length(network: str) -> None:
    policy = small_policy(network)
    assert isinstance(policy.critic, UnitCritic)
    policy.set_training_mode(False)
    observations, actions = batch(6, 5), batch(6, 5, seed=1)
    once, scaled, other = (policy.critic(observations, a) for a in (actions, 7.5 * actions, actions.roll(1, dims=1)))
    assert len(once) == 2
    for a, b, c in zip(once, scaled, other, strict=True):
        assert a.shape == (6, 1)
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
        assert not torch.allclose(a, c, rtol=1e-3)
    first = policy.critic.q1_forward(observations, 0.01 * actions)
    torch.testing.assert_close(first, once[0], rtol=1e-4, atol=1e-6)


def trained(algo: str, network: str, steps: int, batch_size: int) -> Any:
    settings: dict[str, Any] = {"problem": "quadratic", "problem_options": {"dim": 5}, "update": "adaptive"}
    env = GymVecEnv(ZOSamplingVectorEnv(num_envs=4, budget=100, **settings))
    preset = replace(PRESETS["default"], network=network, batch_size=batch_size)
    agent = build_agent(algo, env, preset, shape=None, seed=0, device="cpu", buffer_size=1000)
    agent.learning_starts = 8
    return agent.learn(4 * steps)


@pytest.mark.parametrize("algo", ["ddpg", "td3"])
def test_the_targets_get_the_running_statistics_as_they_are(algo: str) -> None:
    """SB3 copies them (tau = 1) beside the slow average of the weights; it finds them by their name, `running_`."""
    agent = trained(algo, "cnn", steps=12, batch_size=8)
    fresh = running_stats(small_policy("cnn").actor)
    for network, target in ((agent.actor, agent.actor_target), (agent.critic, agent.critic_target)):
        own, copied = running_stats(network), running_stats(target)
        assert len(own) > 0
        if algo == "ddpg":  # every update ends with the copy; TD3's critic is updated once more in between
            assert all(torch.equal(a, b) for a, b in zip(own, copied, strict=True))
        assert not any(torch.equal(a, b) for a, b in zip(copied[: len(fresh)], fresh, strict=True))
        weights = zip(network.parameters(), target.parameters(), strict=True)
        assert any(not torch.equal(a, b) for a, b in weights)


def test_collecting_uses_eval_mode_and_training_train_mode() -> None:
    """A single observation has no batch statistics: in train mode the actor could not act on one row at all."""
    agent = trained("ddpg", "cnn", steps=12, batch_size=8)
    before = running_stats(agent.actor)
    observation = batch(1, 5).numpy()
    first, _ = agent.predict(observation, deterministic=True)
    again, _ = agent.predict(observation, deterministic=True)
    assert np.array_equal(first, again)
    assert all(torch.equal(a, b) for a, b in zip(before, running_stats(agent.actor), strict=True))


@pytest.mark.parametrize("algo", sorted(AGENTS))
@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_every_agent_runs_with_every_network(algo: str, network: str) -> None:
    agent = trained(algo, network, steps=6, batch_size=8)
    action, _ = agent.predict(batch(3, 5).numpy(), deterministic=True)
    assert action.shape == (3, 5)
    assert np.isfinite(action).all()


def test_the_networks_also_train_on_sb3s_own_vector_environment() -> None:
    env = DummyVecEnv([lambda: ZOSamplingEnv("quadratic", problem_options={"dim": 5}, budget=60, update="adaptive")])
    agent = build_agent("ddpg", env, PRESETS["default"], shape=None, seed=0, device="cpu", buffer_size=1000)
    agent.learning_starts = 5
    agent.learn(10)
    assert agent.num_timesteps == 10


def test_an_unknown_network_gets_a_suggestion() -> None:
    with pytest.raises(ValueError, match=r"Unknown policy 'cnnn'\. Did you mean 'cnn'"):
        policy_kwargs("cnnn", 5, None)
