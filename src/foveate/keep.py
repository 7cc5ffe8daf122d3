"""What `keep` means: the share of visual tokens kept, a float in (0, 1]; 1.0 is off.

`KeepShare` is what methods before the LLM have in common.
"""

import math
from dataclasses import dataclass
from numbers import Real
from typing import TypeVar

from foveate.defaults import KEEP
from foveate.errors import InputError

T = TypeVar("T", bound="KeepShare")


def check_keep(keep: object) -> None:
    """Refuse a `keep` that is not a share in (0, 1].

    Raises:
        InputError: otherwise.
    """
    number = float("nan")
    if isinstance(keep, Real) and not isinstance(keep, bool):
        number = float(keep)
    if not 0 < number <= 1:  # NaN fails it too
        raise InputError(f"keep must be a share in (0, 1], got {keep!r}; 1.0 is off")


def kept_count(keep: float, tokens: int) -> int:
    """`ceil(keep * tokens)`, at least 1, safe against a float's last bit (0.28 * 25 is 7, not 8)."""
    return max(math.ceil(keep * tokens - 1e-9), 1)


@dataclass(frozen=True)
class KeepShare:
    """Base of methods before the LLM: of each group of n tokens, `ceil(keep * n)` are kept.

    Attributes:
        keep: share of each group's tokens that is kept, in (0, 1].
    """

    keep: float = KEEP

    def __post_init__(self) -> None:
        check_keep(self.keep)

    @property
    def needs(self) -> tuple[str, ...]:
        """Tensors that the model adapter must hand over beside the features."""
        return ()

    @property
    def at(self) -> str:
        """Which features the method sees: those at the LLM's input."""
        return "llm"

    @property
    def is_off(self) -> bool:
        """Whether every token is kept as it is."""
        return self.keep == 1.0

    @classmethod
    def for_share(cls: type[T], share: int | float, layers: int) -> T:
        """The method by which an LLM of any number of `layers` computes `share` of the visual tokens.

        Args:
            share: mean over the layers of the share of visual tokens that they compute.
            layers: depth of the LLM; before it, every layer sees the same.

        Raises:
            InputError: not a share in (0, 1].
        """
        return cls(keep=share)
