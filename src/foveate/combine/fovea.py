"""Fovea, our own: keep what differs most before the LLM, then prune inside it as AIM does."""

from dataclasses import dataclass

from foveate.combine.base import Combination
from foveate.compress.fovea import FoveaMerge
from foveate.defaults import KEEP, PRUNE
from foveate.knobs import Keep
from foveate.prune.aim import AIMPrune
from foveate.prune.schedule import Window
from foveate.registry import register


@register("fovea", stage="both", paper="foveate")
@dataclass(frozen=True)
class Fovea(Combination):
    """Keep what differs most in a whole sample, merge the rest into it, then prune as AIM does.

    `Fovea(keep=1.0, prune=None)` is off. docs/concepts/fovea.md says how it was found and what it gains.

    Attributes:
        keep: share of each sample's tokens that reaches the LLM, in (0, 1].
        prune: start and stop of pruning, as layer indices (int) or shares of depth (float), or None.
    """

    keep: Keep = KEEP
    prune: Window | None = PRUNE

    def pair(self) -> tuple[FoveaMerge, AIMPrune | None]:
        """Merging, and pruning if there is any."""
        return FoveaMerge(self.keep), None if self.prune is None else AIMPrune(self.prune)

    @classmethod
    def for_share(cls, share: int | float, layers: int) -> "Fovea":
        """The `keep` at which, with the default pruning window, layers compute `share` on average.

        Args:
            share: mean over the layers of the share of visual tokens that they compute.
            layers: depth of the LLM.

        Raises:
            InputError: not a share in (0, 1], or more than the window lets through.
        """
        return cls(keep=AIMPrune().keep_before(share, layers))
