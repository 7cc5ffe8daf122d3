"""AIM: merge before the LLM, prune inside it. Source: arXiv 2412.03248 (ICCV 2025)."""

from dataclasses import dataclass

from foveate.combine.base import Combination
from foveate.compress.aim import AIMMerge, Order
from foveate.defaults import KEEP, PRUNE
from foveate.errors import InputError
from foveate.knobs import Keep
from foveate.prune.aim import AIMPrune
from foveate.prune.schedule import Window
from foveate.reduction import Reduction
from foveate.registry import register


@register("aim", stage="both", paper="2412.03248")
@dataclass(frozen=True)
class AIM(Combination):
    """Merge similar visual tokens, then prune the rest progressively inside the LLM.

    `AIM(keep=1.0, prune=None)` is off.

    Attributes:
        keep: share of each tile's or frame's tokens that reaches the LLM, in (0, 1].
        prune: start and stop of pruning, as layer indices (int) or shares of depth (float), or None.
        order: "raster" keeps the grid order, "reference" is the published one.
        weighted: weigh merged tokens by the patches that they stand for.
    """

    keep: Keep = KEEP
    prune: Window | None = PRUNE
    order: Order = "raster"
    weighted: bool = False

    def pair(self) -> tuple[AIMMerge, AIMPrune | None]:
        """Merging, and pruning if there is any."""
        merge = AIMMerge(self.keep, self.order, self.weighted)
        return merge, None if self.prune is None else AIMPrune(self.prune)

    @classmethod
    def for_share(cls, share: int | float, layers: int) -> "AIM":
        """The `keep` at which, with the paper's pruning window, layers compute `share` on average.

        Args:
            share: mean over the layers of the share of visual tokens that they compute.
            layers: depth of the LLM.

        Raises:
            InputError: not a share in (0, 1], or more than the window lets through.
        """
        return cls(keep=AIMPrune().keep_before(share, layers))

    @staticmethod
    def paper(name: str) -> Reduction:
        """A published setting, by name.

        Video settings merge the projected, pooled features; LLaVA-1.5 settings merge encoder features
        before the projector, by the keys of the vision layer that reads them (paper, sections 4.1 and
        4.2, and its code).

        Raises:
            InputError: no such setting; the message lists them.
        """
        if name not in PAPER:
            raise InputError(f"unknown setting {name!r}; published: {', '.join(PAPER)}")
        merge, prune = PAPER[name]
        return Reduction(before=merge, inside=AIMPrune(prune))


def _image(tokens: int) -> AIMMerge:
    return AIMMerge(tokens / 576, "reference", metric="keys", at="encoder")


PAPER: dict[str, tuple[AIMMerge, tuple[int, int]]] = {
    "llava-onevision-7b": (AIMMerge(0.25, "reference"), (14, 22)),
    "llava-onevision-7b-74": (AIMMerge(74 / 196, "reference"), (14, 22)),  # Table E
    "llava-1.5-7b": (_image(252), (13, 21)),
    "llava-1.5-7b-low": (_image(72), (13, 21)),
}
