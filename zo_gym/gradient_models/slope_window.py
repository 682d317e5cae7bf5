"""The last r slopes of a run, with the inner products that a stationary kernel needs of each pair of them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from zo_gym.batch_invariant import LINE


class SlopeWindow(NamedTuple):
    """A ring of r measured slopes y_i = h_i . grad f(z_i); an empty place has length 0 and zeros everywhere.

    A weighted sum of rows has other bits where its result begins elsewhere in a cache line. So `points` and `axes` have
    columns of zeros up to whole lines: d' columns, d rounded up.
    """

    origin: Tensor
    """The start of the run, (B, d). Points are kept relative to it: inner products of short vectors round less."""
    points: Tensor
    """z: the middle of the interval that each slope was measured over, (B, r, d')."""
    axes: Tensor
    """h: the unit vector along that interval, (B, r, d')."""
    values: Tensor
    """y: the measured slopes, (B, r)."""
    lengths: Tensor
    """The lengths of the intervals, in units of x, (B, r)."""
    point_squares: Tensor
    """|z_i|^2, (B, r)."""
    axis_dot_point: Tensor
    """h_i . z_i, (B, r)."""
    square_distances: Tensor
    """|z_i - z_j|^2, (B, r, r)."""
    axis_dot_offset: Tensor
    """h_i . (z_i - z_j), (B, r, r)."""
    axis_dot_axis: Tensor
    """h_i . h_j, (B, r, r)."""
    num_stored: Tensor
    """The number of slopes stored since the start, overwritten ones included, int64 (B,)."""
    position: Tensor
    """The point, relative to the origin, that the two last fields are computed for: the run's current x, (B, d)."""
    point_dot_position: Tensor
    """z_i . position, (B, r)."""
    axis_dot_position: Tensor
    """h_i . position, (B, r)."""

    @property
    def filled(self) -> Tensor:
        """Return which places hold a slope, (B, r) bool."""
        return self.lengths > 0

    @property
    def next_place(self) -> Tensor:
        """Return the place that the next slope is written to, int64 (B,)."""
        return self.num_stored % self.values.shape[1]


def empty_window(x: Tensor, size: int) -> SlopeWindow:
    """Return an empty ring of `size` places for rows that start at x (B, d). Memory O(size (d + size)) per row."""
    b, d = x.shape
    width = d + -d % LINE
    flat, table, places = x.new_zeros(b, size), x.new_zeros(b, size, size), x.new_zeros(b, size, width)
    return SlopeWindow(
        origin=x.clone(),
        points=places,
        axes=places,
        values=flat,
        lengths=flat,
        point_squares=flat,
        axis_dot_point=flat,
        square_distances=table,
        axis_dot_offset=table,
        axis_dot_axis=table,
        num_stored=torch.zeros(b, dtype=torch.int64, device=x.device),
        position=torch.zeros_like(x),
        point_dot_position=flat,
        axis_dot_position=flat,
    )


def row_products(matrix: Tensor, vector: Tensor) -> Tensor:
    """Return the inner products (B, r) of the rows of a matrix (B, r, d') with a vector (B, d)."""
    rows = matrix[:, :, : vector.shape[1]]
    return (vector.unsqueeze(1) @ rows.mT).squeeze(1)  # ten times as fast as rows @ column


def weighted_sum(weights: Tensor, matrix: Tensor) -> Tensor:
    """Return the sum (B, d') of the rows of a matrix (B, r, d') with weights (B, r)."""
    return (weights.unsqueeze(1) @ matrix).squeeze(1)


def move_to(window: SlopeWindow, x: Tensor) -> SlopeWindow:
    """Return the ring with its position at x (B, d). Time O(r d) per row; O(d) if every row is there already."""
    position = x - window.origin
    same = (position == window.position).all(1, keepdim=True)
    if same.all():
        return window
    by_points, by_axes = row_products(window.points, position), row_products(window.axes, position)
    return window._replace(
        position=position,
        point_dot_position=torch.where(same, window.point_dot_position, by_points),
        axis_dot_position=torch.where(same, window.axis_dot_position, by_axes),
    )


def add_slope(
    window: SlopeWindow, interval: Tensor, change: Tensor, valid: Tensor | None = None, end: Tensor | None = None
) -> SlopeWindow:
    """Store the slope along an interval, in the place of the oldest one where the ring is full. Time O(r d) per row.

    By the midpoint rule change / |interval| is the slope along the interval at its middle, exact on a quadratic.

    Args:
        window: The ring; the interval begins at its position.
        interval: The interval, (B, d); a row where it is 0 stores nothing.
        change: f at the interval's end minus f at its beginning, (B,).
        valid: Which rows store the slope, (B,) bool; None: all.
        end: The position afterwards, (B, d), which is either end of the interval; None: its beginning.
    """
    length = torch.linalg.vector_norm(interval, dim=-1)  # (B,)
    valid = length > 0 if valid is None else valid & (length > 0)
    length = torch.where(valid, length, 1.0)
    middle, axis = window.position + interval / 2, interval / length.unsqueeze(1)
    place = window.next_place
    window = _write(window, place, (middle, axis, change / length, length), valid)
    along, cosines = row_products(window.points, axis), row_products(window.axes, axis)
    window = _update_tables(window, place, length.unsqueeze(1), along, cosines, valid)
    if end is None:
        return window
    position = end - window.origin
    gone = torch.where((position != window.position).any(1, keepdim=True), length.unsqueeze(1), 0.0)
    return window._replace(
        position=position,
        point_dot_position=window.point_dot_position + gone * along,
        axis_dot_position=window.axis_dot_position + gone * cosines,
    )


def _write(window: SlopeWindow, place: Tensor, slope: tuple[Tensor, ...], valid: Tensor) -> SlopeWindow:
    """Write (middle, axis, value, length) at `place` (B,) of the valid rows (B,), all but the tables of pairs."""
    middle, axis, value, length = slope
    zeros = (0, window.axes.shape[2] - axis.shape[1])
    here = valid.unsqueeze(1) & (torch.arange(window.values.shape[1], device=place.device) == place.unsqueeze(1))

    def replaced(old: Tensor, new: Tensor) -> Tensor:  # (B, r), (B,)
        return torch.where(here, new.unsqueeze(1), old)

    return window._replace(
        points=_set_row(window.points, place, pad(middle, zeros), valid),
        axes=_set_row(window.axes, place, pad(axis, zeros), valid),
        values=replaced(window.values, value),
        lengths=replaced(window.lengths, length),
        point_squares=replaced(window.point_squares, middle.square().sum(1)),
        axis_dot_point=replaced(window.axis_dot_point, (middle * axis).sum(1)),
        num_stored=window.num_stored + valid,
        point_dot_position=replaced(window.point_dot_position, (middle * window.position).sum(1)),
        axis_dot_position=replaced(window.axis_dot_position, (axis * window.position).sum(1)),
    )


def _update_tables(
    window: SlopeWindow, place: Tensor, length: Tensor, along: Tensor, cosines: Tensor, valid: Tensor
) -> SlopeWindow:
    """Fill in the pairs of the slope just written at `place` (B,) of the valid rows (B,), before the position moves.

    Its interval has the length (B, 1); `along` and `cosines`, (B, r), are the products of its axis with every z and h.
    """
    index, half = place.unsqueeze(1), length / 2
    square, height = window.point_squares.gather(1, index), window.axis_dot_point.gather(1, index)  # (B, 1)
    squares = (window.point_squares + square - 2 * (window.point_dot_position + half * along)).clamp_min(0.0)
    squares = squares.scatter(1, index, 0.0)
    forward, backward = height - along, window.axis_dot_point - (window.axis_dot_position + half * cosines)
    return window._replace(
        square_distances=_set_cross(window.square_distances, place, squares, squares, valid),
        axis_dot_offset=_set_cross(window.axis_dot_offset, place, forward, backward, valid),
        axis_dot_axis=_set_cross(window.axis_dot_axis, place, cosines, cosines, valid),
    )


def _set_row(matrix: Tensor, place: Tensor, new: Tensor, valid: Tensor) -> Tensor:
    """Return the matrices (B, r, n) with row `place` (B,) set to `new` (B, n) where valid (B,)."""
    rows = torch.arange(len(place), device=place.device)
    new = torch.where(valid.unsqueeze(1), new, matrix[rows, place])
    return matrix.index_put((rows, place), new)  # quicker than `where` for a large n


def _set_cross(table: Tensor, place: Tensor, row: Tensor, column: Tensor, valid: Tensor) -> Tensor:
    """Return the tables (B, r, r) with this row and then this column, (B, r) each, at `place` (B,) where valid (B,)."""
    table = _set_row(table, place, row, valid)  # a new tensor, which may be written in place
    rows = torch.arange(len(place), device=place.device)
    table.mT.index_put_((rows, place), torch.where(valid.unsqueeze(1), column, table.mT[rows, place]))
    return table
