"""`Report`: what one prefill did and what it cost, by sample; docs/report.md describes its JSON.

The names of an answer's stages and of its costs are defined here; records, tables and harnesses use them.
"""

import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields
from html import escape
from itertools import accumulate, pairwise
from typing import Any

from foveate.figures import blank, draw_shares, draw_tokens, style

STAGES = ("encode", "compress", "score", "prefill", "decode")
TO_FIRST_TOKEN = ("encode", "compress", "prefill")  # prefill includes score


@dataclass(frozen=True)
class SampleReport:
    """What the prefill of one sample did.

    Attributes:
        visual_tokens_in: visual tokens of the prompt; 0 if it is text only.
        visual_tokens_to_llm: visual tokens at the LLM's input.
        visual_tokens_by_layer: one entry a layer, the visual tokens that it really computes.
        text_tokens: other tokens of the prompt.
        prefill_flops: FLOPs of the LLM's prefill, of merging and of scoring, and `question_flops`;
            padding is not counted.
        prefill_flops_unreduced: the same without the reduction.
        kv_bytes: bytes of the KV cache that this sample's own rows hold after the prefill, in the model's
            dtype; padding is not counted, and a quantized cache is smaller.
        kv_bytes_unreduced: the same without the reduction.
        merged_into: for each visual token of the prompt the token at the LLM's input that it became part
            of, None if dropped.
        pruned_after: for each visual token at the LLM's input the layer after which it was pruned, None
            if it stayed to the end.
        question_flops: the part of both FLOPs that went into reading the question for a learned
            compressor; 0 if it was cached.
        encode_flops: FLOPs of the vision encoder's layers from that on which a method in it merges or
            reuses patches, merging included; 0 without such a method.
        encode_flops_unreduced: the same layers without it.
    """

    visual_tokens_in: int
    visual_tokens_to_llm: int
    visual_tokens_by_layer: list[int]
    text_tokens: int
    prefill_flops: int
    prefill_flops_unreduced: int
    kv_bytes: int
    kv_bytes_unreduced: int
    merged_into: list[int | None] = field(default_factory=list)
    pruned_after: list[int | None] = field(default_factory=list)
    question_flops: int = 0
    encode_flops: int = 0
    encode_flops_unreduced: int = 0


@dataclass
class Totals:
    """Sums over samples, of one prefill or of many.

    Attributes:
        samples: how many.
        visual_tokens_in: of their prompts.
        visual_tokens_to_llm: at the LLM's input.
        prefill_flops: as in `Report`.
        prefill_flops_unreduced: the same without the reduction.
        kv_bytes: as in `Report`.
        kv_bytes_unreduced: the same without the reduction.
    """

    samples: int = 0
    visual_tokens_in: int = 0
    visual_tokens_to_llm: int = 0
    prefill_flops: int = 0
    prefill_flops_unreduced: int = 0
    kv_bytes: int = 0
    kv_bytes_unreduced: int = 0

    def add(self, report: "Report") -> None:
        """Count another prefill."""
        self.samples += len(report.samples)
        self.visual_tokens_in += sum(report.visual_tokens_in)
        self.visual_tokens_to_llm += sum(report.visual_tokens_to_llm)
        self.prefill_flops += report.prefill_flops
        self.prefill_flops_unreduced += report.prefill_flops_unreduced
        self.kv_bytes += report.kv_bytes
        self.kv_bytes_unreduced += report.kv_bytes_unreduced

    @property
    def flops_share(self) -> float | None:
        """Prefill FLOPs as a share of unreduced, None if there were none."""
        return _share(self.prefill_flops, self.prefill_flops_unreduced)

    @property
    def kv_share(self) -> float | None:
        """Bytes of the KV cache as a share of unreduced, None if it held none."""
        return _share(self.kv_bytes, self.kv_bytes_unreduced)

    def __str__(self) -> str:
        if not self.samples:
            return "no visual token was seen"
        many = f"{self.samples:,} samples, " if self.samples > 1 else ""
        return (
            f"{many}{self.visual_tokens_in:,} visual tokens, {self.visual_tokens_to_llm:,} to the LLM, "
            f"{percent(self.flops_share)} of the prefill FLOPs, {percent(self.kv_share)} of the KV cache"
        )


