"""What became of a part in this run, so that a row at which its worker dies is found and left out.

A broken file can end a decoder's process, and a large one can have it killed. Ray starts the worker
anew, and the part is begun again: after some deaths row by row, without the row at which it died then.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

BEGUN = "begun"
DEATHS = 2  # of a part, before its rows are asked one by one


class Attempts:
    """The beginnings of a part, and, row by row, how far each came, in a file.

    Args:
        path: the file, of one part and one run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._note(BEGUN)
        self.lines = path.read_text().splitlines()

    @property
    def one_by_one(self) -> bool:
        """Whether the worker died so often that rows are to be asked alone."""
        return self.lines.count(BEGUN) > DEATHS

    @property
    def deadly(self) -> set[int]:
        """Numbers of rows at which the worker died when it asked them alone."""
        return {int(row) for row, after in pairwise(self.lines) if after == BEGUN != row}

    def noted(self, numbers: range) -> Iterator[int]:
        """The numbers of rows, each noted before it is asked."""
        for number in numbers:
            self._note(str(number))
            yield number

    def _note(self, line: str) -> None:
        with self.path.open("a") as file:
            file.write(f"{line}\n")
