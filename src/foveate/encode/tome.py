"""ToMe in the encoder: its layers compute fewer rows, each weighing as much as the patches in it.

Source: ToMe (arXiv 2210.09461, ICLR 2023), sections 3.1 to 3.3: bipartite matching in small rounds,
means weighted by size, and attention to a row raised by the logarithm of its size. The paper merges in
every layer, by attention keys; here all rounds are taken at the entrance of one layer, by its states, so
that every layer behind is shortened alike. Behind the encoder each patch gets back what its row has
become: grids, pooling and features of several layers stay as they are.
"""

import math
from dataclasses import dataclass
from typing import Annotated

from jaxtyping import Float
from torch import Tensor

from foveate.compress.aim import merge_tokens
from foveate.defaults import ENCODER_KEEP
from foveate.keep import kept_count
from foveate.knobs import Checked, Keep, Range
from foveate.registry import register
from foveate.tokens import VisionTokens


@register("tome-encoder", stage="encode", paper="2210.09461")
@dataclass(frozen=True)
class ToMeEncoder(Checked):
    """Merge similar patches inside the vision encoder, in small rounds, weighted by size.

    Attributes:
        keep: share of each picture's, frame's or window's patches that is kept, in (0, 1].
        step: share of the rows left that one round merges away, at most half.
        layer: of the encoder, at whose entrance patches are merged; 0 is the first.
    """

    keep: Keep = ENCODER_KEEP
    step: Annotated[float, Range(above=0, most=0.5, noun="a share")] = 0.12
    layer: Annotated[int, Range(least=0)] = 0

    @property
    def is_off(self) -> bool:
        """Whether every patch is kept as it is."""
        return self.keep == 1.0

    def __call__(self, states: Float[Tensor, "B P D"]) -> VisionTokens:
        """Merge B pictures of P patches down to `ceil(keep * P)` rows each."""
        return merge_tokens(states, self.removals(states.shape[1]), weighted=True)

    def kept(self, patches: int) -> int:
        """How many rows stay of so many patches."""
        return kept_count(self.keep, patches)

    def removals(self, patches: int) -> list[int]:
        """Rows to merge away in each round."""
        target, removed = self.kept(patches), []
        while patches > target:
            removed.append(min(math.ceil(self.step * patches), patches // 2, patches - target))
            patches -= removed[-1]
        return removed

    def flops(self, patches: int, width: int) -> int:
        """FLOPs of the similarities of one picture of `patches`; a multiply-add counts as 2."""
        total = 0
        for removed in self.removals(patches):
            total += 2 * (patches - patches // 2) * (patches // 2) * width
            patches -= removed
        return total
