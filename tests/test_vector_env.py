"""The vector environment: row i is the scalar environment with seed + i, bit for bit, across any number of episodes."""

from __future__ import annotations

import copy
import itertools
import pickle
from functools import cache
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers.vector import FlattenObservation, NormalizeObservation

from zo_gym import (
    GATES,
    PROBLEMS,
    RULES,
    SAMPLERS,
    Problem,
    UpdateRule,
    ZOSamplingEnv,
    ZOSamplingVectorEnv,
    make_problem,
)
from zo_gym.agents.sb3.vec_env import GymVecEnv
from zo_gym.envs.vector_env import AUTORESET
from zo_gym.registry import is_learned

LIBSVM = ("heart_scale", "german.numer_scale", "a9a")
RATES = {"ellipsoid": 1e-7, "discus": 1e-7, "bent_cigar": 1e-7, "rosenbrock": 1e-5, "quadratic": 0.01}
ROWS = 9  # one more than the 8 float64 numbers that a loop of AVX2 takes at a time: a body and a tail
BASE: dict[str, Any] = {"num_directions": 3, "gate_threshold": 0.1, "budget": 40}


@cache
def built(problem: str, **options: Any) -> Problem:
    """One problem for all rows and twins: to build it takes longer than to step on it."""
    return make_problem(problem, **options)


def options_for(problem: str, dim: int | None = None, **options: Any) -> dict[str, Any]:
    which = built(problem) if dim is None else built(problem, dim=dim)
    return {"problem": which, "learning_rate": RATES.get(problem, 0.1), **BASE, **options}


def actions_for(env: ZOSamplingVectorEnv, steps: int, seed: int = 0) -> np.ndarray:
    shape = (steps, env.num_envs, env.config.problem.dim)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def bits(value: Any, dtype: Any) -> bytes:
    return np.asarray(value, dtype=dtype).tobytes()


def assert_row(infos: dict[str, Any], row: int, info: dict[str, Any]) -> None:
    """Row `row` of the infos holds exactly `info`, to the last bit."""
    present = {
        name for name in infos if not name.startswith(("_", "final")) and infos[f"_{name}"][row]
    }  # what the mask shows
    assert present == set(info)
    for name, value in info.items():
        assert bits(value, infos[name].dtype) == infos[name][row].tobytes(), (name, value, infos[name][row])


def compare(options: dict[str, Any], rows: int, steps: int, seed: int = 100) -> dict[str, int]:
    """Step a vector environment and its scalar twins side by side; count what was covered."""
    vector = ZOSamplingVectorEnv(num_envs=rows, **options)
    twins = [ZOSamplingEnv(**options) for _ in range(rows)]
    observation, infos = vector.reset(seed=seed)
    for row, twin in enumerate(twins):
        first, info = twin.reset(seed=seed + row)
        assert first.tobytes() == observation[row].tobytes()
        assert_row(infos, row, info)
    seen = {"ends": 0, "mixed_ends": 0, "mixed_gates": 0, "open": 0}
    for actions in actions_for(vector, steps, seed):
        observation, rewards, terminated, truncated, infos = vector.step(actions)
        ended = terminated | truncated
        assert ("final_obs" in infos) == ("final_info" in infos) == ended.any()
        for row, twin in enumerate(twins):
            seen_by_twin, reward, its_end, its_cut, info = twin.step(actions[row])
            assert bits(reward, rewards.dtype) == rewards[row].tobytes()
            assert (its_end, its_cut) == (terminated[row], truncated[row])
            if its_end or its_cut:
                assert infos["_final_obs"][row]
                assert infos["_final_info"][row]
                assert seen_by_twin.tobytes() == infos["final_obs"][row].tobytes()
                assert_row(infos["final_info"], row, info)
                seen_by_twin, info = twin.reset()
            elif ended.any():
                assert not infos["_final_obs"][row]
                assert infos["final_obs"][row] is None
            assert seen_by_twin.dtype == observation.dtype == np.float32
            assert seen_by_twin.tobytes() == observation[row].tobytes()
            assert_row(infos, row, info)
        seen["ends"] += int(ended.sum())
        seen["mixed_ends"] += int(ended.any() and not ended.all())
        if "gate_open" in infos:
            seen["mixed_gates"] += int(infos["gate_open"].any() and not infos["gate_open"].all())
            seen["open"] += int(infos["gate_open"].sum())
    return seen


