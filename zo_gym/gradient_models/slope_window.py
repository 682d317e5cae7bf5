"""The last r slopes of a run, with what a stationary kernel asks of each pair of them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Slopes(NamedTuple):
    """A ring of r signed slopes y_i = h_i . grad f(z_i); an empty place has length 0 and zeros everywhere."""

    origin: Tensor
    """Where the run began, (B, d). Points are kept relative to it: inner products of short vectors round less."""
    points: Tensor
    """z, (B, r, d): the middle of the interval that the slope was measured over."""
    axes: Tensor
    """h, unit vectors, (B, r, d)."""
    values: Tensor
    """y, (B, r)."""
    lengths: Tensor
    """Of the intervals, (B, r)."""
    norms: Tensor
    """|z_i|^2, (B, r)."""
    heights: Tensor
    """h_i . z_i, (B, r)."""
    squares: Tensor
    """|z_i - z_j|^2, (B, r, r)."""
    offsets: Tensor
    """h_i . (z_i - z_j), (B, r, r)."""
    cosines: Tensor
    """h_i . h_j, (B, r, r)."""
    told: Tensor
    """Slopes remembered since the start, those included that are forgotten by now, int64 (B,)."""
    at: Tensor
    """Where the run stands, from the origin, (B, d); the last two are kept for that place."""
    near: Tensor
    """z_i . at, (B, r)."""
    ahead: Tensor
    """h_i . at, (B, r)."""

    @property
    def full(self) -> Tensor:
        """Which places hold a slope, (B, r) bool."""
        return self.lengths > 0


def no_slopes(x: Tensor, size: int) -> Slopes:
    """An empty ring of `size` places for rows that begin at x (B, d). Memory O(size (d + size)) per row."""
    b, d = x.shape
    flat, table = x.new_zeros(b, size), x.new_zeros(b, size, size)
    count = torch.zeros(b, dtype=torch.int64, device=x.device)
    places = x.new_zeros(b, size, d)
    return Slopes(
        x.clone(), places, places, flat, flat, flat, flat, table, table, table, count, torch.zeros_like(x), flat, flat
    )


def dots(matrix: Tensor, vector: Tensor) -> Tensor:
    """Inner products (B, r) of the rows of a matrix (B, r, d) with a vector (B, d)."""
    return (vector.unsqueeze(1) @ matrix.mT).squeeze(1)  # ten times as fast as matrix @ column


def combined(weights: Tensor, matrix: Tensor) -> Tensor:
    """The sum (B, d) of the rows of a matrix (B, r, d) with weights (B, r)."""
    return (weights.unsqueeze(1) @ matrix).squeeze(1)


def seen_from(slopes: Slopes, x: Tensor) -> Slopes:
    """The ring for runs that stand at x (B, d). Time O(r d) per row, O(d) where all stand there already."""
    at = x - slopes.origin
    same = (at == slopes.at).all(1, keepdim=True)
    if same.all():
        return slopes
    near, ahead = dots(slopes.points, at), dots(slopes.axes, at)
    return slopes._replace(
        at=at, near=torch.where(same, slopes.near, near), ahead=torch.where(same, slopes.ahead, ahead)
    )


def remember(
    slopes: Slopes, interval: Tensor, change: Tensor, valid: Tensor | None = None, end: Tensor | None = None
) -> Slopes:
    """The ring with one more slope, which replaces the oldest one where the ring is full. Time O(r d) per row.

    By the midpoint rule change / |interval| is the slope along the interval at its middle, exact on a quadratic.

    Args:
        slopes: The ring.
        interval: Begins where the run stands, (B, d); a row where it is 0 remembers nothing.
        change: f at the interval's end less f at its beginning, (B,).
        valid: Which rows remember, (B,) bool; None: all.
        end: Where the run stands afterwards, (B, d): at the interval's end, or where it stood; None: where it stood.
    """
    length = torch.linalg.vector_norm(interval, dim=-1)  # (B,)
    valid = length > 0 if valid is None else valid & (length > 0)
    length = torch.where(valid, length, 1.0)
    middle, axis = slopes.at + interval / 2, interval / length.unsqueeze(1)
    size = slopes.values.shape[1]
    place = slopes.told % size
    here = valid.unsqueeze(1) & (torch.arange(size, device=place.device) == place.unsqueeze(1))  # (B, r)
    rows = torch.arange(len(place), device=place.device)

    def replaced(old: Tensor, new: Tensor) -> Tensor:  # (B, r), (B,)
        return torch.where(here, new.unsqueeze(1), old)

    def exchanged(old: Tensor, new: Tensor) -> Tensor:  # (B, r, d), (B, d); quicker than `where` for a large d
        return old.index_put((rows, place), torch.where(valid.unsqueeze(1), new, old[rows, place]))

    def crossed(table: Tensor, row: Tensor, column: Tensor) -> Tensor:
        table = exchanged(table, row)
        table.mT.index_put_((rows, place), torch.where(valid.unsqueeze(1), column, table.mT[rows, place]))
        return table  # a new one, by then

    norm, height = middle.square().sum(1), (middle * axis).sum(1)
    norms, heights = replaced(slopes.norms, norm), replaced(slopes.heights, height)
    points, axes = exchanged(slopes.points, middle), exchanged(slopes.axes, axis)
    along, cosines = dots(points, axis), dots(axes, axis)
    near = replaced(slopes.near, (middle * slopes.at).sum(1))
    ahead = replaced(slopes.ahead, (axis * slopes.at).sum(1))
    half = length.unsqueeze(1) / 2
    squares = (norms + norm.unsqueeze(1) - 2 * (near + half * along)).clamp_min(0.0)
    squares = squares.scatter(1, place.unsqueeze(1), 0.0)
    forward, backward = height.unsqueeze(1) - along, heights - (ahead + half * cosines)
    at = slopes.at
    if end is not None:
        at = end - slopes.origin
        gone = torch.where((at != slopes.at).any(1, keepdim=True), length.unsqueeze(1), 0.0)
        near, ahead = near + gone * along, ahead + gone * cosines
    return Slopes(
        origin=slopes.origin,
        points=points,
        axes=axes,
        values=replaced(slopes.values, change / length),
        lengths=replaced(slopes.lengths, length),
        norms=norms,
        heights=heights,
        squares=crossed(slopes.squares, squares, squares),
        offsets=crossed(slopes.offsets, forward, backward),
        cosines=crossed(slopes.cosines, cosines, cosines),
        told=slopes.told + valid,
        at=at,
        near=near,
        ahead=ahead,
    )
