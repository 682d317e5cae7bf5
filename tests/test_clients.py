"""Other people's code on our environments: Stable-Baselines3's agents, Gymnasium's vectors, and both's wrappers."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import wrappers
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import vector as vector_wrappers
from stable_baselines3 import DDPG, SAC, TD3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecCheckNan, VecMonitor, VecNormalize

from zo_gym import ZOSamplingEnv, ZOSamplingVectorEnv
from zo_gym.agents.sb3.vec_env import GymVecEnv

DIM, BUDGET = 4, 21  # 10 steps an episode
OPTIONS: dict[str, Any] = {"problem": "quadratic", "dim": DIM, "learning_rate": 0.005, "budget": BUDGET}
REACHED = 1e9
"""A target that the first step reaches."""


def scalar(**options: Any) -> gym.Env[Any, Any]:
    return gym.make("ZOSampling-v0", **OPTIONS | options)


def batch(rows: int = 3, **options: Any) -> gym.vector.VectorEnv[Any, Any, Any]:
    return gym.make_vec("ZOSampling-v0", num_envs=rows, **OPTIONS | options)


def actions_for(steps: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (steps, *shape, DIM)).astype(np.float32)


# Stable-Baselines3's agents

AGENTS: dict[str, type[OffPolicyAlgorithm]] = {"ddpg": DDPG, "td3": TD3, "sac": SAC}


def agent_on(env: Any, name: str = "ddpg", learning_starts: int = 20) -> OffPolicyAlgorithm:
    return AGENTS[name](
        "MlpPolicy",
        env,
        learning_starts=learning_starts,
        batch_size=16,
        buffer_size=500,
        train_freq=(1, "step"),
        policy_kwargs={"net_arch": [16]},
        seed=0,
        device="cpu",
    )


class Record(BaseCallback):
    """Keeps what the vector environment handed to the agent, step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[dict[str, Any]] = []

    def _on_step(self) -> bool:
        kept = ("new_obs", "rewards", "dones", "infos")
        self.steps.append({name: self.locals[name] for name in kept})
        return True


@pytest.mark.parametrize("name", AGENTS)
@pytest.mark.parametrize("source", ["scalar", "batch", "gated"])
def test_agent_learns_for_a_few_hundred_steps(name: str, source: str) -> None:
    env: Any = {
        "scalar": lambda: scalar(observation="history"),
        "batch": lambda: GymVecEnv(batch(4)),
        "gated": lambda: GymVecEnv(batch(2, gate="hysteresis", num_directions=2, diagnostics=True)),
    }[source]()
    agent = agent_on(env, name)
    before = [weight.detach().clone() for weight in agent.policy.parameters()]
    agent.learn(200)
    assert agent.num_timesteps >= 200
    assert all(weight.isfinite().all() for weight in agent.policy.parameters())
    assert any(not torch.equal(*pair) for pair in zip(before, agent.policy.parameters(), strict=True))
    action, _ = agent.predict(np.zeros(agent.observation_space.shape, dtype=np.float32), deterministic=True)  # type: ignore[arg-type]
    assert agent.action_space.contains(action)


def test_learning_repeats_with_the_seed() -> None:
    ends = []
    for _ in range(2):
        agent = agent_on(GymVecEnv(batch(3)))
        agent.learn(60)
        ends.append(torch.cat([weight.detach().flatten() for weight in agent.policy.parameters()]))
    assert torch.equal(*ends)


