"""Methods that own their loop: they are no sampler x estimator x rule, yet compete under the same count of queries.

A peer is handed a start and one function, `evaluate`, which is its only access to f, counts every point, and raises
`BudgetError` for a call that no longer fits. All of them first evaluate x0, alone (1 query), so that a run is never
worse than its start. What they found is the best point that was ever evaluated: whoever supplies `evaluate` records
it, as `minimize` does.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zo_gym.base import BudgetError
from zo_gym.checks import check_at_least, check_directions, check_flag, check_integer, check_positive
from zo_gym.estimators import coordinate, forward
from zo_gym.registry import lookup, reject_unknown
from zo_gym.rng import normal
from zo_gym.step import require_smoothing

Evaluate = Callable[[Tensor], Tensor]
"""Points (m, d) -> values (m,). Costs m queries; raises BudgetError, and evaluates nothing, where m do not fit."""

Peer = Callable[..., None]
"""(evaluate, x0 (d,), generator, **options) -> None: returns if it converges, else runs until `evaluate` raises."""

FEW = 100
"""The most dimensions for which zo-svrg's snapshot goes through all axes unless told otherwise."""


def zo_svrg(
    evaluate: Evaluate,
    x0: Tensor,
    generator: torch.Generator,
    *,
    learning_rate: float | None = None,
    num_directions: int = 10,
    smoothing: float = 0.01,
    epoch_length: int = 10,
    snapshot_directions: int | None = None,
) -> None:
    """Variance reduction: v = g(x; U) - g(x~; U) + g~, x' = x - eta v, with the same directions U at both points.

    An epoch takes the iterate as its snapshot x~, with an estimate g~ from many queries, and makes `epoch_length`
    steps. Near x~ the noise of the two estimates along U cancels. In the first step, at x = x~, it does so entirely.

    Deviation: the source averages over the n terms of a finite sum as well. A black box is a single term, so the
    variance that is left to reduce is that of the directions.

    Costs d (or `snapshot_directions`) queries an epoch, 2q + 1 a step.

    Args:
        evaluate: f, counted.
        x0: Start (d,).
        generator: Of the directions.
        learning_rate: eta; None for 1 / d.
        num_directions: q, ~ N(0, I).
        smoothing: mu > 0.
        epoch_length: Steps from one snapshot to the next.
        snapshot_directions: Random directions of g~; None for all d axes if d <= 100 (g~ is then exact but for mu),
            else 100 random directions.

    Raises:
        TypeError, ValueError: An option is out of its range.

    Reference: Liu et al. (2018), "Zeroth-order stochastic variance reduction for nonconvex optimization", Algorithm 2.
    """
    d = len(x0)
    eta = 1 / d if learning_rate is None else check_positive("learning_rate", learning_rate)
    q, mu = check_directions(num_directions), require_smoothing(smoothing, x0.dtype)
    length = check_integer("epoch_length", epoch_length, 1)
    many = FEW if snapshot_directions is None else check_integer("snapshot_directions", snapshot_directions, 1)
    axes = snapshot_directions is None and d <= FEW
    x = x0[None]  # (1, d)
    fx = evaluate(x)
    while True:
        anchor, f_anchor = x, fx
        estimator = coordinate if axes else forward
        u = x[:, None] if axes else normal([generator], (many, d), like=x)  # `coordinate` looks at no directions
        values = evaluate(estimator.points(anchor, u, mu)[0])[None]
        full = estimator.combine(values, f_anchor, u, mu).gradient
        for _ in range(length):
            u = normal([generator], (q, d), like=x)
            points = torch.cat([forward.points(x, u, mu), forward.points(anchor, u, mu)], dim=1)  # (1, 2q, d)
            values = evaluate(points[0])[None]
            here = forward.combine(values[:, :q], fx, u, mu).gradient
            there = forward.combine(values[:, q:], f_anchor, u, mu).gradient
            x = x - eta * ((here - there) + full)
            fx = evaluate(x)


def cma_es(
    evaluate: Evaluate,
    x0: Tensor,
    generator: torch.Generator,
    *,
    sigma0: float = 0.3,
    popsize: int | None = None,
    diagonal: bool = False,
) -> None:
    """Covariance matrix adaptation, by pycma. Costs `popsize` queries a generation; O(d^2) memory, O(d) if diagonal.

    pycma draws from `generator`, not from numpy's global state, prints nothing and writes no file. It stops by its
    own criteria, above all when the population has contracted; it is then started anew at the best point so far with
    the first sigma0 and popsize, so that the budget is always used.

    Args:
        evaluate: f, counted.
        x0: Mean of the first population (d,).
        generator: Of all normal variates.
        sigma0: Standard deviation of the first population, in units of x.
        popsize: Points a generation, >= 2; None for pycma's 4 + 3 log d.
        diagonal: Adapt variances alone (Ros and Hansen 2008), which learns d times as fast: for budgets far below d^2.

    Raises:
        ImportError: pycma is not installed.
        TypeError, ValueError: An option is out of its range.

    Reference: Hansen (2016), "The CMA evolution strategy: a tutorial".
    """
    try:
        import cma
    except ImportError as error:
        raise ImportError("Method 'cma-es' needs pycma. Install it: pip install 'zo-gym[peers]'.") from error

    def randn(*shape: int) -> np.ndarray:
        return torch.randn(shape, generator=generator, dtype=torch.float64, device=generator.device).cpu().numpy()

    # seed = NaN: leave numpy's global state alone. verbose <= -10: print nothing, read no signals file.
    options: dict[str, Any] = {"randn": randn, "seed": math.nan, "verbose": -10, "verb_log": 0, "verb_disp": 0}
    options |= {"maxiter": math.inf, "CMA_diagonal": check_flag("diagonal", diagonal)}
    if popsize is not None:
        options["popsize"] = check_integer("popsize", popsize, 2)
    spread = check_positive("sigma0", sigma0)
    best_x, best_f = x0, evaluate(x0[None])[0]
    while True:
        strategy = cma.CMAEvolutionStrategy(best_x.cpu().double().numpy(), spread, options)
        stopped = False
        while not stopped:
            asked = strategy.ask()
            points = torch.from_numpy(np.stack(asked)).to(x0)
            values = evaluate(points)
            least = int(values.argmin())
            if values[least] < best_f:
                best_x, best_f = points[least], values[least]
            strategy.tell(asked, values.tolist())
            stopped = bool(strategy.stop())


