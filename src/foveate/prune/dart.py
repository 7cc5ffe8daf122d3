"""DART: a few pivots stay, and of the other visual tokens those that repeat the pivots least.

Source: DART (arXiv 2502.11494, EMNLP 2025), section 3.3, and the published code: after layer 2, pivots
are the tokens whose keys have the largest L1 norm, four of the picture and four of the text behind it.
One pivot after the other keeps an equal number of tokens that are not kept yet, those least similar to it
by cosine (the epsilon of definition 2 follows from that number). Pivots of the picture stay themselves.

What differs. Similarity is that of the layer's keys, of all heads side by side and after RoPE; the code
compares hidden states, which methods inside the LLM are not handed. In the norm the two numbers that RoPE
turns together count as one, by their length, so that it does not depend on where a prompt begins (not so
where RoPE turns neighbours, as in Cohere's). What an even division leaves over goes to the first pivots,
so that `keep` is met; the code rounds down. Pivots take turns by falling norm, the picture's first; the
code iterates over a Python set. With several drops the numbers of a later one follow from the tokens that
reach it, which may be one token off: the last pivot makes up for it.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from foveate.knobs import Count, Range
from foveate.prune.attention import all_valid, text_behind
from foveate.prune.schedule import Places, StagedPruner, kept_after
from foveate.registry import register


@register("dart", stage="inside", paper="2502.11494")
@dataclass(frozen=True)
class DART(StagedPruner):
    """After the second layer, drop the visual tokens that repeat a few pivots most.

    Attributes:
        after: how many layers run before the drop (the paper's K): a count (int) or a share of depth.
        keep: share of the visual tokens kept, in (0, 1]; 1.0 is off.
        pivots: how many visual tokens are pivots.
        words: how many tokens of the text behind the picture are pivots.
    """

    after: Places = (2,)
    pivots: Count = 4
    words: Annotated[int, Range(least=0)] = 4

    @property
    def needs(self) -> tuple[str, ...]:
        """Which rows are visual tokens: pivots are of both kinds."""
        return ("visual",)

    def score(
        self,
        query: Float[Tensor, "B H N d"],
        key: Float[Tensor, "B Hkv N d"],
        valid: Bool[Tensor, "B N"] | None,
        scaling: float | None,
        visual: Bool[Tensor, "B N"],
    ) -> Float[Tensor, "B N"]:
        """A score that falls in the order in which visual tokens are kept; 0 for all other rows."""
        valid = all_valid(query, valid)
        text = text_behind(visual, valid)
        keys = key.detach().float()
        norm = keys.unflatten(-1, (2, -1)).norm(dim=-2).sum((1, -1))
        score = torch.zeros_like(norm)
        for sample, rows in enumerate(keys.transpose(1, 2).flatten(2)):
            own, behind = ((mask[sample]).nonzero()[:, 0] for mask in (visual & valid, text))
            count = kept_after(Fraction(str(self.keep)), int(visual[sample].sum()))
            order = self.order(rows, norm[sample], own, behind, min(count, len(own)))
            score[sample, order] = torch.arange(len(order), 0, -1, device=order.device).float()
        return score

    def order(
        self,
        keys: Float[Tensor, "N D"],
        norm: Float[Tensor, " N"],
        visual: Int[Tensor, " V"],
        text: Int[Tensor, " T"],
        count: int,
    ) -> Int[Tensor, " V"]:
        """The visual rows of one sample, from the first that is kept to the last.

        Args:
            keys: of all rows.
            norm: of all rows' keys.
            visual: which rows are visual tokens.
            text: which rows are text behind the picture.
            count: how many visual tokens are to be kept.
        """
        falling = visual[norm[visual].argsort(descending=True, stable=True)]
        pivots = falling[: min(self.pivots, max(count, 1))]
        heard = text[norm[text].argsort(descending=True, stable=True)][: self.words]
        unit = F.normalize(keys, dim=-1)
        similar = unit[torch.cat([pivots, heard])] @ unit[visual].mT
        free, chosen = ~torch.isin(visual, pivots), [pivots]
        each, over = divmod(max(count - len(pivots), 0), max(len(similar), 1))
        for number, alike in enumerate(similar):
            quota = each + (number < over) if number + 1 < len(similar) else int(free.sum())
            least = alike.masked_fill(~free, torch.inf).argsort(stable=True)[:quota]
            free[least] = False
            chosen.append(visual[least])
        return torch.cat(chosen)

    def flops(self, rows: int, heads: int, head_dim: int, text: int = 0) -> int:
        """FLOPs of the similarities to the pivots, taking keys to have as many heads as queries."""
        return 2 * rows * (self.pivots + min(self.words, text)) * heads * head_dim
