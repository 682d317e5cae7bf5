"""Algorithm 2 of the paper on DDPG, TD3 and SAC, and actor-critics that are fitted to signed slopes."""
