"""Ask and tell: the optimiser proposes points, and whatever can measure them answers."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

import zo_gym

OPTIMUM = np.array([0.5, -0.25, 1.0])


def measure(x):
    """Stand in for a laboratory, a cluster or another program: a point in, a number out."""
    return float(((x - OPTIMUM) ** 2 * np.array([1.0, 4.0, 9.0])).sum())


# One point a round: a step first asks for a probe, then for the point that it moves to.
optimizer = zo_gym.Optimizer(np.zeros(3), method="gp-tr", seed=0)
while optimizer.nfev < 60 and (optimizer.nfev == 0 or optimizer.best_fun > 1e-6):
    points = optimizer.ask()  # (m, 3)
    optimizer.tell([measure(point) for point in points])
print(f"gp-tr:  f = {optimizer.best_fun:.1e} after {optimizer.nfev} queries")

# Twenty points a round: methods with many directions make use of parallel workers.
optimizer = zo_gym.Optimizer(
    np.zeros(3),
    method="zo-sgd",
    learning_rate=0.05,
    seed=0,
)
with ThreadPoolExecutor(4) as workers:
    while optimizer.nfev < 400:
        optimizer.tell(list(workers.map(measure, optimizer.ask())))
result = optimizer.result()
print(f"zo-sgd: f = {result.fun:.1e} after {result.nfev} queries, x = {result.x.round(2)}")
