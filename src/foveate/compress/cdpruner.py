"""CDPruner: diverse tokens that have to do with the question.

Source: CDPruner (arXiv 2506.10967, NeurIPS 2025), sections 3.2 and 3.3: a determinantal point process
whose kernel is the tokens' cosine similarity, scaled on both sides by each token's relevance to the
instruction; the most probable subset is found greedily. The paper measures relevance with CLIP's text
encoder, which models do not carry along; here it is the mean cosine similarity to the text's tokens at
the LLM's input, from 0 for the least relevant token of a group to 1 for the most. The published code for
LLaVA negates the similarity first, which its author calls a peculiarity of CLIP; here it is not negated.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from foveate.compress.base import KeepShare
from foveate.keep import kept_count
from foveate.registry import register
from foveate.tokens import VisionTokens

LEAST = 1e-10  # of a row's own part, below which it has none


@register("cdpruner", stage="before", paper="2506.10967")
@dataclass(frozen=True)
class CDPruner(KeepShare):
    """Keep visual tokens that differ from each other and have to do with the question.

    Attributes:
        keep: share of each group's tokens that is kept, in (0, 1].
    """

    @property
    def needs(self) -> tuple[str, ...]:
        """The question's tokens at the LLM's input."""
        return ("query",)

    def __call__(
        self, features: Float[Tensor, "B N D"], query: Float[Tensor, "B T D"]
    ) -> VisionTokens:
        """Keep `ceil(keep * N)` tokens of each of B groups."""
        unit = F.normalize(features.float(), dim=-1)
        worth = relevance(unit, query)
        kernel = worth[:, :, None] * (unit @ unit.mT) * worth[:, None, :]
        kept = likeliest(kernel, kept_count(self.keep, features.shape[1]))
        return VisionTokens.of(features).take(kept.sort(dim=1).values)

    def flops(self, tokens: int, width: int) -> int:
        """FLOPs of the kernel and of the greedy search in it."""
        kept = kept_count(self.keep, tokens)
        return 2 * tokens * tokens * width + tokens * kept * kept


def relevance(unit: Float[Tensor, "B N D"], query: Float[Tensor, "B T D"]) -> Float[Tensor, "B N"]:
    """Mean cosine similarity of each token to the text, stretched to [0, 1] within each group."""
    similar = (unit @ F.normalize(query.float(), dim=-1).mT).mean(-1)
    low, high = similar.amin(-1, keepdim=True), similar.amax(-1, keepdim=True)
    return (similar - low + 1e-6) / (high - low + 1e-6)


def likeliest(kernel: Float[Tensor, "B N N"], count: int) -> Int[Tensor, "B K"]:
    """Greedy most probable subset of a DPP, in the order in which its members are chosen.

    Each step takes the row that raises the determinant most and takes its direction out of the others
    (the incremental Cholesky factor of Chen et al., arXiv 1709.05135).
    """
    groups, rows, _ = kernel.shape
    gain = kernel.diagonal(dim1=1, dim2=2).clone()
    factor = kernel.new_zeros(groups, count, rows)
    each = torch.arange(groups, device=kernel.device)
    chosen = []
    for step in range(count):
        row = gain.argmax(-1)
        chosen.append(row)
        past = (factor[each, :step, row][:, None] @ factor[:, :step])[:, 0]
        own = gain[each, row][:, None]  # by rounding less than 0 where nothing new is left
        rest = (kernel[each, row] - past) / own.clamp(LEAST).sqrt()
        direction = torch.where(own > LEAST, rest, 0)
        factor[:, step] = direction
        gain = (gain - direction.square()).scatter(1, torch.stack(chosen, dim=1), -torch.inf)
    return torch.stack(chosen, dim=1)
