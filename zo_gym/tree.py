"""Row operations on states: nested tuples of tensors that share their leading dimension B; a part may be None."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor


def take(state: Any, rows: np.ndarray) -> Any:
    """Return the rows with these indices (b,) as a state of their own."""
    return _map(lambda part: part[torch.from_numpy(rows).to(part.device)], state)


def put(state: Any, rows: np.ndarray, new: Any) -> Any:
    """Return a copy of `state` with these rows replaced by the rows of `new`."""
    return _map(lambda old, part: old.index_copy(0, torch.from_numpy(rows).to(old.device), part), state, new)


def concatenate(first: Any, second: Any) -> Any:
    """Return the rows of `first`, then the rows of `second`."""
    return _map(lambda *parts: torch.cat(parts), first, second)


def leaves(state: Any) -> list[Tensor]:
    """List the tensors of a state, in a fixed order."""
    found: list[Tensor] = []
    _map(found.append, state)
    return found


def with_leaves(like: Any, new: list[Tensor]) -> Any:
    """Return a state shaped like `like` with these tensors: the inverse of `leaves`."""
    rest = iter(new)
    return _map(lambda part: next(rest).to(part), like)


def _map(change: Callable[..., Any], state: Any, *others: Any) -> Any:
    """Apply `change` to each tensor of a state, and to the tensors at the same place in states of the same shape."""
    if state is None:
        return None
    if isinstance(state, Tensor):
        return change(state, *others)
    parts = [_map(change, *part) for part in zip(state, *others, strict=True)]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
