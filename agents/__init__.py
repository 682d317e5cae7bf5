"""Reinforcement-learning agents for `zo_gym`: DDPG, TD3 and SAC from Stable-Baselines3, training and evaluation."""
