"""Columns grow as concatenation would have them, and are copied seldom."""

import copy

import torch

from foveate.runtime.columns import Columns


def test_columns_are_those_that_were_added():
    first = torch.arange(6).view(2, 3)
    columns, expected = Columns(first), first
    views = []
    for step in range(40):
        new = torch.full((2, 1 + step % 3), step)
        columns.grow(new.shape[1], new)
        expected = torch.cat([expected, new], dim=1)
        views.append((columns.value, expected))
        assert columns.count == expected.shape[1]
    for view, then in views:  # later columns leave earlier views alone
        assert torch.equal(view, then)
    assert first.tolist() == [[0, 1, 2], [3, 4, 5]]
    other = copy.deepcopy(columns)
    other.grow(1, torch.full((2, 1), -1))
    assert torch.equal(columns.value, expected)
    swapped = columns.rearranged(lambda old: old[[1, 0, 1]])
    swapped.grow(1, torch.full((1, 1), 9))
    assert torch.equal(swapped.value[:, :-1], expected[[1, 0, 1]])
    assert swapped.value[:, -1].tolist() == [9, 9, 9]


def test_new_columns_are_filled_until_they_are_set():
    columns = Columns(torch.zeros(2, 1, dtype=torch.bool), fill=1)
    columns.grow(3)
    assert columns.value.tolist() == [[False, True, True, True]] * 2
    columns.set_last(torch.tensor([[True], [False]]))
    assert columns.value[:, -1].tolist() == [True, False]
    columns.grow(1)
    assert columns.value[:, -2:].tolist() == [[True, True], [False, True]]


def test_a_thousand_tokens_are_copied_a_dozen_times():
    columns, rooms = Columns(torch.zeros(1, 1)), set()
    kept = []  # so that no storage gets the place of an earlier one
    for _ in range(1000):
        columns.grow(1)
        kept.append(columns.value)
        rooms.add(columns.value.data_ptr())
    assert len(rooms) <= 10
