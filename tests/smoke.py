"""Check the installed package, away from the checkout: `python -W error smoke.py`.

Without the extra "agents" it checks what needs no extra, and that the rest names the extra.
"""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path

import gymnasium as gym
import numpy as np

import zo_gym

AGENTS = find_spec("stable_baselines3") is not None


def check_that_it_is_installed() -> None:
    place = Path(zo_gym.__file__).resolve()
    assert "site-packages" in place.parts, f"{place} is not the installed package"
    assert (place.parent / "py.typed").is_file(), f"{place.parent} carries no types"
    for name in ("agents", "benchmarks", "tests"):
        assert find_spec(name) is None, f"the package installs a top-level {name}"


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
    for method in ("gp-tr", "rand-ada", "zo-sgd", "l-bfgs-b"):
        result = zo_gym.minimize(
            lambda x: float(((x - 1.0) ** 2).sum()), np.zeros(5), method=method, budget=500, seed=0
        )
        assert result.success
        assert result.nfev <= 500
        assert result.fun < 0.01, f"{method} stopped at {result.fun}"


def check_that_agents_name_their_extra() -> None:
    message = ""
    try:
        zo_gym.minimize("quadratic", method="pretrained:digits-attack")
    except ImportError as error:
        message = str(error)
    assert "pip install 'zo-gym[agents]'" in message, message or "it worked without Stable-Baselines3"


def check_a_pretrained_policy() -> None:
    result = zo_gym.minimize("digits_attack[0]", method="pretrained:digits-attack", budget=200, seed=0)
    assert result.nfev <= 200
    assert result.fun < 0.9 * result.trace.fun[0], f"{result.fun} after {result.trace.fun[0]}"


def check_training(logdir: Path) -> None:
    from zo_gym.agents.policies.bundle import load_policy
    from zo_gym.agents.train import TrainArgs, run_training

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
    if AGENTS:
        check_a_pretrained_policy()
        with tempfile.TemporaryDirectory() as place:
            check_training(Path(place))
    else:
        check_that_agents_name_their_extra()
    print(f"smoke test passed {'with' if AGENTS else 'without'} the extra agents")
