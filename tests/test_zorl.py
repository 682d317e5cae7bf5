"""Algorithm 2 on SB3's own loops: what is stored, what is followed, what rho is and what each phase costs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from zo_gym import Problem, ZOSamplingVectorEnv, single_problem
from zo_gym.agents.algorithms.zorl import DirectionNoise
from zo_gym.agents.build import AGENTS, build_agent
from zo_gym.agents.presets import PRESETS
from zo_gym.agents.sb3.vec_env import GymVecEnv
from zo_gym.gate import perfect_rho

D, Q, MU, ETA = 3, 20, 0.01, 0.05


@dataclass
class Calls:
    """Every call of f: points (m, d) and values (m,)."""

    points: list[np.ndarray] = field(default_factory=list)
    values: list[np.ndarray] = field(default_factory=list)

    def problem(self, dim: int = D) -> Problem:
        """An ill-conditioned quadratic that records its calls; starts ~ N(0, I) away from the minimum at 1."""
        weights = torch.linspace(1.0, 3.0, dim, dtype=torch.float64)

        def fun(x: torch.Tensor) -> torch.Tensor:
            values = (weights * (x - 1.0).square()).sum(-1)
            self.points.append(x.numpy().copy())
            self.values.append(values.numpy().copy())
            return values

        return single_problem(
            "recorded",
            dim,
            fun=fun,
            initial=lambda generator: torch.randn(dim, generator=generator, dtype=torch.float64),
            gradient=lambda x: 2.0 * weights * (x - 1.0),
        )

    @property
    def sizes(self) -> list[int]:
        """Points per call."""
        return [len(points) for points in self.points]


@dataclass
class Step:
    """One step of one row, worked out from nothing but the calls of f."""

    queries: int
    moved_along: np.ndarray
    """g / |g| behind a shut gate, the policy's unit direction through an open one."""
    rho: float


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def read_steps(calls: Calls) -> list[Step]:
    """Eq. 1, 2 and 3 by hand, from a single episode of a single row."""
    x, fx = calls.points[0][0], calls.values[0][0]
    steps = []
    for probing, moving in zip(range(1, len(calls.points), 2), range(2, len(calls.points), 2), strict=True):
        directions = (calls.points[probing] - x) / MU
        slopes = (calls.values[probing] - fx) / MU
        queries = len(directions) + len(calls.points[moving])
        if len(directions) == 1:
            steps.append(Step(queries, directions[0], math.nan))
        else:
            g = (slopes[:Q, None] * directions[:Q]).mean(0)  # (eq. 1)
            policy = slopes[Q] * directions[Q]  # (eq. 2)
            steps.append(Step(queries, g / np.linalg.norm(g), cosine(g, policy)))  # (eq. 3)
        x, fx = calls.points[moving][0], calls.values[moving][0]
    return steps


class Reports(BaseCallback):
    """Keeps what the environment reported and what the agent did."""

    def __init__(self) -> None:
        super().__init__()
        self.infos: list[dict[str, Any]] = []
        self.actions: list[np.ndarray] = []

    def _on_step(self) -> bool:
        self.infos.append(self.locals["infos"][0])
        self.actions.append(self.locals["actions"][0].copy())
        return True


def train(
    algo: str, calls: Calls, steps: int, *, network: str = "mlp", **settings: Any
) -> tuple[OffPolicyAlgorithm, Reports]:
    """An agent after so many steps of one row; updates begin at step 10."""
    options = {"gate": "paper", "gate_threshold": 0.5, "learning_rate": ETA, "num_directions": Q, "smoothing": MU}
    env = GymVecEnv(ZOSamplingVectorEnv(calls.problem(), num_envs=1, budget=10_000, **{**options, **settings}))
    preset = replace(PRESETS["default"], network=network, batch_size=8)
    agent = build_agent(algo, env, preset, shape=None, seed=4, device="cpu", buffer_size=1000)
    agent.learning_starts = 10
    reports = Reports()
    agent.learn(steps, callback=reports)
    return agent, reports


def stored_actions(agent: OffPolicyAlgorithm) -> np.ndarray:
    assert agent.replay_buffer is not None
    return agent.replay_buffer.actions[: agent.replay_buffer.size(), 0]


