"""What answering one request costs: encoding, compressing, scoring, prefill and decoding.

A reduction is not described here: it is asked. A method before the LLM says how many tokens it keeps of a
group (`kept`) and what deciding takes (`flops`), one inside says after which layers how many stay
(`schedule`) and what scoring takes (`flops`), so that any method of the table, or of a user's own, can be
costed.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, Literal

from foveate.cost.hardware import Machine
from foveate.cost.llm import Convention, decode_cost, prefill_cost
from foveate.cost.operation import Cost, Operation
from foveate.cost.shapes import LLM, read_llm
from foveate.cost.vision.encoder import Encoded, Media, encode
from foveate.defaults import ANSWER_TOKENS
from foveate.errors import InputError, UnsupportedError
from foveate.keep import kept_count
from foveate.prune.aim import AIMPrune
from foveate.prune.schedule import Bound, Schedule, kept_after
from foveate.reduction import Compressor, Encoding, Given, Pruner, Reduction, as_reduction

# what is shown; or visual tokens, all together or a group each
Visual = Media | int | Sequence[int]


@dataclass(frozen=True)
class RequestCost:
    """Cost of one request, by stage.

    Attributes:
        visual_tokens_in: of the prompt.
        visual_tokens_to_llm: at the LLM's input.
        visual_tokens_by_layer: that each layer computes.
        text_tokens: which every layer computes.
        parts: encode (vision tower and projector), compress, score, prefill (without score), decode;
            those that do not count are absent.
    """

    visual_tokens_in: int
    visual_tokens_to_llm: int
    visual_tokens_by_layer: tuple[int, ...]
    text_tokens: int
    parts: dict[str, Cost]

    @property
    def flops(self) -> int:
        """Of all stages."""
        return sum(cost.flops for cost in self.parts.values())

    @property
    def prefill_flops(self) -> int:
        """Of the LLM's prefill, compressing and scoring, as a `Report` counts them."""
        counted = ("compress", "score", "prefill")
        return sum(self.parts[name].flops for name in counted if name in self.parts)

    def kv_bytes(self, itemsize: int = 2, after: Literal["prefill", "decode"] = "decode") -> int:
        """Size of the KV cache after the stage that is named: by default with the whole answer in it.

        Args:
            itemsize: bytes of one number.
            after: "prefill", as a `Report` counts it, or "decode".
        """
        return self.parts.get(after, self.parts["prefill"]).cache_bytes(itemsize)

    def first_token_ms(self, machine: Machine) -> float:
        """Time up to the first token."""
        return sum(cost.ms(machine) for name, cost in self.parts.items() if name != "decode")


