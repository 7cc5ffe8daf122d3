"""Several questions about the same pictures: what they begin with is read once."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache

from foveate.models.family import Family
from foveate.reduction import Reduction
from foveate.runtime.seams import on_cache


def shared_tokens(
    model: Any, family: Family, prompts: Sequence[dict[str, Any]], reduction: Reduction
) -> int:
    """How many tokens from the first on all prompts share, and read alike whatever follows.

    Args:
        model: the whole model.
        family: its family.
        prompts: tensors of each, of one sample.
        reduction: what is to be done with the visual tokens.

    Returns:
        0 where they do not share all pictures, or what is kept of these depends on the question: a method
        inside the LLM or one that reads the text, an encoder that does, attention both ways.
    """
    before, inside = reduction.before, reduction.inside
    if (inside is not None and not inside.is_off) or (
        before is not None and "query" in before.needs
    ):
        return 0
    if any(any(family.question_flops(model.config, prompt)) for prompt in prompts):
        return 0
    ids = [prompt["input_ids"][0] for prompt in prompts]
    count = min(len(row) for row in ids) - 1  # each has some of its own
    differs = torch.stack([row[:count] != ids[0][:count] for row in ids]).any(0)
    count = int(differs.nonzero()[0]) if bool(differs.any()) else count
    visual = torch.isin(ids[0], ids[0].new_tensor(list(family.placeholders(model.config).values())))
    blocks = family.blocks(prompts[0])
    if bool(visual[count:].any()) or (blocks is not None and bool((blocks[0, count:] >= 0).any())):
        return 0
    return count


def generate_from(
    model: Any, prompts: Sequence[dict[str, Any]], count: int, options: dict[str, Any]
) -> list[torch.Tensor]:
    """The new tokens of each prompt, all going on from one prefill of the first `count` tokens.

    Args:
        model: the whole model, inside a reduce().
        prompts: tensors of each, of one sample.
        count: as of `shared_tokens`.
        options: of `generate`.
    """
    first = prompts[0]["input_ids"]
    prefix = {
        name: value[:, :count] if value.shape[:2] == first.shape else value
        for name, value in prompts[0].items()
    }
    cache = DynamicCache(config=model.config.get_text_config())
    one = {"max_new_tokens": 1, "min_new_tokens": 1}
    model.generate(**prefix, **on_cache(model, cache), **{**options, **one})
    written = []
    for prompt in prompts:
        ids = prompt["input_ids"]
        output = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), **options,
            **on_cache(model, copy.deepcopy(cache)),
        )  # fmt: skip
        written.append(output[0, ids.shape[1] :])
    return written