@dataclass
class Report:
    """What one prefill did.

    What `SampleReport` says of a sample can be read for the batch under the same name: counts as a list
    over the samples, FLOPs and bytes as a sum. The KV cache of a batch holds padding, too, so
    `kv_bytes == sum(sample.kv_bytes for sample in samples) + kv_padding_bytes`.

    Attributes:
        samples: of the batch, in their order.
        seconds: for each of `STAGES`, the time of the whole batch; prefill includes score.
        fired: whether the reduction changed anything.
        kv_padding_bytes: bytes of the KV cache that padding holds.
        kv_padding_bytes_unreduced: the same without the reduction.
    """

    samples: list[SampleReport]
    seconds: dict[str, float]
    fired: bool
    kv_padding_bytes: int = 0
    kv_padding_bytes_unreduced: int = 0

    @property
    def visual_tokens_in(self) -> list[int]:
        """Visual tokens of each prompt."""
        return [sample.visual_tokens_in for sample in self.samples]

    @property
    def visual_tokens_to_llm(self) -> list[int]:
        """Visual tokens of each sample at the LLM's input."""
        return [sample.visual_tokens_to_llm for sample in self.samples]

    @property
    def visual_tokens_by_layer(self) -> list[list[int]]:
        """For each sample one entry a layer, the visual tokens that it really computes."""
        return [sample.visual_tokens_by_layer for sample in self.samples]

    @property
    def text_tokens(self) -> list[int]:
        """Other tokens of each prompt."""
        return [sample.text_tokens for sample in self.samples]

    @property
    def prefill_flops(self) -> int:
        """FLOPs of the LLM's prefill of all samples, scoring and merging included."""
        return sum(sample.prefill_flops for sample in self.samples)

    @property
    def prefill_flops_unreduced(self) -> int:
        """The same without the reduction."""
        return sum(sample.prefill_flops_unreduced for sample in self.samples)

    @property
    def question_flops(self) -> int:
        """The part of both FLOPs that went into reading the questions for a learned compressor."""
        return sum(sample.question_flops for sample in self.samples)

    @property
    def encode_flops(self) -> int:
        """FLOPs of the encoder's layers that a method in it shortens, see `SampleReport`."""
        return sum(sample.encode_flops for sample in self.samples)

    @property
    def encode_flops_unreduced(self) -> int:
        """The same layers without it."""
        return sum(sample.encode_flops_unreduced for sample in self.samples)

    @property
    def kv_bytes(self) -> int:
        """Bytes of the KV cache after the prefill, padding included; a quantized cache is smaller."""
        return sum(sample.kv_bytes for sample in self.samples) + self.kv_padding_bytes

    @property
    def kv_bytes_unreduced(self) -> int:
        """The same without the reduction."""
        own = sum(sample.kv_bytes_unreduced for sample in self.samples)
        return own + self.kv_padding_bytes_unreduced

    @property
    def merged_into(self) -> list[list[int | None]]:
        """Where each visual token of each prompt went, see `SampleReport`."""
        return [sample.merged_into for sample in self.samples]

    @property
    def pruned_after(self) -> list[list[int | None]]:
        """After which layer each visual token at the LLM's input was pruned, see `SampleReport`."""
        return [sample.pruned_after for sample in self.samples]

    @property
    def first_token_seconds(self) -> float:
        """From the pictures to the first token, of the whole batch."""
        return sum(self.seconds.get(stage, 0.0) for stage in TO_FIRST_TOKEN)

    @property
    def totals(self) -> Totals:
        """Sums over the samples, and what share of unreduced they are."""
        sums = Totals()
        sums.add(self)
        return sums

    @property
    def summary(self) -> str:
        """One line: tokens, and what share of the FLOPs and of the KV cache was left."""
        return str(self.totals)

    def to_dict(self) -> dict[str, Any]:
        """A dictionary that `json` can write: the batch's numbers, and `samples`."""
        batch = {part.name: getattr(self, part.name) for part in fields(SampleReport)}
        return deepcopy(batch) | asdict(self)

    def to_json(self) -> str:
        """One JSON document."""
        return json.dumps(self.to_dict())

    def plot(self, picture: Any = None, title: str = "") -> Any:
        """A figure of matplotlib: visual tokens by layer, and what prefill and KV cache take.

        Of a batch the first 8 samples are drawn, and what all of them take.

        Args:
            picture: shown beside it, a PIL image or an array (H, W, 3).
            title: above it.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        names = [f"sample {place}" for place in range(len(self.samples))]
        taken = {
            "prefill": (self.prefill_flops_unreduced / 1e9, self.prefill_flops / 1e9, "GFLOP"),
            "KV cache": (self.kv_bytes_unreduced / 1e6, self.kv_bytes / 1e6, "MB"),
        }
        with style():
            figure, (panels,) = blank(columns=2 if picture is None else 3)
            draw_tokens(panels[0], self.visual_tokens_by_layer, self.visual_tokens_in, names)
            draw_shares(panels[1], taken)
            if picture is not None:
                panels[2].imshow(picture)
                panels[2].set_axis_off()
            figure.suptitle(title, wrap=True)
        return figure

    def __repr__(self) -> str:
        return f"Report({self.summary})"

    def _repr_html_(self) -> str:
        """A table for notebooks."""
        sums = self.totals
        gflops = sums.prefill_flops_unreduced / 1e9, sums.prefill_flops / 1e9
        megabytes = sums.kv_bytes_unreduced / 1e6, sums.kv_bytes / 1e6
        rows = [
            ("samples", "", f"{sums.samples:,}", ""),
            ("visual tokens to the LLM", f"{sums.visual_tokens_in:,}",
             f"{sums.visual_tokens_to_llm:,}", ""),
            ("prefill, GFLOP", *(f"{n:,.3g}" for n in gflops), percent(sums.flops_share)),
            ("KV cache, MB", *(f"{n:,.3g}" for n in megabytes), percent(sums.kv_share)),
            ("to the first token, ms", "", f"{1000 * self.first_token_seconds:,.0f}", ""),
        ]  # fmt: skip
        return html_table(("", "unreduced", "this run", "share"), rows)


def percent(share: float | None) -> str:
    """A share in words: "31%", "-" where there is none."""
    return "-" if share is None else f"{share:.0%}"


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def html_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A small table for notebooks, its text escaped; the first cell of each line is its header."""
    first = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    lines = [
        f'<th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        for name, *cells in rows
    ]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in (first, *lines))}</table>"


def divide(whole: int, weights: Sequence[int]) -> list[int]:
    """Parts of a whole by weights, as whole numbers that add up to it.

    Args:
        whole: what is divided.
        weights: one for each part; not all 0 unless the whole is.
    """
    total = sum(weights) or 1
    ends = [whole * weight // total for weight in accumulate(weights)]
    return [end - begin for begin, end in pairwise([0, *ends])]
