"""The last r slopes of a run, with what a stationary kernel asks of each pair of them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Slopes(NamedTuple):
    """A ring of r signed slopes y_i = h_i . grad f(z_i); an empty place has length 0 and zeros everywhere."""

    points: Tensor
    """z, (B, r, d): the middle of the interval that the slope was measured over."""
    axes: Tensor
    """h, unit vectors, (B, r, d)."""
    values: Tensor
    """y, (B, r)."""
    lengths: Tensor
    """Of the intervals, (B, r)."""
    squares: Tensor
    """|z_i - z_j|^2, (B, r, r)."""
    offsets: Tensor
    """h_i . (z_i - z_j), (B, r, r)."""
    cosines: Tensor
    """h_i . h_j, (B, r, r)."""
    told: Tensor
    """Slopes remembered since the start, those included that are forgotten by now, int64 (B,)."""

    @property
    def full(self) -> Tensor:
        """Which places hold a slope, (B, r) bool."""
        return self.lengths > 0


def no_slopes(x: Tensor, size: int) -> Slopes:
    """An empty ring of `size` places for rows x (B, d). Memory O(size (d + size)) per row."""
    b, d = x.shape
    flat, table = x.new_zeros(b, size), x.new_zeros(b, size, size)
    count = torch.zeros(b, dtype=torch.int64, device=x.device)
    return Slopes(x.new_zeros(b, size, d), x.new_zeros(b, size, d), flat, flat, table, table, table, count)


def remember(slopes: Slopes, point: Tensor, interval: Tensor, change: Tensor, valid: Tensor | None = None) -> Slopes:
    """The ring with one more slope, which replaces the oldest one where the ring is full. Time O(r d) per row.

    By the midpoint rule change / |interval| is the slope along the interval at its middle, exact on a quadratic.

    Args:
        slopes: The ring.
        point: Where the interval begins, (B, d).
        interval: (B, d); a row where it is 0 remembers nothing.
        change: f at the interval's end less f at its beginning, (B,).
        valid: Which rows remember, (B,) bool; None: all.
    """
    length = torch.linalg.vector_norm(interval, dim=-1)  # (B,)
    valid = length > 0 if valid is None else valid & (length > 0)
    length = torch.where(valid, length, 1.0)
    middle, axis = point + interval / 2, interval / length.unsqueeze(1)
    rows = torch.arange(len(point), device=point.device)
    place = slopes.told % slopes.values.shape[1]

    def replaced(old: Tensor, new: Tensor) -> Tensor:
        mask = valid.view(-1, *[1] * (new.dim() - 1))
        return old.index_put((rows, place), torch.where(mask, new, old[rows, place]))

    def crossed(table: Tensor, row: Tensor, column: Tensor) -> Tensor:
        table = replaced(table, row).mT
        return replaced(table, column).mT

    points, axes = replaced(slopes.points, middle), replaced(slopes.axes, axis)
    lengths, values = replaced(slopes.lengths, length), replaced(slopes.values, change / length)
    away = middle.unsqueeze(1) - points  # (B, r, d)
    squares = away.square().sum(-1)
    ahead, behind = (away * axis.unsqueeze(1)).sum(-1), -(away * axes).sum(-1)
    cosines = (axes * axis.unsqueeze(1)).sum(-1)
    return Slopes(
        points=points,
        axes=axes,
        values=values,
        lengths=lengths,
        squares=crossed(slopes.squares, squares, squares),
        offsets=crossed(slopes.offsets, ahead, behind),
        cosines=crossed(slopes.cosines, cosines, cosines),
        told=slopes.told + valid,
    )
