"""Measure a run by the share of COCO's targets that it hits: f - f_opt <= 10^2, 10^1.8, ..., 10^-8.

Reference: Hansen et al. (2021), "COCO: a platform for comparing continuous optimizers in a black-box setting",
Optimization Methods and Software 36.
"""

from __future__ import annotations

import math

import numpy as np

TARGETS: np.ndarray = 10.0 ** (np.arange(10, -41, -1) / 5)
"""The 51 targets, in units of f above its optimum, from the easiest to the hardest."""


def share_hit(gap: float) -> float:
    """Return the share of the targets at or above this gap f - f_opt; NaN where f_opt is not known."""
    return math.nan if math.isnan(gap) else float((gap <= TARGETS).mean())


def first_hits(queries: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """Return after how many queries each target was first hit, (51,), infinity where it never was.

    Args:
        queries: Query counts at which the best f so far was recorded, rising, (T,).
        gaps: Best f so far less f_opt, falling, (T,).
    """
    hit = gaps[None] <= TARGETS[:, None]  # (51, T)
    return np.where(hit.any(axis=1), queries[hit.argmax(axis=1)], math.inf)
