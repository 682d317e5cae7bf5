"""Row operations on states: nested tuples of tensors that share their leading dimension B."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor


def take(state: Any, rows: np.ndarray) -> Any:
    """Return the rows with these indices (b,) as a state of their own."""
    if state is None:
        return None
    if isinstance(state, Tensor):
        return state[torch.from_numpy(rows).to(state.device)]
    return _rebuild(state, [take(part, rows) for part in state])


def put(state: Any, rows: np.ndarray, new: Any) -> Any:
    """Return a copy of `state` with these rows replaced by the rows of `new`."""
    if state is None:
        return None
    if isinstance(state, Tensor):
        return state.index_copy(0, torch.from_numpy(rows).to(state.device), new)
    return _rebuild(state, [put(old, rows, part) for old, part in zip(state, new, strict=True)])


def concatenate(first: Any, second: Any) -> Any:
    """Return the rows of `first`, then the rows of `second`."""
    if first is None:
        return None
    if isinstance(first, Tensor):
        return torch.cat([first, second])
    return _rebuild(first, [concatenate(a, b) for a, b in zip(first, second, strict=True)])


def leaves(state: Any) -> list[Tensor]:
    """List the tensors of a state, in a fixed order."""
    if state is None:
        return []
    if isinstance(state, Tensor):
        return [state]
    return [leaf for part in state for leaf in leaves(part)]


def with_leaves(like: Any, new: list[Tensor]) -> Any:
    """Return a state shaped like `like` with these tensors: the inverse of `leaves`."""
    return _fill(like, iter(new))


def _fill(like: Any, new: Iterator[Tensor]) -> Any:
    if like is None:
        return None
    if isinstance(like, Tensor):
        return next(new).to(like)
    return _rebuild(like, [_fill(part, new) for part in like])


def _rebuild(like: Any, parts: list[Any]) -> Any:
    return type(like)(*parts) if hasattr(like, "_fields") else tuple(parts)
