"""Fit models to measured slopes: the loss, and a plain loop over a buffer whose results equal those of SB3's agents."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..networks.slope_model import SlopeModel
from ..sb3.slope_buffer import SlopeBuffer, SlopeSamples

FLAT = 1e-3
"""Least black-box part, in units of f, at which slopes count: an attack that has succeeded has a flat loss of 0."""
VALUE_WEIGHT = 0.02
"""Weight of squared errors of a potential's values, in units of f, beside those of slopes in units of their scale."""
LARGEST = 10.0
"""Slopes are cut at this many scales: as f descends they shrink by orders of magnitude, and old ones stay."""


def slope_loss(model: SlopeModel, samples: SlopeSamples) -> Tensor:
    """Compute the mean squared error of the signed slopes in units of the model's scale, and of values if it has any.

    Slopes that were not measured (NaN) do not count, nor, for a potential, do those where the attack has succeeded.
    """
    predicted, values = model(samples.observations, samples.directions)
    counts = samples.slopes.isfinite()
    if values is not None:
        counts = counts & (samples.values > FLAT)
    weight = counts / counts.sum().clamp_min(1)
    wanted = (torch.where(counts, samples.slopes, 0.0) / model.scale).clamp(-LARGEST, LARGEST)
    loss = (weight * (predicted / model.scale - wanted).square()).sum()
    if values is None:
        return loss
    known = torch.where(counts, samples.values, 0.0)
    return loss + VALUE_WEIGHT * (weight * (values - known).square()).sum()


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Make one update."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def annealed(learning_rate: float, updates: int) -> Iterator[float]:
    """Return the learning rates of so many updates, falling linearly from the first almost to 0."""
    return (learning_rate * (1 - k / updates) for k in range(updates))


def regress(
    model: SlopeModel, buffer: SlopeBuffer, updates: int, *, learning_rate: float = 1e-3, batch_size: int = 128
) -> None:
    """Fit the model to a buffer by Adam, the rate annealed to 0, as agents do that learn from slopes alone.

    The model's scale stays as it is. Costs no queries.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    for rate in annealed(learning_rate, updates):
        set_rate(optimizer, rate)
        descend(optimizer, slope_loss(model, buffer.sample(batch_size)))


def set_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Change the learning rate of all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
