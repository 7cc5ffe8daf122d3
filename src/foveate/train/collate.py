"""Collate examples into a batch: prompts as in generation, then the answers, which alone have a loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from foveate.defaults import IGNORED
from foveate.train.data import Example


@dataclass(frozen=True)
class Collator:
    """Makes a batch of examples, padded on the right.

    Attributes:
        processor: of the compressed model.
        counts: token counts a view to draw from, for a compressor with several; each batch has one count.
        seed: of that draw, which depends only on it and on the batch's examples.
    """

    processor: Any
    counts: Sequence[int] = ()
    seed: int = 0

    def __call__(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        """Tensors of one step."""
        processor, tokenizer = self.processor, self.processor.tokenizer
        talks = [list(example.messages) for example in examples]
        prompts = processor.apply_chat_template(talks, add_generation_prompt=True)
        pictures = [[load() for load in example.pictures] for example in examples]
        drawn: dict[str, Any] = {}
        if len(self.counts) > 1:
            rng = np.random.default_rng([self.seed, *(example.number for example in examples)])
            drawn["visual_tokens"] = int(rng.choice(self.counts))
        inputs = processor(
            text=prompts,
            images=pictures if any(pictures) else None,
            padding=True,
            return_tensors="pt",
            **drawn,
        )
        ends = [example.answer + tokenizer.eos_token for example in examples]
        answers = tokenizer(ends, add_special_tokens=False)["input_ids"]
        rows, labels = [], []
        for ids, mask, answer in zip(
            inputs["input_ids"], inputs["attention_mask"], answers, strict=True
        ):
            prompt = ids[mask.bool()].tolist()
            rows.append(prompt + answer)
            labels.append([IGNORED] * len(prompt) + answer)
        fill = tokenizer.pad_token_id
        return {
            **inputs,
            "input_ids": _padded(rows, fill),
            "attention_mask": _padded([[1] * len(row) for row in rows], 0),
            "labels": _padded(labels, IGNORED),
        }


def _padded(rows: Sequence[Sequence[int]], fill: int) -> torch.Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows])