@dataclass(frozen=True)
class Request:
    """A prompt and its answer on a model of known sizes, read once: `cost` asks any reduction.

    Attributes:
        llm: sizes of the LLM.
        groups: visual tokens of each tile or frame.
        text_tokens: of the prompt.
        answer_tokens: the first one comes out of the prefill, each other takes a decoding step.
        encoded: what encoding takes, None where visual tokens were only counted.
        media: what is shown, None where they were only counted.

    Raises:
        InputError: an answer without tokens, or a count that is none.
    """

    llm: LLM
    groups: tuple[int, ...]
    text_tokens: int
    answer_tokens: int = ANSWER_TOKENS
    encoded: Encoded | None = None
    media: Media | None = None

    def __post_init__(self) -> None:
        counts = (*self.groups, self.text_tokens)
        if not self.groups or not all(isinstance(n, Integral) and n >= 0 for n in counts):
            raise InputError(
                "visual tokens are a count or a count for each group, and text a count, each at least 0; "
                f"got {self.groups} and {self.text_tokens}"
            )
        if self.answer_tokens < 1:
            raise InputError(f"an answer has at least 1 token, got {self.answer_tokens}")

    @classmethod
    def of(
        cls, config: Any, media: Visual, text_tokens: int, answer_tokens: int = ANSWER_TOKENS
    ) -> "Request":
        """Read a config; arguments and errors as of `request_cost`."""
        llm = read_llm(config)
        if isinstance(media, Media):
            encoded = encode(config, media)
            return cls(llm, encoded.groups, text_tokens, answer_tokens, encoded, media)
        groups = tuple(media) if isinstance(media, Iterable) else (media,)
        return cls(llm, groups, text_tokens, answer_tokens)

    @property
    def visual_tokens(self) -> int:
        """Of the prompt."""
        return sum(self.groups)

    def resized(self, share: float | int) -> "Request":
        """The same with pictures made smaller until each group has about this share of its tokens.

        Encoding is taken to cost what it did: what a smaller picture saves there depends on the family.
        """
        groups = tuple(kept_count(share, tokens) for tokens in self.groups)
        return replace(self, groups=groups)

    def cost(
        self,
        reduction: Given | None = None,
        convention: Convention = "exact",
    ) -> RequestCost:
        """Cost under a reduction; arguments and errors as of `request_cost`."""
        wanted = as_reduction(Reduction() if reduction is None else reduction)
        before, inside = wanted.before, wanted.inside
        to_llm = self.visual_tokens if before is None else self._kept(before)
        published = convention == "llm-viewer"
        if published and isinstance(inside, AIMPrune):
            by_layer = charged_layers(to_llm, inside.prune, self.llm.layers)
        else:
            by_layer = layer_tokens(to_llm, _schedule(inside, self.llm), self.llm.layers)
        prefill = prefill_cost(self.llm, by_layer, self.text_tokens, convention)
        parts = {"prefill": prefill}
        if not published:
            rows = [tokens + self.text_tokens for tokens in by_layer]
            decode = decode_cost(self.llm, rows, self.answer_tokens - 1)
            parts = {
                **self._encode(wanted.encode),
                **self._compress(before),
                **self._score(inside, rows),
                "prefill": prefill,
                "decode": decode,
            }
        return RequestCost(self.visual_tokens, to_llm, tuple(by_layer), self.text_tokens, parts)

    def _kept(self, before: Compressor) -> int:
        """Visual tokens at the LLM's input."""
        if before.is_off:
            return self.visual_tokens
        kept = getattr(before, "kept", None)
        if kept is None:
            raise UnsupportedError(
                f"{before!r} cannot be costed: it lacks kept(tokens), how many tokens of a group stay"
            )
        return sum(kept(tokens, **known) for tokens, known in self._units(before.needs))

    def _units(self, needs: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        """What a method takes at a time: its tokens, and what it must know of them to count.

        Groups, unless it needs whole clips or samples, as in `foveate.runtime.buckets`.
        """
        if "sample" in needs:
            yield self.visual_tokens, {}
        elif "frames" in needs:
            clip = self.groups[0] if self.media is not None and self.media.frames else 0
            frames = self.groups.count(clip)
            if frames:
                yield clip * frames, {"frames": frames}
            yield from ((tokens, {"frames": 1}) for tokens in self.groups if tokens != clip)
        else:
            grids = self.encoded.grids if self.encoded else (None,) * len(self.groups)
            for tokens, grid in zip(self.groups, grids, strict=True):
                yield tokens, {"grid": grid} if "grid" in needs else {}

    def _encode(self, method: Encoding | None) -> dict[str, Cost]:
        if self.encoded is None or self.media is None:
            return {}
        tower = self.encoded.tower.under(method, self.media.computed)
        return {"encode": tower + self.encoded.projector}

    def _compress(self, before: Compressor | None) -> dict[str, Cost]:
        """What a method before the LLM takes to decide, with the attention that the encoder shows it."""
        if before is None or before.is_off:
            return {}
        width, work = self._width(before), []
        for tokens, _ in self._units(before.needs):
            flops = before.flops(tokens, width)
            # features are read, read again and written; a similarity takes 2 FLOPs a feature
            work.append((Operation(flops, flops, 3 * tokens * width + flops // (2 * width)), 1))
        if "attention" in before.needs and self.encoded is not None:
            work.append((self.encoded.patch_attention, 1))
        return {"compress": Cost.of(work)} if any(one.flops for one, _ in work) else {}

    def _width(self, before: Compressor) -> int:
        """Of what a method compares: the encoder's keys, its features, or those at the LLM's input."""
        if self.encoded is not None and "keys" in before.needs:
            return self.encoded.key_width
        if self.encoded is not None and before.at == "encoder":
            return self.encoded.width
        return self.llm.width

    def _score(self, inside: Pruner | None, rows: Sequence[int]) -> dict[str, Cost]:
        """What a method inside the LLM takes to score the layers behind which some tokens stay."""
        if inside is None:
            return {}
        llm, work = self.llm, []
        counted = {"text": self.text_tokens} if "visual" in inside.needs else {}
        rated = {llm.rating_layer(n) for n, share in _schedule(inside, llm).items() if share}
        for number in sorted(n for n in rated if n is not None):
            layer = llm.layer(number)
            wide, keys = layer.attention_width, llm.layer(layer.source).kv_width
            flops = inside.flops(rows[number], llm.heads, wide // llm.heads, **counted)
            work.append((Operation(flops, flops, rows[number] * (wide + keys)), 1))
        return {"score": Cost.of(work)} if work else {}


def request_cost(
    config: Any,
    media: Visual,
    text_tokens: int,
    reduction: Given | None = None,
    *,
    answer_tokens: int = ANSWER_TOKENS,
    convention: Convention = "exact",
) -> RequestCost:
    """Cost of one request.

    Args:
        config: a VLM's config; an LLM's will do where `media` is a count.
        media: what is shown; or visual tokens, one count or a count a group: encoding is then unknown,
            and a method that needs the grid of a group is taken to keep as much as it may.
        text_tokens: of the prompt, taken to follow the pictures: a method that scores by it scores all.
        reduction: a `Reduction` or a method alone, None for none.
        answer_tokens: the first one comes out of the prefill, each other takes a decoding step.
        convention: "exact", or "llm-viewer", which counts the LLM's prefill alone.

    Raises:
        InputError: a count out of range, layers that this LLM has not, or no reduction.
        UnsupportedError: a family whose visual tokens cannot be told from its config, or a method that
            does not say how many tokens it keeps.
    """
    return Request.of(config, media, text_tokens, answer_tokens).cost(reduction, convention)


def layer_tokens(tokens: int, schedule: Schedule, layers: int) -> list[int]:
    """Visual tokens that each layer computes: a share kept after a layer is met by the next one."""
    left, by_layer = tokens, []
    for layer in range(layers):
        by_layer.append(left)
        if layer in schedule:
            left = kept_after(schedule[layer], tokens)
    return by_layer


def charged_layers(tokens: int, prune: tuple[Bound, Bound], layers: int) -> list[int]:
    """The same as AIM's tables charge it: a layer already earlier, in steps written with 4 digits.

    A stop beyond the last layer is allowed, as in the tables' own rows (14, 29) and (28, 29).
    """
    start, stop = (bound if isinstance(bound, int) else round(bound * layers) for bound in prune)
    if not 0 <= start < stop:
        raise InputError(f"prune must start before it stops, got {prune!r}")
    step = round(1 / (stop - start), 4)
    shares = [max(0.0, 1 - max(0, layer - start + 1) * step) for layer in range(layers)]
    return [math.floor(share * tokens) for share in shares]


def _schedule(inside: Pruner | None, llm: LLM) -> Schedule:
    return {} if inside is None else inside.schedule(llm.layers)
