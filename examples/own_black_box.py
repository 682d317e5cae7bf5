"""Minimise a function of your own: fit a model to data from values of its error."""

import numpy as np

import zo_gym

# A saturating reaction: the rate v = V c / (K + c), measured at seven concentrations c.
concentration = np.array([0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0])
rate = np.array([0.32, 0.56, 1.06, 1.50, 1.90, 2.24, 2.38])


def error(p):
    """Mean squared error at p = (log V, log K).

    Logarithms keep both positive, and bring them to like units.
    """
    v, k = np.exp(p)
    return float(np.mean((v * concentration / (k + concentration) - rate) ** 2))


def report(progress):
    """Show how the run goes; returning True would stop it."""
    if progress.nit % 25 == 0:
        print(f"{progress.nfev:4} queries: error {progress.fun:.2e}")


# The default method needs no tuning. The budget, a number of evaluations of `error`,
# is never exceeded.
result = zo_gym.minimize(error, np.zeros(2), budget=150, seed=0, callback=report)
print(result.message)
print("V = {:.3f}, K = {:.3f}".format(*np.exp(result.x)))

# The same budget along random directions, and for L-BFGS-B on finite differences.
for method in ("rand-ada", "l-bfgs-b"):
    other = zo_gym.minimize(error, np.zeros(2), method=method, budget=150, seed=0)
    print(f"{method:9} error {other.fun:.2e} after {other.nfev} queries")
