"""What a request or an engine asks for, in the encoder and before the LLM: checked, written in one way.

vLLM hashes what a request asks for with its picture, so a budget is carried as one text: two that mean
the same share cached pictures, and two that differ never do.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from foveate.errors import InputError
from foveate.reduction import Compressor, Encoding, Pruner, Reduction
from foveate.registry import methods
from foveate.serving.field import KEY  # of `--hf-overrides`, too
from foveate.serving.vllm.inside.setting import EXPERIMENTAL, split

STAGES = ("before", "encode")
KNOWN_NEEDS = frozenset({"grid", "frames", "sample", "number", "query"})
EXAMPLE = '{"method": "divprune", "keep": 0.25}'
SWITCH_ON = f"""--hf-overrides '{{"{KEY}": {{}}}}'"""


def read(given: object) -> str:
    """The budget that was asked for, as one text: the same for all ways to write it; "" for none.

    Args:
        given: a method as `foveate.Reduction.from_dict` reads it, or None.

    Raises:
        InputError: not a method, an unknown knob, a value out of range, or a method that cannot run in
            vLLM; over HTTP it becomes status 400, as any ValueError does.
    """
    if given is None:
        return ""
    if not isinstance(given, Mapping):
        raise InputError(f"{KEY} takes a method as {EXAMPLE}, or null; got {given!r}")
    if EXPERIMENTAL in given:
        raise InputError(
            f'"{EXPERIMENTAL}" is of a whole engine, by --hf-overrides, not of a request'
        )
    reduction = Reduction.from_dict(given)
    if reduction.is_off:
        return ""
    if why := refusal(reduction):
        raise InputError(
            f"vLLM cannot serve {dict(given)!r}: {why}; works: {', '.join(servable())}"
        )
    parts = {"before": reduction.before, "encode": reduction.encode}
    on = {place: part for place, part in parts.items() if part is not None and not part.is_off}
    return json.dumps(Reduction(**on).to_dict(), sort_keys=True)


def refusal(reduction: Reduction) -> str:
    """Why a reduction cannot run in vLLM; "" if it can."""
    method: Any = reduction.before
    if reduction.inside is not None and not reduction.inside.is_off:
        return (
            "it prunes inside the LLM, which is an experiment for all requests of an engine, by "
            f'--hf-overrides with "{EXPERIMENTAL}": true (aim merges alone with prune=null)'
        )
    if method is None or method.is_off:  # in the encoder alone
        return ""
    if method.at != "llm":
        return "it works before the projector"
    if unmet := set(method.needs) - KNOWN_NEEDS:
        return f"it needs {' and '.join(sorted(unmet))}, which vLLM does not hand over"
    if getattr(method, "size_aware", False):
        return "size_aware changes the LLM's attention"
    if not hasattr(method, "kept"):
        return "it does not tell how many tokens it keeps (`kept`), which vLLM must know beforehand"
    return ""


@lru_cache
def servable(*stages: str) -> tuple[str, ...]:
    """Names of the methods that vLLM can serve; those in the encoder on CLIP's and SigLIP's towers.

    Args:
        *stages: "before" and "encode", or one of them; both if none is named.
    """
    rows = {name: row for name, row in methods().items() if row.stage in (stages or STAGES)}
    return tuple(
        name for name, row in rows.items() if not refusal(Reduction(**{row.stage: row.build()}))
    )


@lru_cache(maxsize=256)
def method_of(text: str) -> Compressor | None:
    """The method before the LLM that a text of `read` stands for; None if it has none."""
    return Reduction.from_dict({"before": json.loads(text)["before"]}).before


@lru_cache(maxsize=256)
def encoding_of(text: str) -> Encoding | None:
    """The method in the encoder that a text of `read` stands for; None if it has none."""
    return Reduction.from_dict({"encode": json.loads(text).get("encode")}).encode


def needs_question(text: str) -> bool:
    """Whether a text of `read` stands for a method that reads the question."""
    method = method_of(text)
    return method is not None and "query" in method.needs


def with_question(text: str, question: Sequence[int]) -> str:
    """A budget with the question that its method reads, so that no cached picture serves another.

    Args:
        text: of `read`.
        question: its tokens.
    """
    return json.dumps({**json.loads(text), "question": list(question)}, sort_keys=True)


def question_of(text: str) -> list[int]:
    """The tokens that `with_question` wrote; none without."""
    return json.loads(text).get("question", [])


def packed(text: str) -> UInt8[Tensor, " n"]:
    """A text as a tensor, which vLLM carries beside a picture."""
    return torch.tensor(list(text.encode()), dtype=torch.uint8)


def unpacked(letters: UInt8[Tensor, " n"]) -> str:
    """The text that `packed` made a tensor of."""
    return bytes(letters.tolist()).decode()


@dataclass(frozen=True)
class Switch:
    """What the operator of an engine said.

    Attributes:
        is_on: whether the engine was started with the key; without it each model is the stock one.
        default: the budget of requests that ask for none, as `read` writes it.
        inside: a method inside the LLM, for all requests; see `foveate.serving.vllm.inside`.
    """

    is_on: bool
    default: str
    inside: Pruner | None = None

    @classmethod
    def of(cls, config: Any) -> "Switch":
        """As a model's config has it, into which vLLM writes `--hf-overrides`.

        Raises:
            InputError: not such a dictionary as `read` takes, nor an empty one.
        """
        given = getattr(config, KEY, None)
        if isinstance(given, Mapping) and not given:
            return cls(is_on=True, default="")
        before, inside = split(given)
        return cls(is_on=given is not None, default=read(before), inside=inside)