# Row i is the scalar environment


@pytest.mark.parametrize("problem", ["breast_cancer", "quadratic"])
@pytest.mark.parametrize("gate", GATES)
def test_row_is_the_scalar_env_bit_for_bit(problem: str, gate: str) -> None:
    for update, observation, noise_std in itertools.product(("sgd", "adaptive"), ("x", "history"), (0.0, 0.1)):
        options = options_for(
            problem,
            gate=gate,
            update=update,
            observation=observation,
            noise_std=noise_std,
            diagnostics=observation == "history",
            reevaluate=noise_std > 0,
        )
        seen = compare(options, ROWS, 14 if gate == "open" else 10)
        assert gate == "open" or seen["mixed_gates"] > 0


@pytest.mark.parametrize("gate", GATES)
def test_rows_that_end_apart_stay_the_scalar_env(gate: str) -> None:
    options = options_for("quadratic", gate=gate, diagnostics=True, budget=24, target=30.0, update="adaptive")
    seen = compare(options, 7, 60)
    assert seen["mixed_ends"] > 5


@pytest.mark.parametrize(
    "problem",
    [
        pytest.param(name, marks=[pytest.mark.needs_data(name)] if name in LIBSVM else [])
        for name in PROBLEMS
        if not name.startswith(("breast", "mnist"))
    ],
)
def test_row_is_the_scalar_env_on_every_problem(problem: str) -> None:
    options = options_for(problem, gate="hysteresis", update="adaptive", observation="history", diagnostics=True)
    rows, steps = (3, 20) if problem in ("a9a", "digits_attack") else (ROWS, 30)  # 20 of 2 queries spend the budget
    assert compare({**options, "noise_std": 0.01}, rows, steps)["ends"] > 0


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("dim", [2, 7])
def test_row_is_the_scalar_env_with_every_sampler(sampler: str, dim: int) -> None:
    chosen = SAMPLERS[sampler]() if is_learned(SAMPLERS, sampler) else sampler  # the environment refuses their names
    options = options_for("quadratic", dim=dim, gate="hysteresis", sampler=chosen, num_directions=5, budget=60)
    compare(options, ROWS, 30)


@pytest.mark.parametrize("update", RULES)
def test_row_is_the_scalar_env_with_every_update_rule(update: str) -> None:
    chosen = RULES[update]() if is_learned(RULES, update) else update  # the environment refuses their names
    compare(options_for("quadratic", update=chosen, budget=200), ROWS, 90)


@pytest.mark.parametrize("reward", ["decrease", "paper", "relative", "log"])
def test_row_is_the_scalar_env_with_every_reward(reward: str) -> None:
    compare(options_for("logistic", reward=reward, direction="raw"), 13, 40)


@pytest.mark.parametrize("gate", ["open", "paper"])
def test_row_is_the_scalar_env_where_f_fails(gate: str) -> None:
    failed = 0

    def brittle(x: np.ndarray) -> float:
        """Fails at a tenth of all points, not at the start; a pure function of x, so alike in both environments."""
        nonlocal failed
        fails = abs(np.sin(1e3 * x[0])) < 0.16
        failed += fails
        return float("nan") if fails else float(x @ x)

    options = {"problem": brittle, "x0": [1.0, 2.0, -1.0], "learning_rate": 0.1, "gate": gate, **BASE}
    compare({**options, "on_failure": "penalize"}, ROWS, 30)
    assert failed > 20


def test_rows_of_float32_are_the_scalar_env_too() -> None:
    for gate, update in itertools.product(GATES, ("sgd", "adaptive")):
        options = options_for("quadratic", gate=gate, update=update, smoothing=0.05)
        options |= {"problem": squares, "x0": np.linspace(-1, 1, 13).astype(np.float32), "batched": True}
        compare(options, ROWS, 20)


