"""Does the installed package work? Run it away from the checkout: `python -W error smoke.py`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import gymnasium as gym
import numpy as np

import agents
import zo_gym
from zo_gym.agents.policies.bundle import load_policy
from zo_gym.agents.train import TrainArgs, run_training


def check_that_it_is_installed() -> None:
    for package in (zo_gym, agents):
        place = Path(str(package.__file__)).resolve()
        assert "site-packages" in place.parts, f"{place} is not the installed package"
        assert (place.parent / "py.typed").is_file(), f"{place.parent} carries no types"


def check_the_environments() -> None:
    env = gym.make(zo_gym.ENV_ID)
    observation, info = env.reset(seed=0)
    assert info["queries"] == 1
    for _ in range(5):
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        assert np.isfinite(observation).all()
        assert np.isfinite(reward)
        assert not terminated
        assert not truncated
    assert info["queries"] == 11
    env.close()

    envs = gym.make_vec(zo_gym.ENV_ID, num_envs=3, problem="rosenbrock", problem_options={"dim": 4})
    observations, _ = envs.reset(seed=0)
    assert observations.shape == (3, 4)
    _, rewards, *_ = envs.step(np.ones((3, 4), np.float32))
    assert np.isfinite(rewards).all()
    envs.close()


def check_minimize() -> None:
    result = zo_gym.minimize(lambda x: float(((x - 1.0) ** 2).sum()), np.zeros(5), budget=500, seed=0)
    assert result.success
    assert result.nfev <= 500
    assert result.fun < 0.01


def check_training(logdir: Path) -> None:
    # A budget of more than 302 queries, so that the figure of cosines has a value at every point.
    run = TrainArgs(budget=400, total_queries=500, eval_seeds=1, progress=False, device="cpu", logdir=logdir)
    folder = run_training(run)
    assert (folder / "comparison.png").is_file()
    policy = load_policy(folder / "policy")
    directions = policy(np.zeros((2, policy.config.observation_dim), np.float32))
    assert directions.shape == (2, policy.config.dim)
    assert np.allclose(np.linalg.norm(directions, axis=1), 1.0, atol=1e-5)


if __name__ == "__main__":
    check_that_it_is_installed()
    check_the_environments()
    check_minimize()
    with tempfile.TemporaryDirectory() as place:
        check_training(Path(place))
    print("smoke test passed")
