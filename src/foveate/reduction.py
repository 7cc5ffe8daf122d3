"""Reduction (what a method is) and Report (what a run tells)."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from foveate.errors import InputError
from foveate.prune.schedule import Schedule
from foveate.registry import Method, method
from foveate.tokens import VisionTokens


@runtime_checkable
class Compressor(Protocol):
    """A method before the LLM: groups of features in, fewer tokens out.

    `needs` names what the model adapter hands over as keyword arguments (`foveate.models.needs` lists
    them); `at` says which features it sees: "llm" (at the LLM's input) or "encoder" (before the
    projector).
    """

    @property
    def needs(self) -> tuple[str, ...]: ...
    @property
    def at(self) -> str: ...
    @property
    def is_off(self) -> bool: ...
    def __call__(self, *features: Any, **needed: Any) -> VisionTokens: ...
    def flops(self, tokens: int, width: int) -> int: ...


@runtime_checkable
class Pruner(Protocol):
    """A method inside the LLM: a schedule, and a score by which tokens stay.

    `score(query, key, valid, scaling)` rates the rows of a layer; `flops(rows, heads, head_dim)` says
    what that takes. One that `needs` "visual" is told which rows are `visual` and how many are `text`.
    """

    @property
    def needs(self) -> tuple[str, ...]: ...
    @property
    def is_off(self) -> bool: ...
    def schedule(self, layers: int) -> Schedule: ...
    def score(self, *args: Any, **kwargs: Any) -> Tensor: ...
    def flops(self, *args: Any, **kwargs: Any) -> int: ...


@dataclass(frozen=True)
class Reduction:
    """Any method before the LLM with any method inside it; either may be None.

    Attributes:
        before: a `Compressor`, applied to the visual tokens before the LLM.
        inside: a `Pruner`, applied between the LLM's layers.
    """

    before: Compressor | None = None
    inside: Pruner | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.before, Compressor | None):
            raise InputError(f"before must be a method before the LLM, got {self.before!r}")
        if not isinstance(self.inside, Pruner | None):
            raise InputError(f"inside must be a method inside the LLM, got {self.inside!r}")

    @property
    def is_off(self) -> bool:
        """Whether nothing is reduced: logits are then bit-identical to the model's own."""
        return all(part is None or part.is_off for part in (self.before, self.inside))


def create(name: str, **knobs: Any) -> Reduction:
    """Make a reduction from a method's name: `create("aim-merge", keep=0.25)`.

    Args:
        name: one of `foveate.methods()`.
        **knobs: the method's own knobs.

    Raises:
        InputError: unknown name or knob, or a knob's value out of range.
    """
    found = method(name)
    try:
        built = found.build(**knobs)
    except TypeError as error:
        allowed = ", ".join(found.build.__dataclass_fields__)  # type: ignore[attr-defined]
        raise InputError(f"{name} cannot take {knobs}: {error}; its knobs: {allowed}") from None
    if found.stage == "both":
        return built
    return Reduction(before=built) if found.stage == "before" else Reduction(inside=built)


def at_share(found: Method, share: float | int, layers: int) -> Reduction:
    """A method with the knobs that bring it to a share of the visual tokens.

    Args:
        found: a row of `foveate.methods()`.
        share: mean over the LLM's layers of the share of visual tokens that they compute.
        layers: depth of the LLM.

    Raises:
        InputError: the share is out of the method's reach, or nothing about it sets one.
    """
    for_share = getattr(found.build, "for_share", None)
    if for_share is not None:
        built = for_share(share, layers)
    elif "keep" in getattr(found.build, "__dataclass_fields__", {}):
        built = found.build(keep=share)
    else:
        raise InputError(f"{found.name} has neither `for_share` nor `keep`, so no share sets it")
    if found.stage == "both":
        return built
    return Reduction(before=built) if found.stage == "before" else Reduction(inside=built)


@dataclass
class Report:
    """What one prefill did. Lists run over samples; a text-only sample has 0 visual tokens.

    Attributes:
        visual_tokens_in: visual tokens of the prompt.
        visual_tokens_to_llm: visual tokens at the LLM's input.
        visual_tokens_by_layer: for each sample one entry a layer, the tokens it really computes.
        text_tokens: text tokens of the prompt.
        prefill_flops: LLM prefill of all samples, scoring and merging included.
        prefill_flops_unreduced: the same without the reduction.
        question_flops: of both, what a learned compressor's query took; 0 if the question was known.
        kv_bytes: bytes of the KV cache after the prefill, in the model's dtype; quantized it has less.
        kv_bytes_unreduced: the same without the reduction.
        seconds: encode, compress, score, prefill, decode; prefill includes score.
        fired: whether the reduction changed anything.
        merged_into: for each sample and visual token of the prompt, the token at the LLM's input that it
            became part of, None if dropped.
        pruned_after: for each sample and token at the LLM's input, the layer after which it was pruned,
            None if it stayed to the end.
    """

    visual_tokens_in: list[int]
    visual_tokens_to_llm: list[int]
    visual_tokens_by_layer: list[list[int]]
    text_tokens: list[int]
    prefill_flops: int
    prefill_flops_unreduced: int
    kv_bytes: int
    kv_bytes_unreduced: int
    seconds: dict[str, float]
    fired: bool
    merged_into: list[list[int | None]] = field(default_factory=list)
    pruned_after: list[list[int | None]] = field(default_factory=list)
    question_flops: int = 0

    def to_dict(self) -> Mapping[str, Any]:
        """A dictionary that `json` can write."""
        return asdict(self)

    def to_json(self) -> str:
        """One JSON document."""
        return json.dumps(self.to_dict())