def test_rewards_are_float64_whatever_the_dtype_of_x() -> None:
    env = ZOSamplingVectorEnv(squares, x0=np.ones(3, dtype=np.float32), batched=True, num_envs=2)
    env.reset(seed=0)
    assert env.step(np.zeros((2, 3)))[1].dtype == np.float64


def squares(points: np.ndarray) -> np.ndarray:
    return np.array([x @ x for x in points])


def test_rows_of_float32_are_the_scalar_env_with_guided_directions() -> None:
    options = options_for(
        "quadratic", gate="paper", gate_threshold=2.0, sampler="guided-es", smoothing=0.05, budget=300
    )
    options |= {"problem": squares, "x0": np.linspace(-1, 1, 33).astype(np.float32), "batched": True}
    compare(options, ROWS, 40)


@pytest.mark.parametrize("gate", ["open", "calibrated"])
@pytest.mark.parametrize("threads", [1, 2])
def test_batch_large_enough_for_threads_is_the_scalar_env(gate: str, threads: int) -> None:
    torch.set_num_threads(threads)  # conftest puts it back before the next test
    options = options_for("breast_cancer", gate=gate, update="adaptive", observation="history", budget=20)
    rows, steps = 1201, 4  # 1201 * 30 elements: beyond torch's grain of 32,768, so two threads share the work
    vector = ZOSamplingVectorEnv(num_envs=rows, **options)
    first, _ = vector.reset(seed=0)
    actions = actions_for(vector, steps)
    seen = [vector.step(batch) for batch in actions]
    for row in (0, 1, 599, 600, 601, 1199, 1200):
        twin = ZOSamplingEnv(**options)
        assert twin.reset(seed=row)[0].tobytes() == first[row].tobytes()
        for batch, (observation, rewards, _, truncated, infos) in zip(actions, seen, strict=True):
            its, reward, _, cut, info = twin.step(batch[row])
            assert not cut
            assert not truncated[row]
            assert its.tobytes() == observation[row].tobytes()
            assert bits(reward, np.float64) == rewards[row].tobytes()
            assert_row(infos, row, info)


def test_row_does_not_depend_on_its_neighbours() -> None:
    options = options_for("breast_cancer", gate="paper", noise_std=0.1, observation="history")
    few, many = (ZOSamplingVectorEnv(num_envs=n, **options) for n in (2, 9))
    few.reset(seed=3), many.reset(seed=3)
    for actions in actions_for(many, 15):
        some, all_ = few.step(actions[:2]), many.step(actions)
        for ours, theirs in zip(some[:4], all_[:4], strict=True):
            assert ours.tobytes() == theirs[:2].tobytes()


# Like gymnasium's SyncVectorEnv


def sync_of(rows: int, options: dict[str, Any], mode: AutoresetMode = AutoresetMode.SAME_STEP) -> SyncVectorEnv:
    return SyncVectorEnv([lambda: gym.make("ZOSampling-v0", **options)] * rows, autoreset_mode=mode)


