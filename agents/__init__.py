"""Reinforcement-learning agents for `zo_gym`: DDPG, TD3 and SAC from Stable-Baselines3, their training and evaluation.

`train` and `evaluate` are the commands. `arguments` and `presets` say what to train, `build` makes environment and
agent, and `compare` measures the result. The import path is `zo_gym.agents`, installed and in a checkout.
"""
