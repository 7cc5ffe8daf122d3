"""Which cases of a cross product run by default: every value of every list at least once."""

from collections.abc import Mapping, Sequence
from typing import Any


def sample(cases: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Whether each case stays, of a cross product of lists.

    Each value of the longest list stays once. The shorter lists go round beside it, all from their
    starts; when one has gone round, the next goes one further, so that in time they meet in all pairs.

    Args:
        cases: of each case its value of each list, by the list's name.
    """
    columns = [[case[name] for case in cases] for name in cases[0]]
    lists = [[v for n, v in enumerate(column) if v not in column[:n]] for column in columns]
    longest, *shorter = sorted(range(len(lists)), key=lambda number: -len(lists[number]))
    places = [[lists[n].index(value) for value in column] for n, column in enumerate(columns)]
    lengths = [len(lists[number]) for number in shorter]
    return [
        beside(turn, lengths) == [places[number][case] for number in shorter]
        for case, turn in enumerate(places[longest])
    ]


def beside(turn: int, lengths: Sequence[int]) -> list[int]:
    """The places in the shorter lists that go with one place in the longest."""
    places, rounds = [], turn
    for length in lengths:
        places.append((rounds + sum(places[:1])) % length)
        rounds //= length
    return places