def assert_like_sync(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Every info of SyncVectorEnv is there: same mask, same dtype, same values where the mask shows them."""
    assert {name[1:] for name in ours if name.startswith("_")} == {name for name in ours if not name.startswith("_")}
    assert set(theirs) <= set(ours)
    for name in ours:
        if name.startswith("_"):
            expected = theirs.get(name, np.zeros_like(ours[name]))
            np.testing.assert_array_equal(ours[name], expected)
            assert ours[name].dtype == bool
    for name, values in theirs.items():
        if name == "final_info":
            assert_like_sync(ours[name], values)
        elif name == "final_obs":
            for own, other in zip(ours[name], values, strict=True):
                np.testing.assert_array_equal(own, other)
        elif not name.startswith("_"):
            assert ours[name].dtype == values.dtype
            mask = theirs[f"_{name}"]
            np.testing.assert_array_equal(ours[name][mask], values[mask])


def assert_same_as_sync(ours: VectorEnv[Any, Any, Any], theirs: SyncVectorEnv, steps: int = 40) -> tuple[int, int]:
    """Step both with the same actions; return how many episodes were truncated and how many terminated."""
    assert ours.metadata["autoreset_mode"] is theirs.metadata["autoreset_mode"]
    for name in ("observation_space", "action_space", "single_observation_space", "single_action_space", "num_envs"):
        assert getattr(ours, name) == getattr(theirs, name)
    mine, others = ours.reset(seed=7), theirs.reset(seed=7)
    np.testing.assert_array_equal(mine[0], others[0])
    assert_like_sync(mine[1], others[1])
    cut = reached = 0
    for actions in actions_for(ours.unwrapped, steps):  # type: ignore[arg-type]
        *mine, my_infos = ours.step(actions)
        *others, their_infos = theirs.step(actions)
        for own, other in zip(mine, others, strict=True):
            assert own.dtype == other.dtype
            np.testing.assert_array_equal(own, other)
        assert_like_sync(my_infos, their_infos)
        reached, cut = reached + int(mine[2].sum()), cut + int(mine[3].sum())
    theirs.close()
    return cut, reached


@pytest.mark.parametrize("mode", AUTORESET)
@pytest.mark.parametrize("gate", GATES)
def test_same_as_sync_vector_env_in_every_output(gate: str, mode: str) -> None:
    options = options_for("quadratic", gate=gate, diagnostics=True, target=25.0, observation="history")
    vector = gym.make_vec("ZOSampling-v0", num_envs=4, autoreset_mode=mode, **options)
    cut, reached = assert_same_as_sync(vector, sync_of(4, options, AUTORESET[mode]))
    assert cut + reached > 4


@pytest.mark.parametrize("mode", AUTORESET)
@pytest.mark.parametrize("limit", [1, 5])
def test_max_episode_steps_truncates_as_in_gym_make(limit: int, mode: str) -> None:
    options = options_for("quadratic", update="adaptive", target=40.0) | {"max_episode_steps": limit}
    vector = gym.make_vec("ZOSampling-v0", num_envs=4, autoreset_mode=mode, **options)
    cut, reached = assert_same_as_sync(vector, sync_of(4, options, AUTORESET[mode]))
    assert cut > 4
    assert limit == 1 or reached > 0


@pytest.mark.parametrize("limit", [None, -1])
def test_without_max_episode_steps_the_budget_alone_ends_episodes(limit: int | None) -> None:
    env = gym.make_vec("ZOSampling-v0", num_envs=2, budget=21, max_episode_steps=limit)
    env.reset(seed=0)
    assert [bool(env.step(actions)[3].any()) for actions in np.ones((10, 2, 30))] == [False] * 9 + [True]


# Resets in the next step


def test_a_row_that_ended_waits_for_the_next_step_and_ignores_its_action() -> None:
    env = ZOSamplingVectorEnv("quadratic", num_envs=2, budget=3, autoreset_mode="next-step")
    twin = ZOSamplingEnv("quadratic", budget=3)
    env.reset(seed=0), twin.reset(seed=0)
    first, second = actions_for(env, 2)
    observation, _, _, truncated, infos = env.step(first)
    assert truncated.all()
    np.testing.assert_array_equal(observation[0], twin.step(first[0])[0])  # the last of the old episode
    assert "final_obs" not in infos
    x = env.x
    observation, rewards, terminated, truncated, infos = env.step(second)
    assert not (terminated | truncated).any()
    np.testing.assert_array_equal(rewards, 0.0)
    np.testing.assert_array_equal(observation[0], twin.reset()[0])
    np.testing.assert_array_equal(infos["queries"], 1)
    assert "delta" not in infos
    assert not torch.equal(env.x, x)
    np.testing.assert_array_equal(env.x.float(), observation)
    assert env.oracle.total == 2 * (3 + 1)


@pytest.mark.parametrize("given", ["next-step", AutoresetMode.NEXT_STEP])
def test_the_mode_is_each_environments_own(given: Any) -> None:
    late, early = (gym.make_vec("ZOSampling-v0", num_envs=2, autoreset_mode=mode) for mode in (given, "same-step"))
    assert late.metadata["autoreset_mode"] is late.unwrapped.autoreset_mode is AutoresetMode.NEXT_STEP  # type: ignore[attr-defined]
    assert early.metadata["autoreset_mode"] is early.unwrapped.autoreset_mode is AutoresetMode.SAME_STEP  # type: ignore[attr-defined]
    assert ZOSamplingVectorEnv.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP


def test_gymnasiums_wrappers_of_observations_take_next_step_resets() -> None:
    options = options_for("quadratic", observation="history", autoreset_mode="next-step")
    env = NormalizeObservation(FlattenObservation(gym.make_vec("ZOSampling-v0", num_envs=6, **options)))
    seen = [env.reset(seed=0)[0]]
    seen += [env.step(actions)[0] for actions in actions_for(env.unwrapped, 60)]  # type: ignore[arg-type]
    last = np.stack(seen[30:])
    # the running mean and deviation settle: 180 rows of 31 numbers each are near 0 and 1, and none is far out
    assert abs(last.mean()) < 0.5
    assert 0.3 < last.std() < 2.0
    with pytest.raises(ValueError, match=r"got AutoresetMode\.SAME_STEP"):
        NormalizeObservation(gym.make_vec("ZOSampling-v0", num_envs=2))


def test_the_adapter_for_stable_baselines3_refuses_next_step_resets() -> None:
    with pytest.raises(ValueError, match=r"SAME_STEP\), got AutoresetMode\.NEXT_STEP"):
        GymVecEnv(gym.make_vec("ZOSampling-v0", num_envs=2, autoreset_mode="next-step"))
    assert GymVecEnv(gym.make_vec("ZOSampling-v0", num_envs=2, autoreset_mode="same-step")).num_envs == 2


# What gym.make_vec gives


def test_make_vec_gives_the_native_batch() -> None:
    env = gym.make_vec("ZOSampling-v0", num_envs=256)
    assert isinstance(env.unwrapped, ZOSamplingVectorEnv)
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert env.observation_space.shape == env.action_space.shape == (256, 30)
    observation, infos = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    observation, rewards, terminated, truncated, infos = env.step(env.action_space.sample())
    assert env.observation_space.contains(observation)
    assert rewards.dtype == np.float64
    assert terminated.dtype == truncated.dtype == bool
    assert rewards.shape == terminated.shape == truncated.shape == infos["f"].shape == (256,)
    np.testing.assert_array_equal(infos["queries"], 3)
    env.close()


def test_make_vec_with_another_mode_makes_the_scalar_env() -> None:
    keywords = {"num_envs": 2, "budget": 20}
    sync = gym.make_vec("ZOSampling-v0", vectorization_mode="sync", **keywords)
    assert isinstance(sync, SyncVectorEnv)
    native = gym.make_vec("ZOSampling-v0", **keywords)
    np.testing.assert_array_equal(sync.reset(seed=1)[0], native.reset(seed=1)[0])
    sync.close()


def test_f_is_called_with_the_whole_batch() -> None:
    sizes: list[int] = []

    def fun(points: np.ndarray) -> np.ndarray:
        sizes.append(len(points))
        return (points * points).sum(1)

    env = ZOSamplingVectorEnv(fun, num_envs=6, dim=3, batched=True, budget=5, learning_rate=0.1)
    env.reset(seed=0)
    for actions in actions_for(env, 2):
        _, _, _, truncated, infos = env.step(actions)
    assert truncated.all()
    assert sizes == [6] * 6  # reset, two steps of two, and the reset of all rows at the end
    assert env.oracle.total == sum(sizes)
    np.testing.assert_array_equal(infos["queries"], 1)
    np.testing.assert_array_equal(infos["final_info"]["queries"], 5)


def test_queries_of_every_row_stay_in_the_budget_behind_any_gate() -> None:
    for gate, budget in itertools.product(GATES, (6, 17, 31)):
        total = 0

        def fun(points: np.ndarray) -> np.ndarray:
            nonlocal total
            total += len(points)
            return (points * points).sum(1)

        options = {"gate": gate, "num_directions": 3, "gate_threshold": 0.1, "learning_rate": 0.1}
        env = ZOSamplingVectorEnv(fun, num_envs=4, dim=3, batched=True, budget=budget, **options)
        _, infos = env.reset(seed=0)
        reported = 0
        for actions in actions_for(env, 40):
            _, _, _, truncated, infos = env.step(actions)
            if truncated.any():
                final = infos["final_info"]["queries"][truncated]
                assert (final <= budget).all()
                reported += int(final.sum())
        assert reported + infos["queries"].sum() == env.oracle.total == total


def test_returned_arrays_are_not_reused() -> None:
    env = ZOSamplingVectorEnv("quadratic", num_envs=2, budget=3)
    kept = [env.reset(seed=0), *(env.step(actions) for actions in actions_for(env, 1))]
    before = pickle.dumps(kept)
    for actions in actions_for(env, 3, seed=1):
        env.step(actions)
    assert pickle.dumps(kept) == before


# Seeds


def test_list_of_seeds_seeds_each_row() -> None:
    env = ZOSamplingVectorEnv("quadratic", num_envs=3)
    by_list, _ = env.reset(seed=[11, 5, 12])
    assert env.np_random_seed == (11, 5, 12)
    by_first, _ = env.reset(seed=11)
    assert env.np_random_seed == (11, 12, 13)
    np.testing.assert_array_equal(by_list[[0, 2]], by_first[[0, 1]])
    scalar, _ = ZOSamplingEnv("quadratic").reset(seed=5)
    np.testing.assert_array_equal(by_list[1], scalar)


def test_none_in_the_list_lets_a_row_go_on_with_its_stream() -> None:
    env, other = (ZOSamplingVectorEnv("quadratic", num_envs=2) for _ in range(2))
    env.reset(seed=0), other.reset(seed=0)
    mixed, _ = env.reset(seed=[None, 8])
    np.testing.assert_array_equal(mixed[0], other.reset()[0][0])
    np.testing.assert_array_equal(mixed[1], ZOSamplingEnv("quadratic").reset(seed=8)[0])


def test_rows_without_a_seed_differ() -> None:
    env = ZOSamplingVectorEnv("quadratic", num_envs=3)
    first, _ = env.reset()
    again, _ = env.reset()
    assert len(np.unique(np.concatenate([first, again]), axis=0)) == 6
    assert len(env.np_random) == 3
    assert len(set(env.np_random_seed)) == 3


# Saved and restored


def plain(step: tuple[Any, ...]) -> list[Any]:
    """A step with `final_obs`, an array of arrays, as a list, which numpy can compare."""
    *head, infos = step
    return [*head, {name: list(value) if name == "final_obs" else value for name, value in infos.items()}]


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("update", ["sgd", "momentum", "adaptive"])
@pytest.mark.parametrize("noise_std", [0.0, 0.1])
def test_restored_env_goes_on_bit_for_bit(gate: str, update: str, noise_std: float) -> None:
    options = options_for("quadratic", gate=gate, update=update, observation="history", sampler="guided-es")
    options["noise_std"] = noise_std
    env = ZOSamplingVectorEnv(num_envs=4, **options)
    env.reset(seed=2)
    before, after = np.split(actions_for(env, 40), [13])
    for actions in before:
        env.step(actions)
    state = pickle.loads(pickle.dumps(env.state_dict()))  # a deep copy, as a file would give
    expected = [plain(env.step(actions)) for actions in after]
    fresh = ZOSamplingVectorEnv(num_envs=4, **options)
    for other in (env, fresh):  # the same object later, and another one that has never been reset
        other.load_state_dict(state)
        np.testing.assert_equal([plain(other.step(actions)) for actions in after], expected)  # exact
    assert fresh.np_random_seed == (2, 3, 4, 5)


def test_restored_env_keeps_step_counts_and_rows_that_wait() -> None:
    options = options_for("quadratic", update="adaptive", target=30.0, max_episode_steps=7, autoreset_mode="next-step")
    env, fresh = (ZOSamplingVectorEnv(num_envs=5, **options) for _ in range(2))
    env.reset(seed=2)
    waiting = 0
    for actions, after in actions_for(env, 60).reshape(30, 2, 5, -1):
        env.step(actions)
        fresh.load_state_dict(pickle.loads(pickle.dumps(env.state_dict())))
        waiting += sum(env.state_dict()["waiting"])
        np.testing.assert_equal(env.step(after), fresh.step(after))
    assert waiting > 5


def test_state_is_a_copy() -> None:
    env = ZOSamplingVectorEnv("quadratic", num_envs=2, learning_rate=0.01)
    env.reset(seed=0)
    state = env.state_dict()
    before = pickle.dumps(state)
    for actions in actions_for(env, 3):
        env.step(actions)
    assert pickle.dumps(state) == before


@pytest.mark.parametrize(
    "others", [{"num_envs": 3}, {"dim": 3}, {"update": "momentum"}, {"gate": "hysteresis"}], ids=str
)
def test_state_of_another_env_is_rejected_and_changes_nothing(others: dict[str, Any]) -> None:
    env, untouched = (ZOSamplingVectorEnv("quadratic", num_envs=2, learning_rate=0.01) for _ in range(2))
    env.reset(seed=0), untouched.reset(seed=0)
    other = ZOSamplingVectorEnv("quadratic", **{"num_envs": 2, "learning_rate": 0.01, **others})
    other.reset(seed=9)
    with pytest.raises(ValueError, match="state"):
        env.load_state_dict(other.state_dict())
    (actions,) = actions_for(env, 1)
    np.testing.assert_equal(env.step(actions), untouched.step(actions))


@pytest.mark.parametrize("broken", ["generators", "streams"])
def test_damaged_state_of_a_generator_changes_nothing(broken: str) -> None:
    env, untouched, other = (ZOSamplingVectorEnv("quadratic", num_envs=2, learning_rate=0.01) for _ in range(3))
    env.reset(seed=0), untouched.reset(seed=0), other.reset(seed=9)
    other.step(actions_for(other, 1)[0])
    state = other.state_dict()
    state[broken][1] = {"generators": torch.zeros(7, dtype=torch.uint8), "streams": {"bit_generator": "none"}}[broken]
    with pytest.raises((RuntimeError, TypeError, ValueError)):
        env.load_state_dict(state)
    assert env.oracle.total == untouched.oracle.total
    (actions,) = actions_for(env, 1)
    np.testing.assert_equal(env.step(actions), untouched.step(actions))
    np.testing.assert_equal(env.reset(), untouched.reset())


def test_pickled_copy_plays_the_same() -> None:
    own = {"gate": "paper", "autoreset_mode": "next-step", "max_episode_steps": 4}
    env = ZOSamplingVectorEnv("quadratic", num_envs=3, learning_rate=0.01, **own, **BASE)
    for twin in (pickle.loads(pickle.dumps(env)), copy.deepcopy(env)):
        assert (twin.num_envs, twin.config.settings) == (3, env.config.settings)
        assert twin.autoreset_mode is env.autoreset_mode is AutoresetMode.NEXT_STEP
        np.testing.assert_equal(env.reset(seed=1), twin.reset(seed=1))
        for actions in actions_for(env, 5):
            np.testing.assert_equal(env.step(actions), twin.step(actions))


def test_rule_of_ones_own_is_used_by_every_row() -> None:
    still = UpdateRule(init=lambda x: (), propose=lambda state, x, fx, estimate: (x, state))
    env = ZOSamplingVectorEnv("quadratic", num_envs=3, update=still)
    first, _ = env.reset(seed=0)
    (actions,) = actions_for(env, 1)
    np.testing.assert_array_equal(env.step(actions)[0], first)
