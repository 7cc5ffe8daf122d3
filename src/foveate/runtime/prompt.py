"""Where the visual tokens of a prompt are, put together from its placeholders and its encodings."""

from collections.abc import Mapping, Sequence
from operator import add
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from foveate.errors import InputError, UnsupportedError
from foveate.report import divide
from foveate.runtime.seams import PIXELS
from foveate.runtime.timing import Span
from foveate.runtime.visual_tokens import Visual
from foveate.runtime.watch_encoding import Encoded, Notes

# FLOPs that a note counts for each image or clip, and `Visual` for each sample
COUNTED = ("flops", "encode_flops", "encode_flops_unreduced")


class Placeholders(dict[str, Bool[Tensor, "B N"]]):
    """Masks (B, N) of a prompt's placeholders, by modality; empty if it has no pictures.

    Attributes:
        here: the same on the CPU, brought over with the padding in one copy.
        valid: (B, N), False at padding, on the CPU; None where no such mask was given.
    """

    def __init__(self, ids: Any = None, padding: Any = None, **tokens: int) -> None:
        super().__init__({modality: ids == token for modality, token in tokens.items()})
        self._of = ids, padding
        parts = list(self.values())
        has_valid = isinstance(padding, Tensor) and bool(parts)
        has_valid = has_valid and padding.dim() == 2 and padding.shape[1] == ids.shape[1]
        if has_valid:
            parts.append(padding.bool().to(ids.device).expand_as(ids))
        here = list(torch.stack(parts).cpu()) if parts else []
        self.here = dict(zip(self, here, strict=False))
        self.valid = here[-1] if has_valid else None

    def are_of(self, inputs: Mapping[str, Any]) -> bool:
        """Whether they were made of these very inputs."""
        ids, padding = self._of
        same = inputs.get("input_ids") is ids and inputs.get("attention_mask") is padding
        return ids is not None and same and has_pictures(inputs)


def placeholder_masks(
    placeholders: Mapping[str, int], inputs: Mapping[str, Any], *, refuse_embeds: bool = True
) -> Placeholders:
    """Where a prompt's placeholders are; nowhere if it has no pictures.

    Args:
        placeholders: token id of each modality.
        inputs: arguments of the model's forward.
        refuse_embeds: whether a prompt that came as embeddings is refused; otherwise it has no masks.

    Raises:
        UnsupportedError: the prompt came as embeddings only.
        InputError: pictures were given, but the prompt has no place for them.
    """
    if not has_pictures(inputs):
        return Placeholders()
    ids = inputs.get("input_ids")
    if ids is None and not refuse_embeds:
        return Placeholders()
    if ids is None:
        raise UnsupportedError(
            "visual tokens are found by input_ids; inputs_embeds alone cannot be reduced"
        )
    masks = Placeholders(ids, inputs.get("attention_mask"), **placeholders)
    if not any(bool(mask.any()) for mask in masks.here.values()):
        raise InputError(
            f"no picture in the prompt: pixels were given, but none of its tokens is a placeholder "
            f"({placeholders}); build the prompt with the processor's chat template"
        )
    return masks


def refuse_missing_pixels(
    placeholders: Mapping[str, int], inputs: Mapping[str, Any], cache: Any
) -> None:
    """Refuse a new prompt with placeholders but without pictures.

    Tokens after a filled cache are not checked: a model can generate a placeholder.

    Args:
        placeholders: token id of each modality.
        inputs: arguments of the core's forward, without pictures.
        cache: KV cache among them, if any.

    Raises:
        InputError: some tokens are placeholders.
        UnsupportedError: embeddings alone, which do not show whether they hold pictures.
    """
    ids = inputs.get("input_ids")
    if cache is not None and cache.get_seq_length():
        return
    if ids is None:
        raise UnsupportedError(
            "a prompt of inputs_embeds alone does not tell whether pictures are in it, so it cannot be "
            "reduced; pass input_ids and pixels, or run it outside of the reduce()"
        )
    count = sum(int((ids == token).sum()) for token in placeholders.values())
    if count:
        raise InputError(
            f"no pixels for the prompt's {count} placeholder tokens ({placeholders}), so there is no "
            f"picture to reduce; pass all that the processor returned, {PIXELS['image']} or "
            f"{PIXELS['video']} among it"
        )


def has_pictures(inputs: Mapping[str, Any]) -> bool:
    """Whether a model's forward is given pictures, as pixels or as features."""
    pixels = any(inputs.get(name) is not None for name in PIXELS.values())
    return pixels or bool(inputs.get("mm_encoder_outputs"))


