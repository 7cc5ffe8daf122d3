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
        flops: for each sample what was spent on deciding.
        visual: (B, N), the visual rows of the prompt.
    """

    embeds: Float[Tensor, "B N D"]
    stays: Bool[Tensor, "B N"]
    target: Int[Tensor, "B N"]
    flops: list[int]
    visual: Bool[Tensor, "B N"]

    def mean(self, features: Float[Tensor, "V D"]) -> Float[Tensor, "B N D"]:
        """Other features of the visual tokens, averaged over the patches of each row; 0 at other rows."""
        target = self.target[self.visual]
        kept, batch = target >= 0, self.embeds.shape[:2]
        sums = features.new_zeros(batch.numel(), features.shape[-1])
        sums.index_add_(0, target[kept], features[kept])
        counts = torch.bincount(target[kept], minlength=batch.numel()).clamp(min=1)
        return (sums / counts[:, None].to(sums.dtype)).view(*batch, -1)


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
        UnsupportedError: a method at the encoder, but patches were not seen, or are not one to one with
            visual tokens; or something else that the method needs is not known.
    """
    if compressor.at == "encoder" and not visual.encoder:
        raise UnsupportedError(f"{compressor!r} works on patches, and the encoder's were not seen")
    rows = visual.mask.flatten().nonzero()[:, 0]
    flat = embeds.flatten(0, 1).clone()
    stays = torch.ones_like(visual.mask).flatten()
    target = torch.full_like(visual.mask, -1, dtype=torch.long).flatten()
    stays[rows] = False
    flops = list(visual.flops or [0] * len(embeds))
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
        for home in (places[:, 0] // embeds.shape[1]).tolist():
            flops[home] += each
        # token i stands at the i-th row that stays, whatever order the method returned
        kept = places.gather(1, merged.position.sort(dim=1).values)
        flat[kept] = features.to(flat.dtype)
        stays[kept] = True
        kept_or_dropped = torch.cat([kept, kept.new_full((len(kept), 1), -1)], dim=1)
        target[places] = kept_or_dropped.gather(
            1, merged.source.where(merged.source >= 0, kept.shape[1])
        )
    shape = visual.mask.shape
    return Spliced(flat.view_as(embeds), stays.view(shape), target.view(shape), flops, visual.mask)


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
