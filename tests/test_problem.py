"""Families of problems: rows of a batch on instances of their own, in the oracle and the environments."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

import zo_gym
from zo_gym.base import Family
from zo_gym.envs.env import ZOSamplingEnv
from zo_gym.family import copies, gradient_of, member, subset, with_starts
from zo_gym.oracle import Oracle
from zo_gym.problems.resolve import as_problem_or_family
from zo_gym.rng import make_generator
from zo_gym.envs.vector_env import ZOSamplingVectorEnv

CENTRES = torch.tensor([[0.0, 0.0], [1.0, 2.0], [-3.0, 0.5]], dtype=torch.float64)


def bowls() -> Family:
    """f_i(x) = |x - c_i|^2, starts at c_i + (1, 1)."""
    return Family(
        name="bowls",
        dim=2,
        size=3,
        fun=lambda points, instances: (points - CENTRES[instances][:, None, :]).square().sum(-1),
        initial=lambda instance, generator: CENTRES[instance] + 1.0,
        gradient=lambda x, instances: 2.0 * (x - CENTRES[instances]),
        measure=lambda x, instances: {"distance": (x - CENTRES[instances]).norm(dim=1)},
    )


def rows(*values: int) -> Tensor:
    return torch.tensor(values)


def test_copies_are_the_problem_from_several_starts() -> None:
    whole = zo_gym.make_problem("digits_attack", image=2)
    family = with_starts(copies(whole, 3), [whole.initial(make_generator(seed)) for seed in (5, 6, 7)])
    x = torch.stack([family.initial(i, make_generator(0)) for i in range(3)])
    assert torch.equal(x[2], whole.initial(make_generator(7)))
    everyone = torch.arange(3)
    assert torch.equal(family.fun(x[:, None], everyone)[:, 0], whole.fun(x))
    assert family.gradient is not None
    assert whole.gradient is not None
    assert torch.equal(family.gradient(x, everyone), whole.gradient(x))
    assert family.known is not None
    assert whole.known is not None
    assert torch.equal(family.known.value(x[:, None], everyone), whole.known.value(x[:, None], torch.zeros(3).long()))
    assert family.context is not None
    assert whole.context is not None
    assert torch.equal(family.context[1], whole.context)


def test_a_member_is_its_instance() -> None:
    problem = member(bowls(), 1)
    x = torch.tensor([[1.0, 2.0], [2.0, 2.0]], dtype=torch.float64)
    assert problem.fun(x).tolist() == [0.0, 1.0]
    assert problem.gradient is not None
    assert problem.gradient(x).tolist() == [[0.0, 0.0], [2.0, 0.0]]
    assert problem.initial(make_generator(0)).tolist() == [2.0, 3.0]
    assert problem.name == "bowls[1]"


def test_a_subset_renumbers_its_instances() -> None:
    part = subset(bowls(), [2, 0])
    x = CENTRES[[2, 0]]
    assert part.size == 2
    assert part.fun(x[:, None, :], rows(0, 1)).tolist() == [[0.0], [0.0]]
    assert part.initial(0, make_generator(0)).tolist() == [-2.0, 1.5]
    assert part.gradient is not None
    assert part.measure is not None
    assert part.gradient(x, rows(0, 1)).abs().max() == 0
    assert part.measure(x + 1.0, rows(0, 1))["distance"].tolist() == pytest.approx([2**0.5, 2**0.5])
    assert subset(part, [1]).fun(CENTRES[:1, None, :], rows(0)).item() == 0.0


@pytest.mark.parametrize(("instances", "message"), [([], "from 0 to 2"), ([3], "from 0 to 2"), ([-1], ">= 0")])
def test_a_subset_of_what_does_not_exist_is_refused(instances: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        subset(bowls(), instances)


def test_a_member_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"instance must be < 3.*got 3"):
        member(bowls(), 3)


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

    family = Family("flaky", 2, 3, flaky, bowls().initial)
    values = Oracle(family, 3, on_failure="retry")(torch.zeros(3, 1, 2, dtype=torch.float64))
    assert values[:, 0].tolist() == [0.0, 5.0, 9.25]
    assert calls == [[0, 1, 2], [1]]


def test_a_wrong_shape_is_explained() -> None:
    family = Family("flat", 2, 3, lambda points, instances: points.sum((1, 2)), bowls().initial)
    with pytest.raises(zo_gym.ObjectiveError, match=r"one value per point, shape \(3, 4\) for points \(3, 4, 2\)"):
        Oracle(family, 3)(torch.zeros(3, 4, 2, dtype=torch.float64))


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
        ("quadratic", {"instance": 0}, "'quadratic' is one problem"),
        (bowls(), {"instance": 3}, r"from 0 to 2.*got 3"),
        (bowls(), {"instance": 0.5}, r"integer.*got 0\.5"),
        (bowls(), {"instance": [0, 1]}, r"1 integer.*got \[0, 1\]"),
    ],
)
def test_a_wrong_instance_is_refused(problem: str | Family, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ZOSamplingEnv(problem).reset(options=options)


def test_a_family_has_its_own_starts() -> None:
    with pytest.raises(TypeError, match=r"drop x0="):
        gym.make("ZOSampling-v0", problem=bowls(), x0=[0.0, 0.0])


def test_a_name_means_the_family_unless_one_image_is_asked_for() -> None:
    assert isinstance(as_problem_or_family("digits_attack"), Family)
    assert as_problem_or_family("digits_attack", options={"image": 1}).name == "digits_attack[1]"


def test_the_gradient_of_a_problem_ignores_instances() -> None:
    x = torch.ones(2, 2, dtype=torch.float64)
    assert gradient_of(bowls(), x, rows(0, 1)).tolist() == [[2.0, 2.0], [0.0, -2.0]]  # type: ignore[union-attr]
    assert gradient_of(member(bowls(), 0), x, rows(7, 7)).tolist() == [[2.0, 2.0]] * 2  # type: ignore[union-attr]
    assert gradient_of(Family("dark", 2, 1, bowls().fun, bowls().initial), x, rows(0, 0)) is None


def test_the_picture_of_an_episode_is_of_its_instance() -> None:
    env = ZOSamplingEnv(bowls(), render_mode="ansi", budget=20)
    env.reset(seed=0, options={"instance": 1})
    env.step(np.ones(2, dtype=np.float32))
    assert "bowls[1]" in env.render()
