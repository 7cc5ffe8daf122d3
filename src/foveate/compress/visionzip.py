"""VisionZip: the tokens that the encoder attends to stay, the rest is merged into a few.

Source: VisionZip (arXiv 2412.04467, CVPR 2025), section 3.2: dominant tokens get the most attention, from
[CLS] or, in towers without one (SigLIP), from all patches on average; some of the others, evenly spaced,
are contextual tokens, and each remaining token is averaged into the one whose key is most similar. The
paper keeps 54 dominant tokens and 10 contextual ones of 64.

What differs from the published code: it hands [CLS] on as one of the 54, compares keys averaged over
heads, and adds to a contextual token the mean of those merged into it. Here [CLS] is not a visual token,
keys are those of all heads side by side, and the mean includes the contextual token.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from foveate.compress.base import Merging
from foveate.compress.stride import spaced
from foveate.keep import kept_count
from foveate.knobs import Share
from foveate.registry import register
from foveate.tokens import VisionTokens


@register("visionzip", stage="before", paper="2412.04467")
@dataclass(frozen=True)
class VisionZip(Merging):
    """Keep the visual tokens that the vision encoder attends to; merge the rest into a few.

    Attributes:
        keep: share of each group's tokens that is kept, in (0, 1].
        contextual: share of the kept tokens that the rest is merged into, in [0, 1].
    """

    contextual: Share = 10 / 64

    @property
    def needs(self) -> tuple[str, ...]:
        """The vision layer's attention and keys."""
        return ("attention", "keys")

    def __call__(
        self,
        features: Float[Tensor, "B N D"],
        attention: Float[Tensor, "B N"],
        keys: Float[Tensor, "B N K"],
    ) -> VisionTokens:
        """Keep `ceil(keep * N)` tokens of each of B groups."""
        count = features.shape[1]
        kept = kept_count(self.keep, count)
        few = round(self.contextual * kept)
        ranked = attention.argsort(dim=1, descending=True, stable=True)
        dominant = ranked[:, : kept - few]
        rest = ranked[:, kept - few :].sort(dim=1).values
        targets = rest[:, spaced(rest.shape[1], few).to(rest.device)]
        every = torch.arange(count, device=rest.device).expand(len(rest), -1)
        into = torch.full_like(every, -1)
        if few:
            unit = F.normalize(keys.float(), dim=-1)
            aims = unit.gather(1, targets[..., None].expand(-1, -1, unit.shape[2]))
            into = targets.gather(1, (unit @ aims.mT).argmax(-1))
        stay = torch.cat([dominant, targets], dim=1).sort(dim=1).values
        return VisionTokens.of(features).merge(stay, into.scatter(1, stay, stay))

    def flops(self, tokens: int, width: int) -> int:
        """FLOPs of the similarities to the contextual tokens; `width` is that of the keys."""
        return 2 * tokens * round(self.contextual * kept_count(self.keep, tokens)) * width
