"""Ask a batch of questions under a reduction, and account for what each answer cost."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image

from foveate.ask.media import Clip, Sampling, read
from foveate.ask.vlm import VLM
from foveate.cost.llm import decode_cost, prefill_cost
from foveate.cost.vision.encoder import Media, encode
from foveate.errors import UnsupportedError
from foveate.measure.tasks import Item
from foveate.reduction import Reduction
from foveate.report import Report, SampleReport
from foveate.runtime.reducer import reduce

Shown = tuple[Image.Image | Clip, ...]


@dataclass(frozen=True)
class Taken:
    """What one answer cost; None where that is unknown.

    Attributes:
        visual_tokens_in: visual tokens of the prompt.
        visual_tokens_to_llm: visual tokens at the LLM's input.
        visual_tokens_mean: their mean over the LLM's layers.
        answer_tokens: tokens of the answer, the end token included.
        llm_flops: prefill, merging and scoring, and reading the question for a learned compressor.
        llm_flops_unreduced: the same without the reduction; with resized pictures, that of the originals.
        flops: from pixels to the last token: vision tower, projector, LLM prefill and decoding.
        kv_bytes: as in `SampleReport`.
        kv_bytes_unreduced: likewise; with resized pictures, that of the originals.
    """

    visual_tokens_in: int
    visual_tokens_to_llm: int
    visual_tokens_mean: float
    answer_tokens: int
    llm_flops: int
    llm_flops_unreduced: int
    flops: int | None
    kv_bytes: int
    kv_bytes_unreduced: int

    @classmethod
    def of(cls, config: Any, sample: SampleReport, written: int, encoding: int | None) -> "Taken":
        """What an answer cost.

        Args:
            config: the model's.
            sample: the report of its prefill.
            written: tokens of the answer.
            encoding: FLOPs of vision tower and projector, None if they are unknown.
        """
        by_layer = sample.visual_tokens_by_layer
        rows = [visual + sample.text_tokens for visual in by_layer]
        decoding = decode_cost(config, rows, written - 1).flops
        return cls(
            visual_tokens_in=sample.visual_tokens_in,
            visual_tokens_to_llm=sample.visual_tokens_to_llm,
            visual_tokens_mean=sum(by_layer) / len(by_layer),
            answer_tokens=written,
            llm_flops=sample.prefill_flops,
            llm_flops_unreduced=sample.prefill_flops_unreduced,
            flops=None if encoding is None else encoding + sample.prefill_flops + decoding,
            kv_bytes=sample.kv_bytes,
            kv_bytes_unreduced=sample.kv_bytes_unreduced,
        )


def shown(item: Item, sampling: Sampling) -> Shown:
    """Pictures and clips of a question, as by `media.read`; a `Clip` is shown whole."""
    return tuple(
        read(media, Sampling(len(media.frames)) if isinstance(media, Clip) else sampling)
        for media in item.media
    )


def shape(pictures: Shown) -> tuple[Any, ...]:
    """What must agree inside a batch: clips have equal frames and sizes, to be stacked."""
    return tuple(
        (len(picture.frames), *picture.frames[0].size) if isinstance(picture, Clip) else "image"
        for picture in pictures
    )


@torch.no_grad()
def answer(
    vlm: VLM, inputs: dict[str, Any], reduction: Reduction, longest: int
) -> tuple[list[str], list[int], Report]:
    """Greedy answers to prepared prompts.

    Returns:
        Texts, how many tokens each has, and the report of the prefill.
    """
    with reduce(vlm.model, reduction) as run:
        output = vlm.model.generate(**inputs, max_new_tokens=longest, do_sample=False)
    written = output[:, inputs["input_ids"].shape[1] :]
    texts = vlm.processor.batch_decode(written, skip_special_tokens=True)
    ends = vlm.model.generation_config.eos_token_id
    stops = torch.tensor([ends] if isinstance(ends, int) else ends or [], device=written.device)
    before_end = (~torch.isin(written, stops)).long().cumprod(1).sum(1)
    lengths = (before_end + 1).clamp(max=written.shape[1]).tolist()
    return [text.strip() for text in texts], lengths, run.report


def taken(
    vlm: VLM,
    inputs: dict[str, Any],
    pictures: Sequence[Shown],
    lengths: Sequence[int],
    report: Report,
    asked: Sequence[tuple[int, int]] | None = None,
) -> list[Taken]:
    """What each answer of a batch cost, without its padding.

    Args:
        vlm: the model.
        inputs: the prompts; reading a question for a learned compressor is counted even if it was cached.
        pictures: for each sample its pictures and clips.
        lengths: tokens of the answers.
        report: the report of the prefill.
        asked: visual and other tokens of the original prompts, if pictures were resized.
    """
    reading = vlm.family.question_flops(vlm.model.config, inputs)
    rows = []
    for n, own in enumerate(report.samples):
        sample = asked_anew(own, reading[n])
        encoding = encoding_flops(vlm, pictures[n], sample.visual_tokens_in)
        if encoding is not None:
            encoding -= own.encode_flops_unreduced - own.encode_flops
        if asked is not None:
            sample = beside_whole(vlm, sample, *asked[n])
        rows.append(Taken.of(vlm.model.config, sample, lengths[n], encoding))
    return rows


def asked_anew(sample: SampleReport, reading: int) -> SampleReport:
    """A sample's report as if reading its question had cost these FLOPs."""
    more = reading - sample.question_flops
    return replace(
        sample,
        prefill_flops=sample.prefill_flops + more,
        prefill_flops_unreduced=sample.prefill_flops_unreduced + more,
        question_flops=reading,
    )


def beside_whole(vlm: VLM, sample: SampleReport, visual: int, others: int) -> SampleReport:
    """The report of a sample with resized pictures, compared with a prompt of the original ones."""
    full = prefill_cost(vlm.model.config, [visual] * len(sample.visual_tokens_by_layer), others)
    return replace(
        sample,
        visual_tokens_in=visual,
        prefill_flops_unreduced=full.flops + sample.question_flops,
        kv_bytes_unreduced=vlm.model.dtype.itemsize * full.kv_elements,
    )


def encoding_flops(vlm: VLM, pictures: Shown, tokens: int) -> int | None:
    """FLOPs of vision tower and projector, unreduced; None if the config does not determine them.

    Args:
        vlm: the model.
        pictures: of one prompt.
        tokens: visual tokens that it really has; if the count from the config differs, the FLOPs are
            None.
    """
    clips = [picture for picture in pictures if isinstance(picture, Clip)]
    sizes = {p.frames[0].size if isinstance(p, Clip) else p.size for p in pictures}
    if len(sizes) != 1 or len(clips) not in (0, len(pictures)):
        return None
    ((width, height),) = sizes
    try:
        if clips:
            parts = [
                encode(vlm.model.config, Media(1, len(c.frames), height, width)) for c in clips
            ]
        else:
            parts = [encode(vlm.model.config, Media(len(pictures), 0, height, width))]
    except UnsupportedError:
        return None
    if sum(part.tokens for part in parts) != tokens:
        return None
    return sum(part.tower.flops + part.projector.flops for part in parts)