@pytest.mark.parametrize("source", ["scalar", "batch"])
@pytest.mark.parametrize("target", [None, REACHED])
def test_replay_buffer_holds_the_terminal_observation_and_tells_timeouts_from_ends(
    source: str, target: float | None
) -> None:
    env: Any = DummyVecEnv([lambda: scalar(target=target)]) if source == "scalar" else GymVecEnv(batch(target=target))
    agent, record = agent_on(env, learning_starts=10_000), Record()
    agent.learn(45, callback=record)
    buffer = agent.replay_buffer
    assert buffer is not None
    length = 1 if target else (BUDGET - 1) // 2
    for t, step in enumerate(record.steps):
        ended = (t + 1) % length == 0
        np.testing.assert_array_equal(step["dones"], ended)
        np.testing.assert_array_equal(buffer.dones[t], float(ended))
        np.testing.assert_array_equal(buffer.timeouts[t], float(ended and target is None))  # type: ignore[attr-defined]
        np.testing.assert_array_equal(buffer.rewards[t], step["rewards"])
        for row, info in enumerate(step["infos"]):
            assert ("terminal_observation" in info) == ended
            if ended:
                assert info["TimeLimit.truncated"] is (target is None)
                assert info["queries"] == 1 + 2 * length  # the old episode's, not the new one's
                stored = info["terminal_observation"]
                assert not np.array_equal(stored, step["new_obs"][row])
                # where it really ended: one step from where it was, its length eta |delta|
                moved = np.linalg.norm(stored - buffer.observations[t, row])
                assert moved == pytest.approx(OPTIONS["learning_rate"] * abs(info["delta"]), rel=1e-4, abs=1e-6)
            else:
                stored = step["new_obs"][row]
            np.testing.assert_array_equal(buffer.next_observations[t, row], stored)
    sampled = buffer._get_samples(np.arange(len(record.steps)))
    assert sampled.dones.any().item() is (target is not None)  # a timeout is bootstrapped, an end is not


def test_monitor_reports_the_episode_through_both_ways() -> None:
    for env in (make_vec_env(lambda: scalar(), n_envs=3, seed=5), VecMonitor(GymVecEnv(batch(3)))):
        env.seed(5)
        env.reset()
        total = np.zeros(3)
        for actions in actions_for(10, 3):
            _, rewards, dones, infos = env.step(actions)
            total += rewards
        assert dones.all()
        for row in range(3):
            assert infos[row]["episode"]["l"] == 10
            assert infos[row]["episode"]["r"] == pytest.approx(total[row], abs=1e-4)  # float32 rewards, rounded to 1e-6


def test_policy_is_evaluated_on_both() -> None:
    agent = agent_on(scalar())
    for env in (scalar(), GymVecEnv(batch(2))):
        returns, lengths = evaluate_policy(agent, env, n_eval_episodes=4, return_episode_rewards=True, warn=False)
        assert lengths == [10] * 4
        assert np.isfinite(returns).all()


# The adapter against SB3's own vector environment


