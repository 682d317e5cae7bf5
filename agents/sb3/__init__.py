"""Parts for Stable-Baselines3: vector environment, reward scale, replay buffer, callbacks, checkpoints."""