def gather_encodings(
    masks: Placeholders, encodings: Mapping[str, Any], notes: Notes
) -> tuple[Visual, list[Span]] | None:
    """Visual tokens of the whole batch in reading order, modalities mixed.

    Args:
        masks: placeholders of each modality.
        encodings: what `get_image_features` and `get_video_features` returned.
        notes: what was noted while they were encoded.

    Returns:
        Where the tokens are, and when they were encoded; None where features are unknown.
    """
    if not encodings:
        return None
    labels = torch.full(masks.here[next(iter(encodings))].shape, -1)
    clips = labels.clone()
    used, spans, encoder = 0, [], None
    counted = {name: [0] * len(labels) for name in (*COUNTED, "question_flops")}
    grids: list[tuple[int, int]] = []
    signals: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for modality, output in encodings.items():
        noted = notes.find(modality, output.pooler_output)
        if noted is None:
            return None
        note, items = noted
        parts, whole = [], []
        for item in items:
            group = note.groups[item].cpu()
            parts.append(group + used)
            whole.append((_clip(group) if modality == "video" else group) + used)
            used += int(group.max()) + 1 if len(group) else 0
            grids += note.grids[item] if note.grids else []
        mask = masks.here[modality]
        if int(mask.sum()) != sum(len(part) for part in parts):
            return None  # features of other pictures
        labels[mask], clips[mask] = torch.cat(parts), torch.cat(whole)
        for name, values in note.encoder_signals.items():
            of_tokens = torch.cat([values[item] for item in items])
            signals.setdefault(name, []).append((mask, of_tokens))
        spans.append(note.span)
        more = {name: _by_sample(getattr(note, name), note, items, mask) for name in COUNTED}
        more["question_flops"] = _question_flops(note.question_flops, len(mask))
        counted = {name: list(map(add, counted[name], more[name])) for name in counted}
        if note.encoder:
            # a class token has a key but is no patch: it comes first
            patches = note.encoder["features"].shape[1]
            encoder = {name: value[items, -patches:] for name, value in note.encoder.items()}
    here = labels >= 0
    mixed = {name: _mixed(here, parts) for name, parts in signals.items()}
    there = torch.stack([masks[modality] for modality in encodings]).any(0)
    return Visual(there, here, labels[here], clips[here], encoder, mixed, grids, **counted), spans


def _mixed(
    here: Bool[Tensor, "B N"], parts: Sequence[tuple[Bool[Tensor, "B N"], Tensor]]
) -> Tensor:
    """Values of the tokens of each modality, all in reading order."""
    if len(parts) == 1:
        return parts[0][1]
    # of each value, modality by modality, the place among all B * N; in what order they are read
    places = torch.cat([mask.flatten().nonzero()[:, 0] for mask, _ in parts])
    values = torch.cat([values for _, values in parts])
    return values[places.argsort().to(values.device, non_blocking=True)]


def miscounted(
    masks: Placeholders, encodings: Mapping[str, Any], notes: Notes
) -> dict[str, tuple[int, int]]:
    """Of each modality whose features are known, but are not as many: placeholders and visual tokens."""
    counts = {}
    for modality, output in encodings.items():
        if (noted := notes.find(modality, output.pooler_output)) is not None:
            made = sum(len(noted[0].groups[item]) for item in noted[1])
            counts[modality] = int(masks.here[modality].sum()), made
    return {modality: both for modality, both in counts.items() if both[0] != both[1]}


def _by_sample(
    flops: Sequence[int], note: Encoded, items: list[int], mask: Bool[Tensor, "B N"]
) -> list[int]:
    """For each sample its pictures' share of what encoding took; the mask is on the CPU."""
    homes = mask.nonzero()[:, 0].tolist()
    spent, start = [0] * len(mask), 0
    # a picture that is shown several times was encoded once
    parts = divide(sum(flops), [flops[item] for item in items])
    for item, part in zip(items, parts, strict=True):
        if part:
            spent[homes[start]] += part
        start += len(note.groups[item])
    return spent


def _question_flops(asked: Sequence[int], samples: int) -> list[int]:
    """For each sample the FLOPs of reading its question; samples that `generate` repeated share them."""
    if not asked or samples % len(asked):  # none, or encoded for another batch
        asked = [sum(asked)]
    each = [1] * (samples // len(asked))
    return [part for whole in asked for part in divide(whole, each)]


def _clip(group: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Number the clip of each token: groups as large as the first are its frames, others stand alone."""
    sizes = torch.bincount(group)
    return torch.where(sizes[group] == sizes[group[0]], group[0], group)
