"""The table of every metric that training logs: name, unit and meaning. No other name is logged."""

from __future__ import annotations

from typing import NamedTuple


class Metric(NamedTuple):
    """One line of the table; `name` is that in the log, "group/metric"."""

    name: str
    unit: str
    meaning: str


METRICS: tuple[Metric, ...] = (
    Metric("zo/f", "f", "f at the iterate, mean over rows and over the steps since the last entry"),
    Metric("zo/best_f", "f", "least f at any iterate of the running episode, mean over rows"),
    Metric("zo/queries", "queries", "queries spent in the running episode, mean over rows"),
    Metric("zo/total_queries", "queries", "queries spent since training began, all rows and episodes, all phases"),
    Metric("zo/slope", "f / x", "size of the measured slope along the direction that x moved, mean"),
    Metric("zo/cosine", "-1 to 1", "cosine of g and the true gradient, every 10th step; only where that is known"),
    Metric("zo/rho", "-1 to 1", "eq. 3, cosine of the policy's and the random estimate, mean over its measurements"),
    Metric("zo/gate_open", "share", "rows whose next step follows the policy"),
    Metric("zo/saturation", "share", "coordinates of the actions at a bound of the box (>= 0.999 in size)"),
    Metric("zo/reward_scale", "f", "running mean of the rewards' size, which divides them; only where that is on"),
    Metric("rollout/ep_rew_mean", "reward", "undiscounted, unscaled reward of an episode, mean over the last 100"),
    Metric("rollout/ep_len_mean", "steps", "length of an episode, mean over the last 100"),
    Metric(
        "train/critic_loss",
        "reward^2",
        "squared TD error of the last updates; of directional agents: relative squared error of slopes, plus penalties",
    ),
    Metric("train/actor_loss", "reward", "minus the critic's value of the actor's directions"),
    Metric("train/learning_rate", "1", "learning rate of actor and critic"),
    Metric("train/ent_coef", "1", "SAC's entropy coefficient"),
    Metric("train/ent_coef_loss", "1", "SAC's loss for the entropy coefficient"),
    Metric("final/policy_f", "f", "best f of the trained policy at the budget, mean over the fresh starts"),
    Metric("final/untrained_f", "f", "the same for the untrained policy (control)"),
    Metric("final/zo_sgd_f", "f", "the same for tuned ZO-SGD"),
    Metric("final/comparison", "figure", "best f against queries for the policy, its controls and tuned ZO-SGD"),
    Metric("time/fps", "steps / s", "environment steps per second, updates included"),
)

NAMES = frozenset(metric.name for metric in METRICS)
