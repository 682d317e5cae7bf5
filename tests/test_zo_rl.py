"""A trained policy as a method of `minimize`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from zo_gym.agents.policies.bundle import Policy, PolicyConfig, new_policy
from zo_gym.agents.policies.methods import policy_sampler, zo_rl
from zo_gym.directions import cosine
from zo_gym.files import write_json
from zo_gym.methods import added_methods, build
from zo_gym.minimize import minimize
from zo_gym.optimizer import Optimizer
from zo_gym.rng import make_generator
from zo_gym.updates import sgd

DIM = 10


def config(exploration: float = 0.0, observation_dim: int = DIM) -> PolicyConfig:
    settings = {"problem": "quadratic", "update": "adaptive", "learning_rate": 0.5}
    return PolicyConfig("ddpg", "mlp", DIM, observation_dim, None, exploration, settings)


def saved(folder: Path, policy: Policy) -> Path:
    from dataclasses import asdict

    from safetensors.torch import save_file

    folder.mkdir()
    save_file(policy.actor.state_dict(), folder / "weights.safetensors")
    write_json(folder / "config.json", asdict(policy.config))
    return folder


def test_the_direction_is_the_policys() -> None:
    policy = new_policy(config(), seed=0)
    x = torch.randn(3, DIM, generator=make_generator(1), dtype=torch.float64)
    sampler = policy_sampler(policy)
    directions, _ = sampler.sample(sampler.init(x), x, 1, [make_generator(s) for s in range(3)])
    wanted = torch.from_numpy(policy(x.float().numpy())).double()
    np.testing.assert_allclose(cosine(directions[:, 0], wanted), 1.0, atol=1e-6)  # the network's float32
    np.testing.assert_allclose(directions.norm(dim=-1), 1.0, rtol=1e-12)


def test_noise_has_the_length_it_was_trained_with() -> None:
    """cos(u, policy) averages about 1 / sqrt(1 + sigma^2): noise of length sigma, nearly orthogonal to the action."""
    policy = new_policy(config(exploration=2.0), seed=0)
    x = torch.zeros(1, DIM, dtype=torch.float64)
    sampler = policy_sampler(policy)
    directions, _ = sampler.sample((), x, 5000, [make_generator(0)])
    action = torch.from_numpy(policy(x.float().numpy())).double()
    mean = cosine(directions[0], action.expand(5000, DIM)).mean()
    assert abs(mean - 1 / 5**0.5) < 0.05  # the noise's own component along the action moves it by about 1 / d


def test_minimize_knows_it_by_name(tmp_path: Path) -> None:
    folder = saved(tmp_path / "policy", new_policy(config(exploration=2.0), seed=0))
    result = minimize("quadratic", method="zo-rl", weights=folder, budget=400, seed=0)
    assert result.nfev == 399
    assert result.fun < 0.5 * result.trace.fun[0]
    slower = minimize("quadratic", method="zo-rl", weights=folder, budget=400, seed=0, update="sgd", learning_rate=1e-4)
    assert slower.fun > result.fun
    assert Optimizer(np.zeros(DIM), method="zo-rl", weights=folder, seed=0).ask().shape == (1, DIM)
    run = minimize("quadratic", method="zo-rl", weights=tmp_path, budget=400, seed=0)  # the run's folder does, too
    assert run.fun == result.fun


def test_it_is_an_added_method() -> None:
    assert "zo-rl" in added_methods()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ValueError, "needs weights=.*python -m zo_gym.agents.train"),
        ({"weights": "nowhere"}, FileNotFoundError, "No policy in nowhere"),
        ({"weights": "nowhere", "sampler": "gaussian"}, TypeError, "unexpected keyword argument 'sampler'"),
        ({"weights": 3}, TypeError, "needs weights=, the folder of a run or policy, got 3"),
        ({"weights": "nowhere", "num_directions": 0}, ValueError, "num_directions must be >= 1, got 0"),
        ({"weights": "nowhere", "num_directions": "a"}, TypeError, "num_directions must be an integer >= 1, got 'a'"),
        ({"weights": "nowhere", "num_directions": 2.0}, TypeError, "num_directions must be an integer >= 1, got 2.0"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build("zo-rl", DIM, **options)


@pytest.mark.parametrize(
    ("update", "error", "message"),
    [
        (
            "update-rnn",
            ValueError,
            r"update 'update-rnn' needs trained weights, .* update=zo_gym\.updates\.update_rnn\(",
        ),
        ("sdg", ValueError, "Unknown update 'sdg'. Did you mean 'sgd'"),
        ("", ValueError, "Unknown update ''"),
        (3, TypeError, "update must be a name"),
    ],
)
def test_a_step_rule_that_cannot_step_is_refused(
    update: Any, error: type[Exception], message: str, tmp_path: Path
) -> None:
    folder = saved(tmp_path / "policy", new_policy(config(), seed=0))
    with pytest.raises(error, match=message):
        minimize("quadratic", method="zo-rl", weights=folder, budget=100, update=update)


def test_a_step_rule_may_be_given(tmp_path: Path) -> None:
    folder = saved(tmp_path / "policy", new_policy(config(), seed=0))
    given, named = (
        minimize("quadratic", method="zo-rl", weights=folder, budget=100, seed=0, **options)
        for options in ({"update": sgd(0.01)}, {"update": "sgd", "learning_rate": 0.01})
    )
    assert given.fun == named.fun
    with pytest.raises(ValueError, match="learning_rate is already inside the UpdateRule"):
        minimize("quadratic", method="zo-rl", weights=folder, budget=100, update=sgd(0.01), learning_rate=0.01)


def test_it_has_no_variants() -> None:
    with pytest.raises(ValueError, match=r"method 'zo-rl' has no variants, got 'foo'\. Pass weights= instead"):
        minimize("quadratic", method="zo-rl:foo", budget=100)


def test_a_policy_of_another_kind_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "policy", new_policy(config(), seed=0))
    with pytest.raises(ValueError, match="policy for d = 3, got one for 10"):
        zo_rl(3, weights=folder)
    with pytest.raises(ValueError, match="observes 31"):
        policy_sampler(new_policy(config(observation_dim=31), seed=0))


def test_a_typo_finds_added_methods_too() -> None:
    with pytest.raises(ValueError, match="Did you mean 'zo-rl'"):
        minimize("quadratic", method="zo-lr", budget=100)


def test_a_method_that_is_no_name_is_a_type_error() -> None:
    with pytest.raises(TypeError, match=r"method must be a name \(str\), got \['zo-sgd'\]"):
        build(["zo-sgd"], DIM)  # type: ignore[arg-type]
