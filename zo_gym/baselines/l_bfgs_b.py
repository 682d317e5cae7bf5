"""L-BFGS-B on finite differences, computed by scipy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zo_gym.baselines.start import Start
from zo_gym.checks import check_at_least, check_integer, check_positive, check_smoothing
from zo_gym.problem import Objective
from zo_gym.rng import normal

LONGEST = 0.1
"""The relative length of differences from which on they are not made longer."""


def l_bfgs_b(
    evaluate: Objective,
    begin: Start,
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
        begin: The start.
        generator: Draws further starts.
        smoothing: The length of differences, in units of x; None for sqrt(eps) max(1, |x_i|), eps of f's argument.
        ftol: Stop when a step lowers f by less than this, relative to max(|f|, 1).
        gtol: Stop when no component of the gradient exceeds this, in units of f per unit of x.
        maxcor: The number of past steps that the approximation of the Hessian uses.
        restart_std: The standard deviation, in units of x, of the normal noise that is added to x0 for each further
            descent (multi-start, for f with several local minima), until the budget is spent; None: one descent.

    Reference: Byrd et al. (1995), "A limited memory algorithm for bound constrained optimization", SIAM J. Sci. Comput.
    """
    from scipy.optimize import minimize

    std = None if restart_std is None else check_positive("restart_std", restart_std)
    options: dict[str, Any] = {"ftol": check_at_least("ftol", ftol, 0), "gtol": check_at_least("gtol", gtol, 0)}
    options |= {"maxcor": check_integer("maxcor", maxcor, 1), "maxiter": 10**9, "maxfun": 10**9}
    x0, box = begin.x, begin.box
    differences = _Differences(evaluate, begin, smoothing)
    bounds = None if box is None else torch.stack(box, dim=1).tolist()
    start = x0
    while True:
        first = start.cpu().double().numpy()
        minimize(differences, first, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        if std is None:
            return
        start = begin.inside(x0 + std * normal([generator], (1, len(x0)), like=x0[None])[0, 0])


class _Differences:
    """Computes f and its forward differences along all axes, backward ones where the box ends."""

    def __init__(self, evaluate: Objective, begin: Start, smoothing: float | None) -> None:
        self._evaluate, self._x0, self._box = evaluate, begin.x, begin.box
        self._mu = None if smoothing is None else check_smoothing(smoothing, begin.coarsest)
        self._relative = math.sqrt(torch.finfo(begin.coarsest).eps)
        self._f0 = evaluate(begin.x[None])
        self._first = begin.x.cpu().double().numpy()

    def __call__(self, z: np.ndarray) -> tuple[float, np.ndarray]:
        """Return f at z and the gradient, (d,).

        Where every difference is 0, the rounding of f drowns them: then they are measured again, 100 times as long.
        """
        x = torch.from_numpy(z.copy()).to(self._x0)
        fx = self._f0 if np.array_equal(z, self._first) else None
        while True:
            points = x + torch.diag(self._lengths(x))  # (d, d)
            moved = points.diagonal() - x  # as rounded
            values = self._evaluate(points if fx is not None else torch.cat([x[None], points]))
            fx, values = (values[:1], values[1:]) if fx is None else (fx, values)
            slopes = (values - fx) / moved
            if self._mu is not None or self._relative >= LONGEST or bool(slopes.any()):
                return fx.item(), slopes.cpu().double().numpy()
            self._relative *= 100

    def _lengths(self, x: Tensor) -> Tensor:
        h = x.abs().clamp_min(1) * self._relative if self._mu is None else torch.full_like(x, self._mu)
        if self._box is None:
            return h
        above, below = self._box.upper - x, x - self._box.lower
        return torch.where(h <= above, h, torch.where(below > above, -torch.minimum(h, below), above))
