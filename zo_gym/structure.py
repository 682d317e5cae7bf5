"""The forms that x0 may have: a number, an array, a tensor, a dict or list of these, or a torch module's parameters.

A run moves one vector (n,) of float64; f, the callback and the result see the form of x0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module


class Structure(NamedTuple):
    """Converts between a vector and the form of x0."""

    start: Tensor
    """x0 as a vector (n,), float64 (float32 on devices that have no other), on the device of x0."""
    unpack: Callable[[Tensor], Any]
    """Turns a vector (n,) into the form of x0, in memory of its own."""
    unpack_all: Callable[[Tensor], Iterable[Any]]
    """Turns vectors (m, n) into m such forms, in memory of their own."""
    stack: Callable[[Tensor], Any] | None
    """Turns vectors (m, n) into an array or tensor (m, *shape of x0); None where x0 is neither."""
    coarsest: torch.dtype
    """The least precise floating dtype in x0, to which f's argument is rounded."""


class _Leaf(NamedTuple):
    """An array or tensor of x0."""

    values: Tensor
    restore: Callable[[Tensor], Any]
    """Turns (m, size) into (m, *shape), in memory of its own, in the type and dtype of the leaf."""
    dtype: torch.dtype


def structure_of(x0: Any) -> Structure:
    """Read x0.

    Raises:
        TypeError: x0 holds something that is not numeric, or complex numbers.
        ValueError: x0 is empty or not finite, or its tensors are on several devices.
    """
    if isinstance(x0, Module):
        x0 = dict(x0.named_parameters())
    elif isinstance(x0, Iterator):
        x0 = list(x0)
    if (isinstance(x0, (Mapping, list, tuple)) and not len(x0)) or getattr(x0, "size", None) == 0:
        raise ValueError(f"x0 must hold at least one number, got {x0!r:.80}.")
    if isinstance(x0, Mapping):
        leaves, names = [_leaf(value) for value in x0.values()], list(x0)
        return _compound(leaves, lambda parts: dict(zip(names, parts, strict=True)))
    if isinstance(x0, (list, tuple)) and any(isinstance(part, Tensor) or np.ndim(part) for part in x0):
        return _compound([_leaf(value) for value in x0], list)
    leaf = _leaf(x0)
    start = _vector([leaf])
    if isinstance(x0, (int, float)):
        return Structure(start, Tensor.item, lambda x: x[:, 0].tolist(), None, leaf.dtype)
    return Structure(start, lambda x: leaf.restore(x[None])[0], leaf.restore, leaf.restore, leaf.dtype)


def _compound(leaves: list[_Leaf], join: Callable[[list[Any]], Any]) -> Structure:
    """Return the structure of several leaves."""
    sizes = [leaf.values.numel() for leaf in leaves]

    def unpack_all(x: Tensor) -> list[Any]:
        columns = [leaf.restore(part) for leaf, part in zip(leaves, torch.split(x, sizes, dim=1), strict=True)]
        return [join([column[i] for column in columns]) for i in range(len(x))]

    coarsest = max((leaf.dtype for leaf in leaves), key=lambda dtype: torch.finfo(dtype).eps, default=torch.float64)
    return Structure(_vector(leaves), lambda x: unpack_all(x[None])[0], unpack_all, None, coarsest)


def real_numbers(value: Any) -> Tensor:
    """Copy an array, a tensor, a number or a list of numbers into a tensor; what is not real raises TypeError."""
    try:
        values = value.detach().clone() if isinstance(value, Tensor) else to_tensor(np.array(value))
    except (TypeError, ValueError) as error:
        raise TypeError(f"x0 must be a list, array or tensor of numbers, got {value!r:.200}.") from error
    if values.is_complex() or values.dtype == torch.bool:
        raise TypeError(f"x0 must hold real numbers, got dtype {values.dtype}.")
    return values


def _leaf(value: Any) -> _Leaf:
    values = real_numbers(value)
    dtype = values.dtype if values.is_floating_point() else torch.float64
    shape = values.shape

    def restore(x: Tensor) -> Any:
        shaped = x.reshape(len(x), *shape).to(dtype, copy=True)
        return shaped if isinstance(value, Tensor) else shaped.cpu().numpy()

    return _Leaf(values, restore, dtype)


def _vector(leaves: list[_Leaf]) -> Tensor:
    """Join the leaves; finite numbers only."""
    device, wide = leaves[0].values.device, torch.float64
    for leaf in leaves:
        if leaf.values.device != device:
            raise ValueError(
                f"x0 must be on one device, got {device} and {leaf.values.device}. Move its tensors to one."
            )
        wide = torch.float32 if leaf.values.device.type == "mps" else wide
    vector = torch.cat([leaf.values.reshape(-1).to(wide) for leaf in leaves])
    if not bool(torch.isfinite(vector).all()):
        raise ValueError(f"x0 must be finite, got {np.array2string(vector.cpu().numpy(), precision=4, threshold=6)}.")
    return vector


def to_tensor(array: np.ndarray) -> Tensor:
    """Copy into a tensor; torch takes neither foreign byte orders nor more than 64 bits nor negative strides."""
    if array.dtype == np.longdouble:
        array = array.astype(np.float64)
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))
