"""Training a stock model through a reduction: LoRA on its LLM, by the loss of what is left."""

import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback

from foveate.apply import reduce
from foveate.ask.vlm import VLM, load
from foveate.reduction import Reduction
from foveate.train.collate import Collator
from foveate.train.fit import fit, is_main, needs
from foveate.train.settings import Adaptation, claim
from foveate.train.sources import read

LOG = logging.getLogger(__name__)


def adapt(recipe: Adaptation, out: Path, callbacks: list[TrainerCallback] | None = None) -> Path:
    """Train a model's LLM to read what a reduction leaves; after a kill the same call resumes.

    Args:
        recipe: what to train, through which reduction, on what, for how long.
        out: folder of the finished checkpoint, the update added to the weights; `out/adapter` holds it
            alone, as PEFT loads it, and its checkpoints.
        callbacks: of transformers' Trainer, added to our own.

    Returns:
        `out`, which `foveate.load` and the Auto classes load.

    Raises:
        InputError: data that cannot be trained on, settings that do not fit, another training in `out`.
        UnsupportedError: a model, or a reduction of it, that foveate does not take.
        MissingExtraError: accelerate, PEFT or TensorBoard are not installed.
    """
    needs("accelerate", "peft", "tensorboard")
    import peft

    data = read(recipe.data, None if recipe.images is None else Path(recipe.images))
    claim(out, recipe, data.hash)
    vlm = load(recipe.model, device="cpu", dtype=torch.float32)
    folder = out / "adapter"
    if (folder / "done").exists():
        LOG.info("trained already: %s", folder)
        model: Any = peft.PeftModel.from_pretrained(vlm.model, folder)
    else:
        torch.manual_seed(recipe.seed)
        lora = peft.LoraConfig(
            r=recipe.rank, lora_alpha=2 * recipe.rank, target_modules=_linear_layers(vlm)
        )
        model = peft.get_peft_model(vlm.model, lora)
        collator = Collator(vlm.processor, seed=recipe.seed)
        with reduce(model, Reduction.from_dict(recipe.reduction)):
            fit(model, data.examples, collator, recipe, recipe.stage, folder, callbacks or [])
    if is_main():
        model.merge_and_unload().save_pretrained(out)
        vlm.processor.save_pretrained(out)
    return out


def _linear_layers(vlm: VLM) -> list[str]:
    """The LLM's linear layers, by their full names."""
    llm = vlm.family.language_model(vlm.model.model)
    inside = set(llm.layers.modules())
    return [
        name
        for name, module in vlm.model.named_modules()
        if isinstance(module, nn.Linear) and module in inside
    ]
