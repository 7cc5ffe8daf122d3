"""Tensors that grow by columns, token after token, without being copied for each."""

from collections.abc import Callable

from jaxtyping import Shaped
from torch import Tensor


class Columns:
    """A (B, K) tensor that columns are added to; when its room is full, it gets twice as much.

    Args:
        first: (B, K), the columns so far.
        fill: what new columns hold until they are set.
    """

    def __init__(self, first: Shaped[Tensor, "B K"], fill: int = 0) -> None:
        self._room, self._count, self._fill = first, first.shape[1], fill

    @property
    def count(self) -> int:
        """How many columns there are."""
        return self._count

    @property
    def value(self) -> Shaped[Tensor, "B K"]:
        """The columns so far; a view that later columns leave alone."""
        return self._room[:, : self._count]

    def grow(self, count: int, columns: Shaped[Tensor, "_ q"] | None = None) -> None:
        """Add so many columns, these or filled ones."""
        self._count += count
        if self._count > self._room.shape[1]:
            before = self._room[:, : self._count - count]
            self._room = before.new_full((len(before), 2 * self._count), self._fill)
            self._room[:, : before.shape[1]] = before
        if columns is not None:
            self.set_last(columns)

    def set_last(self, columns: Shaped[Tensor, "_ q"]) -> None:
        """Set the last columns, which were grown."""
        self._room[:, self._count - columns.shape[1] : self._count] = columns

    def rearranged(self, pick: Callable[[Tensor], Tensor]) -> "Columns":
        """The same for other samples."""
        return Columns(pick(self.value), self._fill)