@pytest.mark.parametrize("algo", sorted(AGENTS))
def test_behind_a_shut_gate_the_stored_action_is_the_direction_of_the_random_estimate(algo: str) -> None:
    calls = Calls()
    agent, reports = train(algo, calls, 15, gate_threshold=2.0)  # a cosine never reaches 2
    steps = read_steps(calls)
    assert len(steps) == 15
    assert not any(info["gate_open"] for info in reports.infos)
    # Points are rounded to 1e-16 and divided by mu: 1e-14; the replay buffer holds float32: 1e-7.
    np.testing.assert_allclose(stored_actions(agent), [s.moved_along for s in steps], atol=1e-6)
    assert np.abs(stored_actions(agent) - reports.actions).max() > 0.1  # and not what the actor proposed


@pytest.mark.parametrize("algo", sorted(AGENTS))
def test_behind_an_open_gate_the_stored_action_is_the_policys_own_unit_direction(algo: str) -> None:
    calls = Calls()
    agent, reports = train(algo, calls, 15, gate_threshold=-1.0)  # a cosine is never below -1: open after one look
    steps, proposed = read_steps(calls), np.stack(reports.actions)
    assert [math.isnan(s.rho) for s in steps] == [False] + [True] * 14
    expected = proposed / np.linalg.norm(proposed, axis=1, keepdims=True)
    np.testing.assert_allclose(stored_actions(agent)[1:], expected[1:], atol=1e-6)
    np.testing.assert_allclose([s.moved_along for s in steps][1:], expected[1:], atol=1e-6)  # what f really saw


@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_the_gate_opens_at_the_step_where_eq_3_reaches_the_threshold(network: str) -> None:
    calls = Calls()
    agent, reports = train("ddpg", calls, 40, network=network, gate_threshold=0.7)
    steps = read_steps(calls)
    looked = [s.rho for s in steps if not math.isnan(s.rho)]
    opened_at = next(index for index, rho in enumerate(looked) if rho >= 0.7)
    assert 0 < opened_at == len(looked) - 1 < 39  # it looked until then, and never again (a latch)
    np.testing.assert_allclose([info["rho"] for info in reports.infos][: len(looked)], looked, rtol=1e-9)
    assert all(math.isnan(info["rho"]) for info in reports.infos[len(looked) :])
    assert [info["gate_open"] for info in reports.infos] == [index >= opened_at for index in range(40)]
    np.testing.assert_allclose(stored_actions(agent), [s.moved_along for s in steps], atol=1e-5)


def test_a_step_costs_22_queries_while_the_gate_is_shut_and_2_once_it_is_open() -> None:
    calls = Calls()
    agent, reports = train("ddpg", calls, 40, gate_threshold=0.7)
    steps = read_steps(calls)
    assert calls.sizes[0] == 1  # f(x_0)
    assert {s.queries for s in steps if not math.isnan(s.rho)} == {Q + 2}
    assert {s.queries for s in steps if math.isnan(s.rho)} == {2}
    spent = 1 + np.cumsum([s.queries for s in steps])
    assert [info["queries"] for info in reports.infos] == spent.tolist()
    assert agent.env.get_attr("oracle")[0].total == spent[-1] == sum(calls.sizes)


def test_without_a_gate_every_step_follows_the_policy_and_stores_its_action() -> None:
    calls = Calls()
    agent, reports = train("ddpg", calls, 15, gate="open")
    assert set(calls.sizes) == {1}
    assert "rho" not in reports.infos[0]
    np.testing.assert_allclose(stored_actions(agent), np.stack(reports.actions), atol=1e-6)


