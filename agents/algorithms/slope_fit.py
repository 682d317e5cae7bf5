"""Fitting models to measured slopes: the loss, and a plain loop over a buffer that SB3's agents must agree with."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..networks.slope_models import SlopeModel
from ..sb3.slope_buffer import SlopeBuffer, SlopeSamples

FLAT = 1e-3
"""A hinge that is closed has no slope: where the unknown part is below this, it does not tell where to go."""
VALUE_WEIGHT = 0.02
"""Of squared errors of a potential, in f's units, beside those of slopes in units of their scale."""
LARGEST = 10.0
"""Slopes of more scales than this are cut: as f descends they shrink by orders of magnitude, and old ones stay."""


def slope_loss(model: SlopeModel, samples: SlopeSamples) -> Tensor:
    """Mean squared error of the signed slopes in units of the model's scale, and of the values if it models any.

    Slopes that were not measured (NaN) do not count; for a potential nor do those where the attack has succeeded.
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
    """One update."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def annealed(learning_rate: float, updates: int) -> Iterator[float]:
    """Learning rates of so many updates, from the first straight down to almost 0."""
    return (learning_rate * (1 - k / updates) for k in range(updates))


def regress(
    model: SlopeModel, buffer: SlopeBuffer, updates: int, *, learning_rate: float = 1e-3, batch_size: int = 128
) -> None:
    """Fit the model to a buffer by Adam, the rate annealed to 0: all that the agents do when they only learn slopes.

    The model's scale is left as it is. Costs no queries.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    for rate in annealed(learning_rate, updates):
        set_rate(optimizer, rate)
        descend(optimizer, slope_loss(model, buffer.sample(batch_size)))


def set_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Change the learning rate of all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
