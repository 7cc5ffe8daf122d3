"""What may be asked of a checkpoint's own compressor; this needs no vLLM.

`foveate train` writes a compressor into a checkpoint, with the projector and the LLM that were trained
to read it. So the checkpoint that an engine serves says which compressor there is, and nobody else: a
request may ask for fewer tokens where the compressor leaves the choice, and say its question.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from foveate.compress.learned.described import build_compressor
from foveate.errors import InputError
from foveate.serving.field import KEY
from foveate.serving.vllm.budget import Switch

KNOBS = ("question", "visual_tokens")


def read_asked(given: object, counts: Sequence[int], most: int) -> tuple[int, str | None]:
    """How many tokens a view are asked for, and about which question, if it is said.

    Args:
        given: what stands under the key; None and {} ask for nothing.
        counts: tokens a view that the compressor can make.
        most: as many as may be asked for, which is the default.

    Raises:
        InputError: anything else than `KNOBS`, or a value out of range.
    """
    row = {} if given is None else given
    if not isinstance(row, Mapping) or set(row) - set(KNOBS):
        raise InputError(
            f"this checkpoint has a compressor of its own: {KEY} takes {' and '.join(KNOBS)} alone, got "
            f"{given!r}"
        )
    tokens, question = row.get("visual_tokens", most), row.get("question")
    allowed = [count for count in counts if count <= most]
    if isinstance(tokens, bool) or tokens not in allowed:
        shown = ", ".join(map(str, sorted(allowed)[:12]))
        raise InputError(f"visual_tokens must be one of {shown}, got {tokens!r}")
    if question is not None and not (isinstance(question, str) and is_text(question)):
        raise InputError(f"question must be a text that is not empty, got {question!r}")
    return int(tokens), question


def is_text(given: str) -> bool:
    """Whether something is left without white space and halves of characters, which JSON can write."""
    return bool(given.strip()) and not any("\ud800" <= letter <= "\udfff" for letter in given)


def written(tokens: int, question: Sequence[int]) -> str:
    """What is asked for as one text, which a picture is hashed with.

    Args:
        tokens: a view.
        question: its tokens; none if the compressor does not look at it.
    """
    return json.dumps({"question": list(question), "visual_tokens": tokens}, sort_keys=True)


def tokens_of(text: str) -> int:
    """The tokens a view that `written` wrote."""
    return json.loads(text)["visual_tokens"]


def counts_of(config: Any) -> tuple[int, ...]:
    """The tokens a view that a config's compressor can make, without its weights."""
    with torch.device("meta"):
        return build_compressor(config).counts()


def switch_of(config: Any) -> Switch:
    """What the operator of an engine said; a compressor is always on.

    Args:
        config: of the model, into which vLLM writes `--hf-overrides`.

    Raises:
        InputError: anything else than a number of tokens that the compressor can make.
    """
    counts = counts_of(config)
    tokens, question = read_asked(
        getattr(config, KEY, None), counts, config.visual_tokens or max(counts)
    )
    if question is not None:
        raise InputError("a question is a request's own, not an engine's")
    return Switch(is_on=True, default=written(tokens, ()))
