"""AIM merging: each even token joins the odd token it is most similar to, in rounds.

Source: AIM (arXiv 2412.03248), section 3.2, after ToMe's bipartite matching (arXiv 2210.09461). Groups
(tiles, frames) never mix. A round removes at most half of the tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from foveate.compress.base import Merging
from foveate.errors import InputError
from foveate.keep import kept_count
from foveate.knobs import check_of
from foveate.registry import register
from foveate.tokens import VisionTokens

Order = Literal["raster", "reference"]


@register("aim-merge", stage="before", paper="2412.03248")
@dataclass(frozen=True)
class AIMMerge(Merging):
    """Merge similar visual tokens of each tile or frame, in rounds that at most halve.

    Attributes:
        keep: share of each group's tokens that is kept, in (0, 1]; `ceil(keep * n)` of n.
        order: "raster" leaves the survivors in grid order; "reference" is the published order.
        weighted: weigh a token by the patches it stands for; the paper does not.
        metric: what similarity is measured on, "features" or the vision tower's "keys".
        at: "llm" merges the features at the LLM's input, "encoder" those before the projector.
    """

    order: Order = "raster"
    weighted: bool = False
    metric: Literal["features", "keys"] = "features"
    at: Literal["llm", "encoder"] = "llm"  # pyright: ignore[reportIncompatibleMethodOverride]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.metric == "keys" and self.at == "llm":
            raise InputError('metric="keys" needs at="encoder": keys exist for every encoder patch')

    @property
    def needs(self) -> tuple[str, ...]:
        """Tensors that the model adapter must hand over besides the features."""
        return ("keys",) if self.metric == "keys" else ()

    def __call__(
        self, features: Float[Tensor, "B N D"], keys: Float[Tensor, "B N K"] | None = None
    ) -> VisionTokens:
        """Merge B groups of N tokens down to `ceil(keep * N)` each."""
        removals = rounds(features.shape[1], kept_count(self.keep, features.shape[1]))
        return merge_tokens(features, removals, self.order, weighted=self.weighted, metric=keys)

    def flops(self, tokens: int, width: int) -> int:
        """FLOPs of the similarities of one group of `tokens`; a multiply-add counts as 2."""
        total = 0
        for removed in rounds(tokens, kept_count(self.keep, tokens)):
            total += 2 * (tokens - tokens // 2) * (tokens // 2) * width
            tokens -= removed
        return total


def rounds(tokens: int, target: int) -> list[int]:
    """Tokens to remove in each round to come from `tokens` to `target`, at most half at a time."""
    removals = []
    while tokens > target:
        removals.append(min(tokens - target, tokens // 2))
        tokens -= removals[-1]
    return removals


def merge_tokens(
    features: Float[Tensor, "B N D"],
    removals: Sequence[int],
    order: Order = "raster",
    *,
    weighted: bool = False,
    metric: Float[Tensor, "B N K"] | None = None,
) -> VisionTokens:
    """Merge by bipartite matching, one round for each entry of `removals`.

    Args:
        features: (B, N, D), B groups of N tokens.
        removals: tokens to remove in each round; a round caps it at half of what is left.
        order: "raster" or "reference" (unmerged sources by falling similarity, destinations).
        weighted: weigh tokens by size; the published mean counts each once.
        metric: (B, N, K), what similarity is measured on, merged along; default the features.

    Returns:
        What is left, with sizes, positions and where each patch went.

    Raises:
        InputError: a removal is negative or `order` unknown.
    """
    check_of(Order)(order, "order")
    if any(removed < 0 for removed in removals):
        raise InputError(f"removals must be counts of at least 0, got {list(removals)}")
    tokens = VisionTokens.of(features)
    similarity = VisionTokens.of(features if metric is None else metric)
    for removed in removals:
        removed = min(removed, tokens.features.shape[1] // 2)
        if removed:
            kept, into = _match(similarity.features, removed, order)
            tokens = tokens.merge(kept, into, weighted=weighted)
            similarity = (
                tokens if metric is None else similarity.merge(kept, into, weighted=weighted)
            )
    return tokens


def _match(metric: Float[Tensor, "B N K"], removed: int, order: Order) -> tuple[Tensor, Tensor]:
    """The tokens that stay, (B, N - removed), and the one that each token is merged into, (B, N)."""
    groups, count, _ = metric.shape
    unit = F.normalize(metric, dim=-1)
    best, partner = (unit[:, ::2] @ unit[:, 1::2].mT).max(dim=-1)
    ranked = best.argsort(dim=-1, descending=True)
    merged, unmerged = ranked[:, :removed] * 2, ranked[:, removed:] * 2
    every = torch.arange(count, device=metric.device).expand(groups, count)
    into = every.scatter(1, merged, partner.gather(1, merged // 2) * 2 + 1)
    kept = torch.cat([unmerged, every[:, 1::2]], dim=1)
    return (kept.sort(dim=1).values if order == "raster" else kept), into