def test_rewards_and_observations_are_those_of_the_move_that_x_made() -> None:
    """Line 15 stores (x_k, u, r, x_{k+1}) of one and the same move, in both phases."""
    calls = Calls()
    agent, _ = train("ddpg", calls, 40, gate_threshold=0.7)
    buffer = agent.replay_buffer
    assert buffer is not None
    places, values = [p[0] for p in calls.points[::2]], [v[0] for v in calls.values[::2]]
    np.testing.assert_allclose(buffer.observations[:40, 0], places[:-1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(buffer.next_observations[:40, 0], places[1:], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(buffer.rewards[:40, 0], -np.diff(values), rtol=1e-4, atol=1e-6)
    moves, actions = np.diff(places, axis=0), stored_actions(agent)
    length = np.linalg.norm(moves, axis=1)
    alignment = np.abs((moves * actions).sum(1))
    np.testing.assert_allclose(alignment, length, rtol=1e-4, atol=1e-9)  # x moved along +- the stored action


def test_each_row_stores_its_own_direction_when_some_gates_are_open_and_some_shut() -> None:
    calls = Calls()
    env = GymVecEnv(
        ZOSamplingVectorEnv(
            calls.problem(), num_envs=4, budget=10_000, gate="paper", gate_threshold=0.7, num_directions=Q
        )
    )
    agent = build_agent("ddpg", env, PRESETS["default"], shape=None, seed=1, device="cpu", buffer_size=1000)

    class Keep(BaseCallback):
        def __init__(self) -> None:
            super().__init__()
            self.rows: list[list[np.ndarray]] = []
            self.shut: list[np.ndarray] = []

        def _on_step(self) -> bool:
            self.rows.append([info["direction"] for info in self.locals["infos"]])
            self.shut.append(np.array([not math.isnan(info["rho"]) for info in self.locals["infos"]]))
            return True

    keep = Keep()
    agent.learn(4 * 12, callback=keep)
    assert any(0 < shut.sum() < 4 for shut in keep.shut)  # mixed batches did occur
    assert agent.replay_buffer is not None
    np.testing.assert_array_equal(agent.replay_buffer.actions[:12], np.array(keep.rows))


def scripted(gate: str, threshold: float, actions: list[str], **settings: Any) -> tuple[list[bool], list[float]]:
    """Gate states and rho of one row that is steered along the true gradient ("g") or across it ("x")."""
    calls = Calls()
    problem = calls.problem()
    env = ZOSamplingVectorEnv(
        problem, num_envs=1, budget=100_000, gate=gate, gate_threshold=threshold, learning_rate=1e-4, **settings
    )
    _, info = env.reset(seed=3)
    states, rhos = [bool(info["gate_open"][0])], []
    assert problem.gradient is not None
    for action in actions:
        x = calls.points[-1][-1:]
        g = problem.gradients(torch.from_numpy(x)).numpy()[0]
        # Slightly off the tangent plane, so that the probe's slope is not 0 but its cosine is.
        across = np.cross(g, [1.0, 0.0, 0.0]) + 0.02 * g
        *_, info = env.step((g if action == "g" else across)[None].astype(np.float32))
        states.append(bool(info["gate_open"][0]))
        rhos.append(float(info["rho"][0]))
    return states, rhos


@pytest.mark.parametrize("gate", ["paper", "calibrated"])
def test_a_latch_stays_open_whatever_the_policy_does_later(gate: str) -> None:
    states, rhos = scripted(gate, 0.5, ["g"] + ["x"] * 120)
    assert states == [False] + [True] * 121
    assert all(math.isnan(rho) for rho in rhos[1:])  # never measured again: 2 queries a step


def test_the_hysteresis_gate_shuts_again_where_the_policy_stopped_helping() -> None:
    states, rhos = scripted("hysteresis", 0.5, ["g"] * 5 + ["x"] * 120)
    opened = states.index(True)
    assert opened > 0
    looks = [index for index, rho in enumerate(rhos) if not math.isnan(rho)]
    first_look = next(index for index in looks if index > 5)
    assert not all(states[opened:])
    last_open = max(index for index, state in enumerate(states) if state)
    assert last_open <= first_look + 2 * 51  # looks come every 50 policy steps; two bad ones halve the mean twice
    assert not any(states[last_open + 1 :])


def test_the_hysteresis_gate_stays_open_for_a_policy_that_goes_on_helping() -> None:
    states, rhos = scripted("hysteresis", 0.5, ["g"] * 160)
    opened = states.index(True)
    looks = [index for index, rho in enumerate(rhos) if not math.isnan(rho) and index >= opened]
    # 50 policy steps, a look that leaves the trust untouched, 50 policy steps, ...
    assert np.diff(looks).tolist() == [51] * (len(looks) - 1)
    assert len(looks) >= 2
    assert states[opened:].count(False) == len(looks) or states[opened:].count(False) == len(looks) + 1


def test_the_calibrated_threshold_is_a_fraction_of_what_the_true_gradient_scores() -> None:
    """FACTS.md: the true direction scores about sqrt(q / (q + d + 1)); q = 1 at d = 3 gives 0.45."""
    perfect = perfect_rho(D, 1)
    assert perfect == pytest.approx(math.sqrt(1 / 5))
    for share in (0.5, 1.0, 1.9):
        states, rhos = scripted("calibrated", share, ["g"] * 60, num_directions=1)
        looked = [rho for rho in rhos if not math.isnan(rho)]
        assert max(looked) >= share * perfect > max([*looked[:-1], -1.0])
        assert states.index(True) == len(looked)
    # 2.5 / sqrt(5) > 1: out of reach.
    assert not any(scripted("calibrated", 2.5, ["g"] * 30, num_directions=1)[0])


@pytest.mark.parametrize("sigma", [0.5, 1.5, math.sqrt(40)])
def test_direction_noise_has_the_length_it_names(sigma: float) -> None:
    noise = DirectionNoise(sigma, 40, np.random.default_rng(0), rows=4)
    draws = np.concatenate([noise() for _ in range(1000)])
    assert draws.dtype == np.float32
    # E|n|^2 = sigma^2. Its relative deviation over n draws is sqrt(2 / (n d)) = 0.0035: 5 of them.
    assert (draws**2).sum(1).mean() == pytest.approx(sigma**2, rel=0.018)
    # Each coordinate ~ N(0, sigma^2 / d); a mean of 4000 deviates by 1 / sqrt(4000) = 0.016: 5 of them.
    assert np.abs(draws.mean(0) / (sigma / math.sqrt(40))).max() < 0.08


def test_rows_of_direction_noise_are_independent_and_repeatable() -> None:
    def rows(seed: int) -> np.ndarray:
        noise = DirectionNoise(1.0, 6, np.random.default_rng(seed), rows=3)
        return np.stack([noise() for _ in range(1000)])  # (1000, 3, 6)

    draws = rows(0)
    correlation = np.corrcoef(draws.transpose(1, 0, 2).reshape(3, -1))
    # 6000 independent pairs: a correlation deviates by 1 / sqrt(6000) = 0.013; 5 of them.
    assert np.abs(correlation - np.eye(3)).max() < 0.065
    assert np.array_equal(draws, rows(0))
    assert not np.array_equal(draws, rows(1))


@pytest.mark.parametrize("algo", sorted(AGENTS))
def test_the_same_seed_trains_the_same_agent(algo: str) -> None:
    def weights() -> list[torch.Tensor]:
        agent, _ = train(algo, Calls(), 20, gate_threshold=0.7)
        return list(agent.policy.state_dict().values())

    first, second = weights(), weights()
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_smoothing_noise_of_td3_is_scaled_to_a_unit_action() -> None:
    """TD3's 0.2 per coordinate would have length 0.2 sqrt(d) beside an action of length 1."""
    env = GymVecEnv(ZOSamplingVectorEnv("quadratic", problem_options={"dim": 16}, num_envs=1))
    agent: Any = build_agent("td3", env, PRESETS["default"], shape=None, seed=0, device="cpu", buffer_size=10)
    assert agent.target_policy_noise == pytest.approx(0.05)
    assert agent.target_noise_clip == pytest.approx(0.125)


def test_the_papers_preset_explores_with_standard_normal_noise() -> None:
    env = GymVecEnv(ZOSamplingVectorEnv("quadratic", problem_options={"dim": 16}, num_envs=1))
    agent = build_agent("ddpg", env, PRESETS["paper"], shape=None, seed=0, device="cpu", buffer_size=10)
    assert isinstance(agent.action_noise, DirectionNoise)
    assert agent.action_noise.sigma == pytest.approx(4.0)  # sqrt(16): N(0, I)
    assert (PRESETS["paper"].gate, PRESETS["paper"].network, PRESETS["paper"].gamma) == ("paper", "cnn", 0.99)