@pytest.mark.parametrize("options", [{}, {"target": 6.0}, {"gate": "paper", "num_directions": 2}], ids=str)
def test_adapter_equals_dummy_vec_env_in_every_output(options: dict[str, Any]) -> None:
    options = {**options, "observation": "history"}
    ours, theirs = GymVecEnv(batch(3, **options)), DummyVecEnv([lambda: scalar(**options)] * 3)
    ours.seed(7), theirs.seed(7)
    np.testing.assert_array_equal(ours.reset(), theirs.reset())
    assert ours.reset_infos == theirs.reset_infos
    ends = 0
    for actions in actions_for(45, 3):
        *own, own_infos = ours.step(actions)
        *other, other_infos = theirs.step(actions)
        for a, b in zip(own, other, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
        for mine, its in zip(own_infos, other_infos, strict=True):
            if "terminal_observation" not in its:
                del its["TimeLimit.truncated"]  # SB3 sets it at every step, and reads it where an episode ends
            np.testing.assert_equal(mine, its)
        ends += int(own[2].sum())
    assert ends > 3


def test_target_reached_is_not_called_truncated() -> None:
    env = GymVecEnv(batch(2, target=REACHED, budget=3))  # and the budget ends at the same step
    env.reset()
    _, _, dones, infos = env.step(np.ones((2, DIM), dtype=np.float32))
    assert dones.all()
    assert [info["TimeLimit.truncated"] for info in infos] == [False, False]


def test_adapter_refuses_an_autoreset_that_would_store_wrong_transitions() -> None:
    sync = SyncVectorEnv([scalar], autoreset_mode=AutoresetMode.NEXT_STEP)
    with pytest.raises(ValueError, match=r"SAME_STEP.*NEXT_STEP.*autoreset_mode"):
        GymVecEnv(sync)
    sync.close()


def test_adapter_takes_gymnasiums_sync_vector_env_too() -> None:
    sync = SyncVectorEnv([scalar] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    env, native = GymVecEnv(sync), GymVecEnv(batch(2))
    env.seed(3), native.seed(3)
    np.testing.assert_array_equal(env.reset(), native.reset())
    for actions in actions_for(12, 2):
        *theirs, _ = env.step(actions)
        *ours, _ = native.step(actions)
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)
    env.close()


def test_adapter_passes_attributes_and_calls_on() -> None:
    env = GymVecEnv(batch(3))
    assert env.get_attr("num_envs") == [3, 3, 3]
    assert env.get_attr("num_envs", indices=[0]) == [3]
    env.reset()
    env.set_attr("note", "here")
    assert env.get_attr("note", indices=1) == ["here"]
    assert len(env.env_method("state_dict", indices=[0, 2])) == 2
    assert env.env_is_wrapped(gym.Wrapper) == [False] * 3
    env.close()


@pytest.mark.parametrize("wrapper", [VecNormalize, VecMonitor, VecCheckNan])
def test_stable_baselines3s_wrappers_go_around_the_adapter(wrapper: Any) -> None:
    env = wrapper(GymVecEnv(batch(3)))
    observation = env.reset()
    assert observation.shape == (3, DIM)
    for actions in actions_for(12, 3):
        observation, rewards, dones, infos = env.step(actions)
        assert np.isfinite(observation).all()
        assert np.isfinite(rewards).all()
        assert all(("terminal_observation" in info) == done for info, done in zip(infos, dones, strict=True))
    agent_on(env).learn(40)


def test_vec_normalize_normalises_the_terminal_observation_as_well() -> None:
    env, plain = VecNormalize(GymVecEnv(batch(2))), GymVecEnv(batch(2))
    env.seed(1), plain.seed(1)
    env.reset(), plain.reset()
    for actions in actions_for(10, 2):
        *_, dones, infos = env.step(actions)
        *_, plain_infos = plain.step(actions)
    assert dones.all()
    for info, its in zip(infos, plain_infos, strict=True):
        np.testing.assert_allclose(info["terminal_observation"], env.normalize_obs(its["terminal_observation"]))


# Gymnasium's vector environments


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_sync_vector_env_in_every_autoreset_mode(mode: AutoresetMode) -> None:
    env = SyncVectorEnv([scalar] * 2, autoreset_mode=mode)
    first, _ = env.reset(seed=0)
    for actions in actions_for(10, 2):
        observation, _, _, truncated, infos = env.step(actions)
    assert truncated.all()
    if mode is AutoresetMode.SAME_STEP:
        np.testing.assert_array_equal(infos["final_info"]["queries"], BUDGET)
        np.testing.assert_array_equal(infos["queries"], 1)
    else:
        np.testing.assert_array_equal(infos["queries"], BUDGET)
    if mode is AutoresetMode.NEXT_STEP:
        observation, rewards, _, truncated, infos = env.step(actions)
        np.testing.assert_array_equal(rewards, 0)
        np.testing.assert_array_equal(infos["queries"], 1)
    assert observation.shape == first.shape == (2, DIM)
    env.close()


def test_async_vector_env_equals_the_native_batch() -> None:
    # Shared memory and pickled functions: what a user with a slow f would try. Spawned, since a fork of a process in
    # which torch has started threads can hang.
    env, native = AsyncVectorEnv([scalar] * 2, autoreset_mode=AutoresetMode.SAME_STEP, context="spawn"), batch(2)
    try:
        np.testing.assert_array_equal(env.reset(seed=4)[0], native.reset(seed=4)[0])
        for actions in actions_for(11, 2):
            *theirs, their_infos = env.step(actions)
            *ours, our_infos = native.step(actions)
            for a, b in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(a, b)
            np.testing.assert_array_equal(our_infos["f"], their_infos["f"])
            np.testing.assert_array_equal(our_infos["queries"], their_infos["queries"])
    finally:
        env.close()


# Gymnasium's wrappers


def test_record_episode_statistics_of_the_scalar_env() -> None:
    env = wrappers.RecordEpisodeStatistics(scalar())
    env.reset(seed=0)
    total = 0.0
    for action in actions_for(10):
        _, reward, _, truncated, info = env.step(action)
        total += float(reward)
    assert truncated
    assert info["episode"]["r"] == pytest.approx(total)
    assert info["episode"]["l"] == 10
    assert info["queries"] == BUDGET


def test_time_limit_truncates_before_the_budget() -> None:
    env = wrappers.TimeLimit(scalar(), max_episode_steps=3)
    for _ in range(2):
        env.reset(seed=0)
        flags = [env.step(action)[2:4] for action in actions_for(3)]
        assert flags == [(False, False), (False, False), (False, True)]
    assert gym.make("ZOSampling-v0", max_episode_steps=3, **OPTIONS).spec.max_episode_steps == 3  # type: ignore[union-attr]


@pytest.mark.parametrize("observation", ["x", "history"])
def test_observation_wrappers_of_the_scalar_env(observation: str) -> None:
    length = DIM if observation == "x" else 3 * DIM + 1
    for wrap in (wrappers.NormalizeObservation, wrappers.FlattenObservation):
        env = wrap(scalar(observation=observation))
        seen = [env.reset(seed=0)[0], *(env.step(action)[0] for action in actions_for(9))]
        assert all(each.shape == (length,) and np.isfinite(each).all() for each in seen)
        assert all(env.observation_space.contains(each.astype(np.float32)) for each in seen)


def test_actions_and_rewards_can_be_wrapped() -> None:
    two = np.full(DIM, 2.0, dtype=np.float32)
    env = wrappers.NormalizeReward(wrappers.ClipAction(wrappers.RescaleAction(scalar(), -two, two)))
    plain = scalar()
    env.reset(seed=0), plain.reset(seed=0)
    for action in actions_for(9):
        wrapped = env.step(2 * action)
        assert np.isfinite(wrapped[1])
        np.testing.assert_allclose(wrapped[0], plain.step(action)[0], rtol=1e-5)


def test_pictures_as_observations() -> None:
    env = wrappers.AddRenderObservation(scalar(render_mode="rgb_array"))
    first, _ = env.reset(seed=0)
    second = env.step(actions_for(1)[0])[0]
    assert first.shape == env.observation_space.shape == (400, 600, 3)
    assert not np.array_equal(first, second)


def test_video_is_recorded(tmp_path: Any) -> None:
    pytest.importorskip("moviepy")
    env = wrappers.RecordVideo(scalar(render_mode="rgb_array"), str(tmp_path), episode_trigger=lambda n: True)
    env.reset(seed=0)
    for action in actions_for(10):
        env.step(action)
    env.close()
    assert list(tmp_path.glob("*.mp4"))


def test_record_episode_statistics_of_the_native_batch() -> None:
    env = vector_wrappers.RecordEpisodeStatistics(batch(3))
    env.reset(seed=0)
    for episode in range(2):  # a second time: SAME_STEP starts the statistics anew
        total = np.zeros(3)
        for actions in actions_for(10, 3):
            _, rewards, _, truncated, infos = env.step(actions)
            total += rewards
        assert truncated.all(), episode
        np.testing.assert_allclose(infos["episode"]["r"], total)
        np.testing.assert_array_equal(infos["episode"]["l"], 10)


@pytest.mark.parametrize("name", ["NormalizeObservation", "FlattenObservation", "DtypeObservation"])
def test_observation_wrappers_of_gymnasiums_vectors_refuse_same_step_by_name(name: str) -> None:
    options = {"dtype": np.float64} if name == "DtypeObservation" else {}
    with pytest.raises(ValueError, match=r"autoreset_mode.*SAME_STEP"):  # because our metadata declares the mode
        getattr(vector_wrappers, name)(batch(2), **options)


def test_what_serves_instead_of_them() -> None:
    # The wrapper around each scalar env; for normalisation also VecNormalize around the adapter, tested above.
    sync = SyncVectorEnv([lambda: wrappers.NormalizeObservation(scalar())] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    sync.reset(seed=0)
    for actions in actions_for(12, 2):
        assert np.isfinite(sync.step(actions)[0]).all()
    sync.close()


@pytest.mark.parametrize(
    "wrap",
    [
        vector_wrappers.NormalizeReward,
        vector_wrappers.ClipAction,
        vector_wrappers.DictInfoToList,
        lambda env: vector_wrappers.TransformReward(env, lambda reward: 2 * reward),
    ],
    ids=["NormalizeReward", "ClipAction", "DictInfoToList", "TransformReward"],
)
def test_vector_wrappers_accept_the_native_batch(wrap: Any) -> None:
    env = wrap(batch(3))
    env.reset(seed=0)
    for actions in actions_for(12, 3):
        observation, rewards, _, _, infos = env.step(actions)
        assert np.isfinite(observation).all()
        assert np.isfinite(rewards).all()
        assert infos
    env.close()


def test_wrapped_envs_unwrap_to_ours() -> None:
    assert isinstance(wrappers.FlattenObservation(scalar()).unwrapped, ZOSamplingEnv)
    assert isinstance(vector_wrappers.ClipAction(batch()).unwrapped, ZOSamplingVectorEnv)
