"""Exact match of a model's own answers, by stock `generate`, on questions it never saw."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import LlavaOnevisionForConditionalGeneration, LlavaOnevisionProcessor

from foveate.scenes import TASKS, questions

BATCH = 20


@dataclass(frozen=True)
class Tally:
    """How many of `n` questions were answered right."""

    right: int
    n: int

    @property
    def share(self) -> float:
        """Share of right answers, 0 to 1."""
        return self.right / self.n


def evaluate(
    model: LlavaOnevisionForConditionalGeneration,
    processor: LlavaOnevisionProcessor,
    split: str,
    n: int,
    seed: int = 0,
) -> dict[str, Tally]:
    """Ask `n` questions of each task.

    Returns:
        a tally for each task, and for each family of it as `task/family`.
    """
    right: dict[str, list[bool]] = defaultdict(list)
    for task in TASKS:
        # A batch has one number of frames, for the processor stacks them.
        groups = defaultdict(list)
        for item in questions(task, split, n, seed=seed):
            groups[len(item[0])].append(item)
        for items in groups.values():
            for first in range(0, len(items), BATCH):
                part = items[first : first + BATCH]
                asked = [(images, question) for images, question, _, _ in part]
                texts = answers(model, processor, asked, is_video=task == "video")
                for (_, _, answer, family), text in zip(part, texts, strict=True):
                    right[f"{task}/{family}"].append(text == answer)
                    right[task].append(text == answer)
    return {name: Tally(sum(hits), len(hits)) for name, hits in sorted(right.items())}


@torch.no_grad()
def answers(
    model: Any,
    processor: Any,
    asked: list[tuple[list, str]],
    *,
    is_video: bool,
    longest: int = 12,
) -> list[str]:
    """The model's answer to each (images, question), greedily; all clips with as many frames.

    Args:
        model: the model.
        processor: of the model.
        asked: what is shown and asked.
        is_video: whether frames of clips are shown.
        longest: tokens of an answer.
    """
    kind = "video" if is_video else "image"
    prompts = []
    for _, question in asked:
        content = [{"type": kind}, {"type": "text", "text": question}]
        turn = [{"role": "user", "content": content}]
        prompts.append(processor.apply_chat_template(turn, add_generation_prompt=True))
    if is_video:
        visual = {"videos": [np.stack([np.asarray(f) for f in images]) for images, _ in asked]}
    else:
        visual = {"images": [images[0] for images, _ in asked]}
    inputs = processor(text=prompts, **visual, padding=True, return_tensors="pt").to(model.device)
    output = model.generate(**inputs, max_new_tokens=longest, do_sample=False)
    written = output[:, inputs["input_ids"].shape[1] :]
    return [text.strip() for text in processor.batch_decode(written, skip_special_tokens=True)]
