"""Write a trained model, in bfloat16, as a folder that stock transformers loads."""

import copy
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionProcessor,
)


def export(
    model: LlavaOnevisionForConditionalGeneration,
    processor: LlavaOnevisionProcessor,
    folder: Path,
    longest: int = 16,
) -> None:
    """Save to `folder`, file by file as a whole; a README.md there is kept.

    Args:
        model: what is saved, in bfloat16.
        processor: of the model.
        folder: where to.
        longest: tokens of an answer, where a caller of `generate` says nothing else.
    """
    unfinished = folder.with_name(folder.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    saved: Any = copy.deepcopy(model)
    saved.to(torch.bfloat16)
    end = processor.tokenizer.eos_token_id
    saved.generation_config = GenerationConfig(
        eos_token_id=end, pad_token_id=end, do_sample=False, max_new_tokens=longest
    )
    saved.save_pretrained(unfinished)
    processor.save_pretrained(unfinished)
    folder.mkdir(parents=True, exist_ok=True)
    for file in unfinished.iterdir():
        os.replace(file, folder / file.name)
    unfinished.rmdir()
