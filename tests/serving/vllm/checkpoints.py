"""Tiny checkpoints of the families that the plug-in covers, with their processors, as vLLM loads them.

Weights are drawn wide, so that what a model says depends on its picture. Heads are 32 wide: vLLM's
attention on the CPU takes no narrower ones.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as hf
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

TEXT = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 2,
    "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 400, "pad_token_id": 0, "bos_token_id": None,
    "eos_token_id": None, "max_position_embeddings": 4096,
}  # fmt: skip
TOWER = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2,
    "patch_size": 14,
}  # fmt: skip
SPECIAL = [
    "<pad>", "<image>", "<video>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>",
    "<IMG_CONTEXT>", "<img>", "</img>",
]  # fmt: skip
CHAT = (
    "{% for message in messages %}{{ message['role'] }}: "
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}{{ '<image>' }}{% endif %}"
    "{% endfor %}{% endif %} {% endfor %}assistant:"
)


def tokenizer(**named: str) -> hf.PreTrainedTokenizerFast:
    """A byte-level tokenizer with all special tokens; the same every time."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=390,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made.train_from_iterator(["what is in the picture? how many are there?"] * 3, trainer)
    return hf.PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", **named)


IDS = {name: number for number, name in enumerate(SPECIAL)}


def llava() -> tuple[Any, Any]:
    """LLaVA-1.5 with a CLIP tower: 64 tokens a picture."""
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(image_size=112, projection_dim=64, **TOWER),
        text_config=hf.LlamaConfig(**TEXT),
        image_token_index=IDS["<image>"],
    )
    images = hf.CLIPImageProcessor(size={"shortest_edge": 112}, crop_size=112)
    processor = hf.LlavaProcessor(
        images, tokenizer(), patch_size=14, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=CHAT,
    )  # fmt: skip
    return hf.LlavaForConditionalGeneration(config), processor


MAKERS: dict[str, Callable[[], tuple[Any, Any]]] = {"llava": llava}


def save(name: str, folder: Path) -> Path:
    """Write a family's checkpoint; the same every time."""
    torch.manual_seed(0)
    model, processor = MAKERS[name]()
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.25)
    model.generation_config.pad_token_id = 0
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    as_on_the_hub(folder / "model.safetensors")
    return folder


def as_on_the_hub(file: Path) -> None:
    """Name the weights of CLIP and SigLIP towers as vLLM wants them; transformers 5 drops a part."""
    weights = {
        name.replace("vision_tower.", "vision_tower.vision_model.")
        if "vision_tower." in name and "vision_model" not in name
        else name: value
        for name, value in load_file(file).items()
    }
    save_file(weights, file, metadata={"format": "pt"})


def picture(seed: int, size: tuple[int, int] = (112, 112)) -> Image.Image:
    """A picture of blocks, unlike those of other seeds."""
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST)


def clip(seed: int, frames: int, size: int = 56) -> np.ndarray:
    """A clip of such pictures."""
    return np.stack([np.asarray(picture(seed * 100 + n, (size, size))) for n in range(frames)])
