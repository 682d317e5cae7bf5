"""Problems of several instances: rows of a batch on instances of their own, in the oracle and the environments."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

import zo_gym
from zo_gym import Oracle, Problem, ZOSamplingEnv, ZOSamplingVectorEnv, single_problem
from zo_gym.problem import Generators, repeated, with_starts
from zo_gym.problems import as_problem, as_single_problem
from zo_gym.rng import make_generator

CENTRES = torch.tensor([[0.0, 0.0], [1.0, 2.0], [-3.0, 0.5]], dtype=torch.float64)


def starts(instances: Tensor, generators: Generators) -> Tensor:
    """c_i + (1, 1), without noise."""
    return CENTRES[instances] + 1.0


def bowls() -> Problem:
    """f_i(x) = |x - c_i|^2, starts at c_i + (1, 1)."""
    return Problem(
        name="bowls",
        dim=2,
        size=3,
        fun=lambda points, instances: (points - CENTRES[instances][:, None, :]).square().sum(-1),
        initial=starts,
        gradient=lambda x, instances: 2.0 * (x - CENTRES[instances]),
        measure=lambda x, instances: {"distance": (x - CENTRES[instances]).norm(dim=1)},
    )


def rows(*values: int) -> Tensor:
    return torch.tensor(values)


def test_repeated_is_the_problem_from_several_starts() -> None:
    whole = zo_gym.make_problem("digits_attack[2]", dtype=torch.float64)
    fixed = torch.stack([whole.start(make_generator(seed)) for seed in (5, 6, 7)])
    three = with_starts(repeated(whole, 3), fixed)
    everyone = torch.arange(3)
    x = three.initial(everyone, [make_generator(0)] * 3)
    assert torch.equal(x, fixed)
    assert torch.equal(three.fun(x[:, None], everyone)[:, 0], whole.values(x))
    assert three.gradient is not None
    assert torch.equal(three.gradient(x, everyone), whole.gradients(x))
    assert three.composite is not None
    assert whole.composite is not None
    zeros = torch.zeros(3).long()
    assert torch.equal(three.composite.value(x[:, None], everyone), whole.composite.value(x[:, None], zeros))
    assert three.context is not None
    assert whole.context is not None
    assert torch.equal(three.context[1], whole.context[0])


def test_an_instance_is_a_problem_of_its_own() -> None:
    problem = bowls().instance(1)
    x = torch.tensor([[1.0, 2.0], [2.0, 2.0]], dtype=torch.float64)
    assert problem.values(x).tolist() == bowls().values(x, 1).tolist() == [0.0, 1.0]
    assert problem.gradients(x).tolist() == bowls().gradients(x, 1).tolist() == [[0.0, 0.0], [2.0, 0.0]]
    assert problem.start(make_generator(0)).tolist() == [2.0, 3.0]
    assert (problem.name, problem.size) == ("bowls[1]", 1)
    assert problem.instance(0) is problem


def test_a_subset_renumbers_its_instances() -> None:
    part = bowls().subset([2, 0])
    x = CENTRES[[2, 0]]
    assert part.size == 2
    assert part.fun(x[:, None, :], rows(0, 1)).tolist() == [[0.0], [0.0]]
    assert part.start(make_generator(0)).tolist() == [-2.0, 1.5]
    assert part.gradient is not None
    assert part.measure is not None
    assert part.gradient(x, rows(0, 1)).abs().max() == 0
    assert part.measure(x + 1.0, rows(0, 1))["distance"].tolist() == pytest.approx([2**0.5, 2**0.5])
    assert part.subset([1]).values(CENTRES[:1]).item() == 0.0


@pytest.mark.parametrize(("instances", "message"), [([], "from 0 to 2"), ([3], "from 0 to 2"), ([-1], ">= 0")])
def test_a_subset_of_what_does_not_exist_is_refused(instances: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bowls().subset(instances)


def test_an_instance_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"instance must be < 3, the size of 'bowls', got 3\. Choose a smaller one"):
        bowls().instance(3)
    with pytest.raises(TypeError, match=r"instance must be an integer >= 0, got 1\.0"):
        bowls().instance(1.0)  # type: ignore[arg-type]


def test_the_oracle_gives_every_row_its_own_function() -> None:
    oracle = Oracle(bowls(), 4)  # row 3 faces instance 0 again
    origin = torch.zeros(4, 1, 2, dtype=torch.float64)
    assert oracle(origin)[:, 0].tolist() == [0.0, 5.0, 9.25, 0.0]
    assert oracle(origin[:2], np.array([2, 1]))[:, 0].tolist() == [9.25, 5.0]
    assert oracle.queries.tolist() == [1, 2, 2, 1]


def test_a_retry_asks_the_same_instance_again() -> None:
    calls: list[list[int]] = []

    def flaky(points: Tensor, instances: Tensor) -> Tensor:
        calls.append(instances.tolist())
        values = bowls().fun(points, instances)
        return values if len(calls) > 1 else torch.where(instances[:, None] == 1, torch.nan, values)

    values = Oracle(Problem("flaky", 2, flaky, starts, 3), 3, on_failure="retry")(
        torch.zeros(3, 1, 2, dtype=torch.float64)
    )
    assert values[:, 0].tolist() == [0.0, 5.0, 9.25]
    assert calls == [[0, 1, 2], [1]]


def test_a_wrong_shape_is_explained() -> None:
    flat = Problem("flat", 2, lambda points, instances: points.sum((1, 2)), starts, 3)
    with pytest.raises(zo_gym.ObjectiveError, match=r"one value per point, shape \(3, 4\) for points \(3, 4, 2\)"):
        Oracle(flat, 3)(torch.zeros(3, 4, 2, dtype=torch.float64))


def test_reset_chooses_the_instance() -> None:
    env = ZOSamplingEnv(bowls(), budget=20)
    x, info = env.reset(seed=0, options={"instance": 2})
    assert x.tolist() == [-2.0, 1.5]
    assert info["instance"] == 2
    assert info["f"] == 2.0


def test_without_a_choice_every_instance_comes_up_and_the_seed_decides() -> None:
    env = ZOSamplingEnv(bowls(), budget=20)
    drawn = [env.reset(seed=seed)[1]["instance"] for seed in range(30)]
    assert set(drawn) == {0, 1, 2}  # each is missed with chance (2/3)^30 = 5e-6
    assert drawn == [env.reset(seed=seed)[1]["instance"] for seed in range(30)]


def test_rows_of_the_batched_environment_equal_the_scalar_one() -> None:
    batch = ZOSamplingVectorEnv(bowls(), num_envs=4, budget=9, diagnostics=True)
    observations, infos = batch.reset(seed=5)
    singles = [ZOSamplingEnv(bowls(), budget=9, diagnostics=True) for _ in range(4)]
    for row, env in enumerate(singles):
        x, info = env.reset(seed=5 + row)
        assert (x == observations[row]).all()
        assert info["instance"] == infos["instance"][row]
    actions = np.random.default_rng(0).uniform(-1, 1, (3, 4, 2)).astype(np.float32)
    for action in actions:
        observations, rewards, _, _, infos = batch.step(action)
        for row, env in enumerate(singles):
            x, reward, _, _, info = env.step(action[row])
            assert (x == observations[row]).all()
            assert reward == rewards[row]
            assert info["cosine"] == infos["cosine"][row]


def test_a_row_that_starts_anew_draws_an_instance_and_its_start() -> None:
    env = ZOSamplingVectorEnv(bowls(), num_envs=3, budget=3)
    env.reset(seed=0, options={"instance": [0, 1, 2]})
    seen = set()
    for _ in range(30):
        observations, _, _, truncated, info = env.step(np.ones((3, 2), dtype=np.float32))
        assert truncated.all()
        np.testing.assert_allclose(observations, CENTRES[info["instance"]] + 1.0)
        seen |= set(info["instance"].tolist())
    assert seen == {0, 1, 2}


def test_the_state_remembers_the_instances() -> None:
    env = ZOSamplingVectorEnv(bowls(), num_envs=3, budget=50)
    env.reset(seed=0, options={"instance": [2, 2, 1]})
    state = env.state_dict()
    other = ZOSamplingVectorEnv(bowls(), num_envs=3, budget=50)
    other.reset(seed=9)
    other.load_state_dict(state)
    action = np.ones((3, 2), dtype=np.float32)
    for mine, theirs in zip(env.step(action)[:4], other.step(action)[:4], strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    ("problem", "options", "message"),
    [
        ("quadratic", {"instance": 0}, "'instance' is for problems with several; 'quadratic' has one. Drop it"),
        (bowls(), {"instance": 3}, r"from 0 to 2.*got 3"),
        (bowls(), {"instance": 0.5}, r"integer.*got 0\.5"),
        (bowls(), {"instance": [0, 1]}, r"1 integer.*got \[0, 1\]"),
    ],
)
def test_a_wrong_instance_is_refused(problem: str | Problem, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ZOSamplingEnv(problem).reset(options=options)


def test_x0_replaces_the_start_of_every_instance() -> None:
    env = gym.make("ZOSampling-v0", problem=bowls(), x0=[0.5, -0.5])
    for instance in range(3):
        assert env.reset(seed=0, options={"instance": instance})[0].tolist() == [0.5, -0.5]


def test_a_name_means_all_instances_unless_it_names_one_image() -> None:
    assert as_problem("digits_attack").size == 50
    one = as_problem("digits_attack[1]")
    assert (one.name, one.size) == ("digits_attack[1]", 1)
    with pytest.raises(ValueError, match=r"'digits_attack' with 50 instances.*e\.g\. 'digits_attack\[0\]'"):
        as_single_problem("digits_attack")


def test_a_problem_of_one_instance_draws_no_instance_number() -> None:
    """The first number of the episode's generator is the start's own."""

    def first_draw(problem: Problem) -> float:
        env = ZOSamplingEnv(problem)
        return float(env.reset(seed=3)[0][0])

    def fun(points: Tensor) -> Tensor:
        return points.square().sum(1)

    def initial(generator: torch.Generator) -> Tensor:
        return torch.rand(1, generator=generator, dtype=torch.float64)

    lone = single_problem("lone", 1, fun, initial)
    env = ZOSamplingEnv(lone)
    _, info = env.reset(seed=3)
    assert "instance" not in info
    reseeded = make_generator(int(np.random.Generator(np.random.PCG64(np.random.SeedSequence(3))).integers(2**63 - 1)))
    assert env.x[0] == initial(reseeded).item()
    assert first_draw(repeated(lone, 2)) != first_draw(lone)  # there, an instance is drawn first


def test_the_picture_of_an_episode_is_of_its_instance() -> None:
    env = ZOSamplingEnv(bowls(), render_mode="ansi", budget=20)
    env.reset(seed=0, options={"instance": 1})
    env.step(np.ones(2, dtype=np.float32))
    assert "bowls[1]" in env.render()
