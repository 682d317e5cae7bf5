"""Row operations on nested states: take, put, concatenate, and the flattening for checkpoints."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from zo_gym.tree import concatenate, leaves, put, take, with_leaves

B = 4


class Pair(NamedTuple):
    """A state with names."""

    first: Any
    second: Any


def nested(offset: float = 0.0) -> Any:
    """A state with every shape that the library uses; row b holds numbers that end in b."""
    rows = torch.arange(B, dtype=torch.float64) + offset
    return Pair(rows, (rows[:, None] + 10, None, (), (rows.long() + 20, rows > 1)))


def rows_of(state: Any) -> list[list[Any]]:
    return [leaf.tolist() for leaf in leaves(state)]


STATES = {"tensor": torch.arange(B), "nested": nested(), "empty": (), "none": None}


def test_take_picks_the_named_rows_in_their_order() -> None:
    taken = take(nested(), np.array([2, 0]))
    assert rows_of(taken) == [[2.0, 0.0], [[12.0], [10.0]], [22, 20], [True, False]]


def test_put_replaces_the_named_rows_only() -> None:
    state = nested()
    new = put(state, np.array([3, 1]), take(nested(100.0), np.array([0, 1])))
    assert leaves(new)[0].tolist() == [0, 101, 2, 100]
    assert leaves(new)[1][:, 0].tolist() == [10, 111, 12, 110]


def test_concatenate_appends_rows() -> None:
    both = concatenate(take(nested(), np.array([0, 1])), take(nested(), np.array([2, 3])))
    assert rows_of(both) == rows_of(nested())


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_taking_and_putting_back_changes_nothing(state: Any) -> None:
    rows = np.array([1, 3])
    assert rows_of(put(state, rows, take(state, rows))) == rows_of(state)


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_with_leaves_inverts_leaves(state: Any) -> None:
    again = with_leaves(state, leaves(state))
    assert rows_of(again) == rows_of(state)
    assert type(again) is type(state)


def test_with_leaves_restores_the_types_of_the_state_it_is_like() -> None:
    loaded = [leaf.to(torch.float32) for leaf in leaves(nested())]
    assert [leaf.dtype for leaf in leaves(with_leaves(nested(), loaded))] == [leaf.dtype for leaf in leaves(nested())]


def test_named_tuples_nones_and_empty_tuples_survive() -> None:
    rows = np.array([0])
    for new in (take(nested(), rows), put(nested(), rows, take(nested(), rows)), concatenate(nested(), nested())):
        assert isinstance(new, Pair)
        assert new.second[1] is None
        assert new.second[2] == ()


def test_no_operation_mutates_or_aliases_its_argument() -> None:
    state, rows = nested(), np.array([0, 2])
    results = [take(state, rows), put(state, rows, take(nested(9.0), rows)), concatenate(state, state)]
    for result in results:
        for leaf in leaves(result):
            leaf.zero_()
    assert rows_of(state) == rows_of(nested())


def test_states_of_different_shape_do_not_mix() -> None:
    with pytest.raises(ValueError, match="zip"):
        concatenate((torch.zeros(1), torch.zeros(1)), (torch.zeros(1),))


def test_leaves_come_in_a_fixed_order() -> None:
    a, b, c = (torch.tensor([float(i)]) for i in range(3))
    found: list[Tensor] = leaves((a, (None, b), (), Pair(c, None)))
    assert [leaf.item() for leaf in found] == [0, 1, 2]
