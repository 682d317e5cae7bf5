"""Reinforcement-learning agents for `zo_gym`: DDPG, TD3 and SAC from Stable-Baselines3, their training and evaluation.

`train` and `evaluate` are the commands. `arguments` and `presets` hold what is trained, `build` makes environment and
agent, and `compare` measures the result. The import path is `zo_gym.agents`, installed and in a checkout.
"""

from importlib.util import find_spec

for _library in ("stable_baselines3", "tensorboard", "matplotlib", "rich", "tqdm", "tyro"):
    if find_spec(_library) is None:
        raise ModuleNotFoundError(
            f"zo_gym.agents needs {_library}. Install it: pip install 'zo-gym[agents]'.", name=_library
        )