def l_bfgs_b(
    evaluate: Evaluate,
    x0: Tensor,
    generator: torch.Generator,
    *,
    smoothing: float | None = None,
    ftol: float = 2.2e-9,
    gtol: float = 1e-5,
    maxcor: int = 10,
    restart_std: float | None = None,
) -> None:
    """Quasi-Newton steps on forward differences along all axes, by scipy. Costs d + 1 queries a gradient, as one batch.

    A descent ends where scipy finds that it has converged, or that differences no longer give a direction of descent.
    Then the rest of the budget stays unspent, or a descent from another start spends it (`restart_std`).

    Args:
        evaluate: f, counted.
        x0: Start (d,).
        generator: Where further starts come from.
        smoothing: The differences' length; None for sqrt(eps) max(1, |x_i|), eps the rounding unit of x0's dtype.
        ftol: Stop where a step lowers f by less than this, relative to max(|f|, 1).
        gtol: Stop where no component of the gradient exceeds this.
        maxcor: How many past steps the approximation of the Hessian remembers.
        restart_std: Standard deviation, in units of x, of the normal noise that is added to x0 for each further descent
            (multi-start, for f with several local minima), until the budget is spent; None: one descent from x0.

    Raises:
        TypeError, ValueError: An option is out of its range.

    Reference: Byrd et al. (1995), "A limited memory algorithm for bound constrained optimization".
    """
    from scipy.optimize import minimize

    mu = None if smoothing is None else require_smoothing(smoothing, x0.dtype)
    limits = {"ftol": check_at_least("ftol", ftol, 0), "gtol": check_at_least("gtol", gtol, 0)}
    std = None if restart_std is None else check_positive("restart_std", restart_std)
    memory = {"maxcor": check_integer("maxcor", maxcor, 1)}
    endless = {"maxiter": 10**9, "maxfun": 10**9}
    f0 = evaluate(x0[None])
    first, rounding = x0.cpu().double().numpy(), math.sqrt(torch.finfo(x0.dtype).eps)

    def value_and_gradient(z: np.ndarray) -> tuple[float, np.ndarray]:
        x = torch.from_numpy(z.copy()).to(x0)
        h = x.abs().clamp_min(1) * rounding if mu is None else torch.full_like(x, mu)
        points = x + torch.diag(h)  # (d, d)
        moved = points.diagonal() - x  # h as rounded
        if np.array_equal(z, first):
            values = torch.cat([f0, evaluate(points)])
        else:
            values = evaluate(torch.cat([x[None], points]))
        slopes = (values[1:] - values[0]) / moved
        return values[0].item(), slopes.cpu().double().numpy()

    start = first
    while True:
        minimize(value_and_gradient, start, jac=True, method="L-BFGS-B", options={**limits, **memory, **endless})
        if std is None:
            return
        start = (x0 + std * normal([generator], (1, len(x0)), like=x0[None])[0, 0]).cpu().double().numpy()


PEERS: dict[str, Peer] = {"zo-svrg": zo_svrg, "cma-es": cma_es, "l-bfgs-b": l_bfgs_b}


def run_peer(name: str, evaluate: Evaluate, x0: Tensor, generator: torch.Generator, **options: Any) -> bool:
    """Run a peer until it converges or its budget is spent.

    Args:
        name: A key of `PEERS`.
        evaluate: f, counted, see `Evaluate`. Any other exception it raises ends the run and reaches the caller.
        x0: Start (d,).
        generator: Of all random numbers of the run.
        **options: The peer's own.

    Returns:
        True if it converged, False if `evaluate` had no room for the next call.

    Raises:
        TypeError, ValueError: The name or an option is unknown or out of its range.
        ImportError: The library behind the peer is not installed.
    """
    peer = lookup(PEERS, name, "peer")
    known = [p.name for p in inspect.signature(peer).parameters.values() if p.kind is p.KEYWORD_ONLY]
    reject_unknown(options, known, f"method '{name}'")
    try:
        peer(evaluate, x0.detach().clone(), generator, **options)
    except BudgetError:
        return False
    return True
