"""Figures of a comparison: f against queries, and the cosine where it was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from agents.curves import Curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe & Ito (2008): colours that remain apart for colour-blind readers.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
STYLES = ("-", "--", "-.", ":", "-", "--")


def figure(curves: Sequence[Curves], title: str) -> Figure:
    """Mean lines with shaded standard deviations; f on a log axis above the least value shown.

    The second panel, |cos(g, grad f)| as a running mean over 20 grid points, is there if any curve measured it.
    """
    from matplotlib.figure import Figure

    measured = [c for c in curves if c.cosine is not None]
    result = Figure(figsize=(11 if measured else 6.5, 4.2), layout="constrained")
    axes = result.subplots(1, 2 if measured else 1, squeeze=False)[0]
    for index, c in enumerate(curves):
        mean, std = c.best.mean(0), c.best.std(0)
        axes[0].plot(c.queries, mean, STYLES[index % 6], color=COLOURS[index % 6], label=c.name, linewidth=1.8)
        axes[0].fill_between(c.queries, mean - std, mean + std, color=COLOURS[index % 6], alpha=0.18, linewidth=0)
        if c.cosine is not None:
            axes[1].plot(
                c.queries, _running_mean(c.cosine, 20), STYLES[index % 6], color=COLOURS[index % 6], linewidth=1.5
            )
    last = [c.best[:, -1].mean() for c in curves]
    shown = [c.best.mean(0)[len(c.queries) // 20] for c in curves]
    spread = max(max(shown) - min(last), 1e-12)
    axes[0].set_ylim(min(last) - 0.05 * spread, max(shown) + 0.05 * spread)
    axes[0].set(xlabel="queries", ylabel="best f so far", title=title)
    axes[0].legend(fontsize=8, frameon=False)
    if measured:
        axes[1].set(xlabel="queries", ylabel="|cos(g, ∇f)|", title="estimate and true gradient")
        axes[1].set_ylim(0, None)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    return result


def _running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """(N, T) -> (T,): mean over the runs and over `width` neighbouring points, of the values that are known."""
    known = np.isfinite(values)
    kernel = np.ones(min(width, values.shape[1]))
    weight = np.convolve(known.sum(0), kernel, mode="same")
    total = np.convolve(np.where(known, values, 0.0).sum(0), kernel, mode="same")
    return np.where(weight > 0, total / np.maximum(weight, 1), np.nan)
