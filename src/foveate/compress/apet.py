"""ApET: the tokens that a few others cannot reconstruct stay, and what they can is merged.

Source: ApET (arXiv 2602.19870, CVPR 2026) and its published code. Ten basis tokens are chosen by farthest
point sampling. Each token is approximated by its best linear combination of them (least squares, with a
ridge of 1e-5), and those with the largest errors stay beside the basis. Each other token is averaged into
the most similar one, by cosine, of those that stay for their errors; the basis stays as it is.

Left out: the second compression after layer 16 of the LLM, where methods drop.

What differs. Sampling starts from the token that is farthest from the mean, the code's from a random one.
At most half of what stays is basis, so that few tokens can be kept. The code averages basis tokens into
others, too, beside handing them on; here each patch is part of one token. It works on the encoder's
output for LLaVA, and for Video-LLaVA on the projector's, as here.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from foveate.compress.base import Merging
from foveate.keep import kept_count
from foveate.knobs import Count
from foveate.registry import register
from foveate.tokens import VisionTokens

RIDGE = (
    1e-5  # keeps the equations solvable where basis tokens are alike, beside what rounding hides
)


@register("apet", stage="before", paper="2602.19870")
@dataclass(frozen=True)
class ApET(Merging):
    """Keep the visual tokens that a linear basis of a few approximates worst; merge the others.

    Attributes:
        keep: share of each group's tokens that is kept, in (0, 1].
        basis: how many tokens make the basis, if that is not more than half of those kept.
    """

    basis: Count = 10

    def __call__(self, features: Float[Tensor, "B N D"]) -> VisionTokens:
        """Keep `ceil(keep * N)` tokens of each of B groups."""
        count = kept_count(self.keep, features.shape[1])
        rows = features.float()
        chosen = farthest(rows, min(self.basis, count // 2))
        error = approximation_error(rows, chosen).scatter(1, chosen, -torch.inf)
        worst = error.argsort(dim=1, descending=True, stable=True)[:, : count - chosen.shape[1]]
        unit = F.normalize(rows, dim=-1)
        aims = unit.gather(1, worst[..., None].expand(-1, -1, unit.shape[2]))
        into = worst.gather(1, (unit @ aims.mT).argmax(-1))
        stay = torch.cat([chosen, worst], dim=1).sort(dim=1).values
        return VisionTokens.of(features).merge(stay, into.scatter(1, stay, stay))

    def flops(self, tokens: int, width: int) -> int:
        """FLOPs of sampling, of the approximation, and of the similarities to what stays."""
        kept = kept_count(self.keep, tokens)
        basis = min(self.basis, kept // 2)
        return 2 * width * (tokens * (2 * basis + kept) + basis * basis)


def farthest(rows: Float[Tensor, "B N D"], count: int) -> Int[Tensor, "B M"]:
    """Farthest point sampling: each next row is the one farthest from all that are chosen.

    The first is the one farthest from the mean.
    """
    groups = len(rows)
    chosen = torch.zeros(groups, count, dtype=torch.long, device=rows.device)
    apart = (rows - rows.mean(1, keepdim=True)).square().sum(-1)
    each = torch.arange(groups, device=rows.device)
    for number in range(count):
        chosen[:, number] = apart.argmax(1)
        near = (rows - rows[each, chosen[:, number]][:, None]).square().sum(-1)
        apart = torch.minimum(apart, near) if number else near
        apart = apart.scatter(1, chosen[:, : number + 1], -torch.inf)  # also where all are alike
    return chosen


def approximation_error(
    rows: Float[Tensor, "B N D"], chosen: Int[Tensor, "B M"]
) -> Float[Tensor, "B N"]:
    """Distance of each row from its best linear combination of the chosen rows."""
    basis = rows.gather(1, chosen[..., None].expand(-1, -1, rows.shape[2]))
    gram = basis @ basis.mT
    count = basis.shape[1]
    rounding = count * torch.finfo(gram.dtype).eps * gram.diagonal(dim1=1, dim2=2).mean(-1)
    ridge = (RIDGE + rounding)[:, None, None]
    gram = gram + ridge * torch.eye(count, device=rows.device)
    weights = torch.linalg.solve(gram, basis @ rows.mT)
    return (rows - weights.mT @ basis).norm(dim=-1)
