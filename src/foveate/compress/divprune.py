"""DivPrune: the tokens that are as far from each other as can be.

Source: DivPrune (arXiv 2503.02175, CVPR 2025), section 3.2: the max-min diversity problem, solved
greedily with cosine distance. It starts from the token whose nearest neighbour is farthest; each next one
is the token farthest from those already kept.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from foveate.compress.base import KeepShare
from foveate.keep import kept_count
from foveate.registry import register
from foveate.tokens import VisionTokens

LOG = logging.getLogger(__name__)


@register("divprune", stage="before", paper="2503.02175")
@dataclass(frozen=True)
class DivPrune(KeepShare):
    """Keep the visual tokens of each group that differ most from each other.

    Attributes:
        keep: share of each group's tokens that is kept, in (0, 1].
    """

    def __call__(self, features: Float[Tensor, "B N D"]) -> VisionTokens:
        """Keep `ceil(keep * N)` tokens of each of B groups."""
        kept = diverse(features, kept_count(self.keep, features.shape[1]))
        return VisionTokens.of(features).take(kept.sort(dim=1).values)

    def flops(self, tokens: int, width: int) -> int:
        """FLOPs of the distances between all tokens of a group."""
        return 2 * tokens * tokens * width


@torch.no_grad()  # places have no gradient
def diverse(features: Float[Tensor, "B N D"], count: int) -> Int[Tensor, "B K"]:
    """Greedy max-min choice of `count` rows by cosine distance, in the order in which they are chosen."""
    return far_apart(cosine_distance(features), count)


def cosine_distance(features: Float[Tensor, "B N D"]) -> Float[Tensor, "B N N"]:
    """One minus the cosine similarity of all pairs of rows."""
    unit = F.normalize(features.float(), dim=-1)
    return (unit @ unit.mT).neg_().add_(1)  # in place: N x N is the most that this holds


def far_apart(distance: Float[Tensor, "B N N"], count: int) -> Int[Tensor, "B K"]:
    """Greedy max-min choice of `count` candidates, in the order in which they are chosen.

    Args:
        distance: of each candidate (column) from what may be chosen (row); its diagonal is overwritten.
        count: how many to choose.
    """
    own = distance.diagonal(dim1=1, dim2=2)
    own.fill_(torch.inf)
    first = distance.amin(-2).argmax(-1)
    own.fill_(-torch.inf)  # so that what is chosen is never nearest to what is left
    cuda = distance.is_cuda and not torch.version.hip  # ROCm's GPUs call themselves so, too
    return (kernel_on(distance.device) if cuda else steps)(distance, first, count)


def steps(
    distance: Float[Tensor, "B N N"], first: Int[Tensor, "B"], count: int
) -> Int[Tensor, "B K"]:
    """From the first row on the one that is farthest from those before it, until there are `count`."""
    chosen = [first]
    nearest = torch.full(distance.shape[:2], torch.inf, device=distance.device)
    each = torch.arange(len(distance), device=distance.device)
    for _ in range(count - 1):  # few operations a step: on a GPU each costs the same, however small
        torch.minimum(nearest, distance[each, chosen[-1]], out=nearest)
        chosen.append(nearest.argmax(-1))
    return torch.stack(chosen, dim=1)


@cache
def kernel_on(device: torch.device) -> Callable[[Tensor, Tensor, int], Tensor]:
    """All `steps` in one kernel, tried on two rows; where that fails, `steps` and a line in the log."""
    try:
        from foveate.compress.kernels.diverse import steps_in_one_kernel

        first = torch.zeros(1, dtype=torch.long, device=device)
        steps_in_one_kernel(torch.zeros(1, 2, 2, device=device), first, 2)
    except Exception as error:  # no Triton, no C compiler for it, a GPU that it does not know
        LOG.info("no kernel for the tokens that differ most on %s, so a loop: %s", device, error)
        return steps
    return steps_in_one_kernel
