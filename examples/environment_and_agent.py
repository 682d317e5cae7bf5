"""An agent that learns which directions to probe while it descends."""

import gymnasium as gym
import numpy as np

import zo_gym
from zo_gym.agents.build import build_agent
from zo_gym.agents.presets import DIRECTIONAL_PRESETS
from zo_gym.agents.sb3.callbacks import Trajectory
from zo_gym.agents.sb3.vec_env import GymVecEnv

# An ellipsoid of condition 1e6. A step costs two queries, reset costs one. The update
# "adaptive" keeps a move only if f falls, so no step size has to be tuned.
OPTIONS = {
    "problem": "ellipsoid",
    "problem_options": {"dim": 10},
    "update": "adaptive",
    "budget": 300,
}
STEPS = (OPTIONS["budget"] - 1) // 2


def learn_while_descending(seed):
    """Run one episode of an agent that starts untrained and fits its critic to slopes."""
    # GymVecEnv is what Stable-Baselines3 trains on; any of its agents takes it.
    env = GymVecEnv(gym.make_vec(zo_gym.ENV_ID, num_envs=1, **OPTIONS))
    env.seed(seed)
    agent = build_agent(
        "ddpg",
        env,
        DIRECTIONAL_PRESETS["online"],
        shape=None,
        seed=seed,
        device="cpu",
        buffer_size=STEPS,
    )
    trajectory = Trajectory()  # keeps queries and best f of every step
    agent.learn(STEPS, callback=trajectory)
    return trajectory.best[-1], trajectory.queries[-1]


def follow_random_directions(seed):
    """Run the same episode with random actions: the control."""
    env = gym.make(zo_gym.ENV_ID, **OPTIONS)
    _, info = env.reset(seed=seed)
    rng, ended = np.random.default_rng(seed), False
    while not ended:
        action = rng.standard_normal(10).clip(-1, 1).astype(np.float32)
        _, _, terminated, truncated, info = env.step(action)
        ended = terminated or truncated
    return info["best_f"], info["queries"]


# Two seeds show how it is done. How good it is, docs/experiments says.
for run in (learn_while_descending, follow_random_directions):
    for seed in range(2):
        best, queries = run(seed)
        print(f"{run.__name__:24}  seed {seed}: f {best:9,.0f} after {queries} queries")
