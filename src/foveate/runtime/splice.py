"""Splicing: run a compressor on the visual tokens of a prompt and put the result in their place."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from foveate.errors import UnsupportedError
from foveate.reduction import Compressor
from foveate.runtime.buckets import buckets
from foveate.runtime.visual_tokens import Visual


@dataclass(frozen=True)
class Spliced:
    """A prompt after compression, before the dropped rows are taken out.

    Attributes:
        embeds: (B, N, D), merged features at the rows that stay.
        stays: (B, N), False at visual rows that are gone.
        target: (B, N), for each visual row the flat row (over B * N) its patch is now part of, -1
            if dropped or not visual.
        visual_counts: visual rows of each sample that stay.
        flops: for each sample the FLOPs of deciding.
        places: (V,), the flat rows of the prompt's visual tokens.
    """

    embeds: Float[Tensor, "B N D"]
    stays: Bool[Tensor, "B N"]
    target: Int[Tensor, "B N"]
    visual_counts: list[int]
    flops: list[int]
    places: Int[Tensor, " V"]

    def mean(self, features: Float[Tensor, "V D"]) -> Float[Tensor, "B N D"]:
        """Average other features of the visual tokens over the patches of each row; 0 at other rows."""
        shape = self.embeds.shape[:2]
        places, count = self.places.to(features.device), shape.numel()
        target = self.target.flatten().to(features.device)[places]
        target = target.where(target >= 0, count)  # dropped: one row more, which is cut off
        sums = features.new_zeros(count + 1, features.shape[-1]).index_add(0, target, features)
        ones = torch.ones_like(target)
        sizes = ones.new_zeros(count + 1).index_add(0, target, ones).clamp(min=1)
        return (sums / sizes[:, None].to(sums.dtype))[:count].unflatten(0, shape)


def splice(
    embeds: Float[Tensor, "B N D"],
    visual: Visual,
    compressor: Compressor,
    valid: Bool[Tensor, "B N"],
    project: Callable[[Tensor], Tensor] | None = None,
) -> Spliced:
    """Compress every group of visual tokens; survivors stand at their own rows, in their order.

    Args:
        embeds: (B, N, D), the LLM's input.
        visual: where the visual tokens are and which group each belongs to.
        compressor: the method.
        valid: (B, N), False for padding.
        project: takes encoder features to the LLM's width.

    Raises:
        UnsupportedError: a method at the encoder whose patches were not seen or are not one to one with
            visual tokens, or another need that is not met.
    """
    if compressor.at == "encoder" and not visual.encoder:
        raise UnsupportedError(f"{compressor!r} works on patches, and the encoder's were not seen")
    rows = visual.places
    flat = embeds.flatten(0, 1).clone()
    stays = ~visual.mask.flatten()
    target = torch.full_like(visual.mask, -1, dtype=torch.long).flatten()
    flops, counts = list(visual.flops or [0] * len(embeds)), [0] * len(embeds)
    for bucket in buckets(embeds, visual, valid, compressor.needs):
        places = rows[bucket.members]  # (G, n)
        if visual.encoder is None:
            compared = bucket.needed.get("keys", flat)
            merged = compressor(flat[places], **bucket.needed)
            features = merged.features
        else:
            given = {name: value[bucket.groups] for name, value in _patches(visual).items()}
            patches = given.pop("features")
            compared = given.get("keys", patches)
            merged = compressor(patches, **given)
            features = project(merged.features) if project else merged.features
        each = compressor.flops(places.shape[1], compared.shape[-1])
        # token i stands at the i-th row that stays, whatever order the method returned
        kept = places.gather(1, merged.position.sort(dim=1).values)
        for home in bucket.homes:
            flops[home] += each
            counts[home] += kept.shape[1]
        flat[kept] = features.to(flat.dtype)
        stays.index_fill_(0, kept.flatten(), True)
        kept_or_dropped = torch.cat([kept, kept.new_full((len(kept), 1), -1)], dim=1)
        target[places] = kept_or_dropped.gather(
            1, merged.source.where(merged.source >= 0, kept.shape[1])
        )
    shape = visual.mask.shape
    return Spliced(flat.view_as(embeds), stays.view(shape), target.view(shape), counts, flops, rows)


def _patches(visual: Visual) -> Mapping[str, Tensor]:
    """The encoder's tensors, checked to hold exactly one patch for every visual token."""
    encoder = visual.encoder or {}
    counts = torch.bincount(visual.group)
    images, patches = encoder["features"].shape[:2]
    if len(counts) != images or bool((counts != patches).any()):
        raise UnsupportedError(
            f"merging at the encoder needs one visual token for each patch, got {images} x {patches} "
            f"patches for {len(visual.group)} visual tokens; use at='llm'"
        )
    return encoder
