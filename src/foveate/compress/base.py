"""What methods before the LLM have in common."""

from dataclasses import dataclass, field
from typing import Any, TypeVar

from foveate.defaults import KEEP
from foveate.keep import kept_count
from foveate.knobs import Checked, Keep

T = TypeVar("T", bound="KeepShare")


@dataclass(frozen=True)
class KeepShare(Checked):
    """Base of methods before the LLM: of each group of n tokens, `ceil(keep * n)` are kept.

    Attributes:
        keep: share of each group's tokens that is kept, in (0, 1].
    """

    keep: Keep = KEEP

    @property
    def needs(self) -> tuple[str, ...]:
        """Tensors that the model adapter must hand over besides the features."""
        return ()

    @property
    def at(self) -> str:
        """Which features the method sees: those at the LLM's input."""
        return "llm"

    @property
    def is_off(self) -> bool:
        """Whether every token is kept as it is."""
        return self.keep == 1.0

    def kept(self, tokens: int, **known: Any) -> int:
        """How many of a group's tokens stay.

        Args:
            tokens: how many the group has.
            **known: what a count may depend on, where the method needs it: `grid`, `frames`.
        """
        return kept_count(self.keep, tokens)

    @classmethod
    def for_share(cls: type[T], share: int | float, layers: int) -> T:
        """The setting at which the LLM's layers compute `share` of the visual tokens on average.

        Args:
            share: mean over the layers of the share of visual tokens that they compute.
            layers: depth of the LLM; it does not matter here, for every layer sees the same tokens.

        Raises:
            InputError: not a share in (0, 1].
        """
        return cls(keep=share)


@dataclass(frozen=True)
class Merging(KeepShare):
    """Base of methods before the LLM whose tokens stand for several patches.

    Attributes:
        keep: share of each group's tokens that is kept, in (0, 1].
        size_aware: whether a token that stands for k patches counts as k in the LLM's attention, by log k
            on its key's logits (ToMe, arXiv 2210.09461); under SDPA and eager attention.
    """

    size_aware: bool = field(default=False, kw_only=True)
