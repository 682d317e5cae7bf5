"""L-BFGS-B on finite differences, computed by scipy."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from zo_gym.checks import check_at_least, check_integer, check_positive, check_smoothing
from zo_gym.problem import Objective
from zo_gym.rng import normal


def l_bfgs_b(
    evaluate: Objective,
    x0: Tensor,
    generator: torch.Generator,
    *,
    smoothing: float | None = None,
    ftol: float = 2.2e-9,
    gtol: float = 1e-5,
    maxcor: int = 10,
    restart_std: float | None = None,
) -> None:
    """Minimise by quasi-Newton steps on forward differences along all axes. Costs d + 1 queries a gradient, as a batch.

    A descent ends when scipy finds that it has converged, or that differences no longer give a direction of descent.
    Then the rest of the budget stays unspent, or descents from other starts spend it (`restart_std`).

    Args:
        evaluate: Computes f, counted.
        x0: The start, (d,).
        generator: Draws further starts.
        smoothing: The length of differences, in units of x; None for sqrt(eps) max(1, |x_i|), eps that of x0's dtype.
        ftol: Stop when a step lowers f by less than this, relative to max(|f|, 1).
        gtol: Stop when no component of the gradient exceeds this, in units of f per unit of x.
        maxcor: The number of past steps that the approximation of the Hessian uses.
        restart_std: The standard deviation, in units of x, of the normal noise that is added to x0 for each further
            descent (multi-start, for f with several local minima), until the budget is spent; None: one descent.

    Reference: Byrd et al. (1995), "A limited memory algorithm for bound constrained optimization", SIAM J. Sci. Comput.
    """
    from scipy.optimize import minimize

    mu = None if smoothing is None else check_smoothing(smoothing, x0.dtype)
    limits = {"ftol": check_at_least("ftol", ftol, 0), "gtol": check_at_least("gtol", gtol, 0)}
    std = None if restart_std is None else check_positive("restart_std", restart_std)
    options = {**limits, "maxcor": check_integer("maxcor", maxcor, 1), "maxiter": 10**9, "maxfun": 10**9}
    f0 = evaluate(x0[None])
    first, rounding = x0.cpu().double().numpy(), math.sqrt(torch.finfo(x0.dtype).eps)

    def value_and_gradient(z: np.ndarray) -> tuple[float, np.ndarray]:
        x = torch.from_numpy(z.copy()).to(x0)
        h = x.abs().clamp_min(1) * rounding if mu is None else torch.full_like(x, mu)
        points = x + torch.diag(h)  # (d, d)
        moved = points.diagonal() - x  # h as rounded
        known = np.array_equal(z, first)
        values = torch.cat([f0, evaluate(points)]) if known else evaluate(torch.cat([x[None], points]))
        slopes = (values[1:] - values[0]) / moved
        return values[0].item(), slopes.cpu().double().numpy()

    start = first
    while True:
        minimize(value_and_gradient, start, jac=True, method="L-BFGS-B", options=options)
        if std is None:
            return
        start = (x0 + std * normal([generator], (1, len(x0)), like=x0[None])[0, 0]).cpu().double().numpy()
