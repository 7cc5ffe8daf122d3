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

from foveate.models.compressed import CompressedProcessor, with_compressor

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


PINPOINTS = [[56, 56], [56, 112], [112, 56], [112, 112]]


def llava_next() -> tuple[Any, Any]:
    """LLaVA-NeXT: 16 tokens a view, up to four tiles."""
    config = hf.LlavaNextConfig(
        vision_config=hf.CLIPVisionConfig(image_size=56, projection_dim=64, **TOWER),
        text_config=hf.LlamaConfig(**TEXT),
        image_token_index=IDS["<image>"],
        image_grid_pinpoints=PINPOINTS,
    )
    images = hf.LlavaNextImageProcessor(
        size={"shortest_edge": 56}, crop_size=56, image_grid_pinpoints=PINPOINTS
    )
    processor = hf.LlavaNextProcessor(
        images, tokenizer(), patch_size=14, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=CHAT,
    )  # fmt: skip
    return hf.LlavaNextForConditionalGeneration(config), processor


def llava_onevision() -> tuple[Any, Any]:
    """LLaVA-OneVision: 16 tokens a view, up to four tiles, 4 tokens a frame and a separator."""
    config = hf.LlavaOnevisionConfig(
        vision_config=hf.SiglipVisionConfig(image_size=56, vision_use_head=False, **TOWER),
        text_config=hf.Qwen2Config(**TEXT),
        image_token_index=IDS["<image>"],
        video_token_index=IDS["<video>"],
        image_grid_pinpoints=PINPOINTS,
        vision_feature_layer=-1,
    )
    side = {"height": 56, "width": 56}
    processor = hf.LlavaOnevisionProcessor(
        hf.LlavaOnevisionImageProcessor(size=side, image_grid_pinpoints=PINPOINTS),
        tokenizer(),
        hf.LlavaOnevisionVideoProcessor(size=side),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=CHAT,
    )
    return hf.LlavaOnevisionForConditionalGeneration(config), processor


def compressed(**settings: Any) -> tuple[Any, Any]:
    """LLaVA-OneVision with QueCC, which looks at the question's embeddings: 4 tokens a view."""
    stock, processor = llava_onevision()
    usual = {
        "compressor": {"name": "quecc", "kernel": 2},
        "multi_level_layers": [0, 1, -1],
        "query_encoding": "embedding",
        "views": "all",
    }
    model = with_compressor(stock, **{**usual, **settings})
    return model, CompressedProcessor.of(processor, model.config)


def compressed_llm() -> tuple[Any, Any]:
    """The same, with the LLM's hidden state of the question."""
    return compressed(query_encoding="llm")


def compressed_mqt() -> tuple[Any, Any]:
    """LLaVA-OneVision with MQT, which makes as many tokens a view as are asked for, up to 8."""
    mqt = {"name": "mqt", "most": 8, "heads": 2}
    return compressed(compressor=mqt, query_encoding="none", views="base")


GRID_IDS = {
    "image_token_id": IDS["<|image_pad|>"], "video_token_id": IDS["<|video_pad|>"],
    "vision_start_token_id": IDS["<|vision_start|>"], "vision_end_token_id": IDS["<|vision_end|>"],
}  # fmt: skip
GRID_TEXT = {
    **TEXT,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 6, 6]},
}
PIXELS = {"min_pixels": 28 * 28, "max_pixels": 224 * 224}


def qwen2_5_vl() -> tuple[Any, Any]:
    """Qwen2.5-VL: a token for 28 x 28 pixels."""
    vision = {
        "depth": 2, "hidden_size": 64, "out_hidden_size": 64, "intermediate_size": 96, "num_heads": 2,
        "window_size": 112, "fullatt_block_indexes": [1], "tokens_per_second": 2,
    }  # fmt: skip
    config = hf.Qwen2_5_VLConfig(vision_config=vision, text_config=GRID_TEXT, **GRID_IDS)
    processor = hf.Qwen2_5_VLProcessor(
        hf.Qwen2VLImageProcessor(**PIXELS),
        tokenizer(),
        hf.Qwen2VLVideoProcessor(**PIXELS, do_sample_frames=False),
        chat_template=CHAT,
    )
    return hf.Qwen2_5_VLForConditionalGeneration(config), processor


def qwen2_vl() -> tuple[Any, Any]:
    """Qwen2-VL, which the plug-in does not cover."""
    vision = {"depth": 2, "embed_dim": 64, "hidden_size": 64, "num_heads": 2}
    config = hf.Qwen2VLConfig(vision_config=vision, text_config=GRID_TEXT, **GRID_IDS)
    processor = hf.Qwen2VLProcessor(
        hf.Qwen2VLImageProcessor(**PIXELS),
        tokenizer(),
        hf.Qwen2VLVideoProcessor(**PIXELS, do_sample_frames=False),
        chat_template=CHAT,
    )
    return hf.Qwen2VLForConditionalGeneration(config), processor


def qwen3_vl() -> tuple[Any, Any]:
    """Qwen3-VL: a token for 32 x 32 pixels, with two levels of DeepStack."""
    vision = {
        "depth": 3, "hidden_size": 64, "out_hidden_size": 64, "intermediate_size": 96, "num_heads": 2,
        "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1],
    }  # fmt: skip
    rope = {**GRID_TEXT["rope_parameters"], "mrope_interleaved": True}
    text = {**GRID_TEXT, "rope_parameters": rope}
    config = hf.Qwen3VLConfig(vision_config=vision, text_config=text, **GRID_IDS)
    size = {"shortest_edge": 32 * 32, "longest_edge": 256 * 256}
    processor = hf.Qwen3VLProcessor(
        # as that of clips: vLLM normalizes both alike
        hf.Qwen2VLImageProcessor(
            size=size, patch_size=16, image_mean=[0.5] * 3, image_std=[0.5] * 3
        ),
        tokenizer(),
        hf.Qwen3VLVideoProcessor(size=size, do_sample_frames=False),
        chat_template=CHAT,
    )
    return hf.Qwen3VLForConditionalGeneration(config), processor


def internvl() -> tuple[Any, Any]:
    """InternVL: 4 tokens a tile of 56 x 56 pixels."""
    config = hf.InternVLConfig(
        vision_config={
            "model_type": "internvl_vision",
            "image_size": [56, 56],
            **TOWER,
            "patch_size": [14, 14],
        },
        text_config=hf.Qwen2Config(**TEXT),
        image_token_id=IDS["<IMG_CONTEXT>"],
        image_seq_length=4,
    )
    side = {"height": 56, "width": 56}
    words = tokenizer(
        extra_special_tokens={
            "start_image_token": "<img>", "end_image_token": "</img>", "video_token": "<video>",
            "context_image_token": "<IMG_CONTEXT>",
        }
    )  # fmt: skip
    processor = hf.InternVLProcessor(
        hf.GotOcr2ImageProcessor(size=side, crop_to_patches=True, max_patches=4),
        words,
        hf.InternVLVideoProcessor(size=side, do_sample_frames=False),
        image_seq_length=4,
        chat_template=CHAT,
    )
    return hf.InternVLForConditionalGeneration(config), processor


MAKERS: dict[str, Callable[[], tuple[Any, Any]]] = {
    make.__name__: make
    for make in (
        llava, llava_next, llava_onevision, compressed, compressed_llm, compressed_mqt, qwen2_vl,
        qwen2_5_vl, qwen3_vl, internvl,
    )
}  # fmt: skip


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
    if name.startswith("llava"):
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


def timed_clip(seed: int, frames: int, size: tuple[int, int]) -> tuple[np.ndarray, dict[str, Any]]:
    """A clip of two frames a second, with what Qwen-VL is told of it."""
    pictures = np.stack([np.asarray(picture(seed * 100 + n, size)) for n in range(frames)])
    told = {
        "fps": 2.0, "duration": frames / 2, "total_num_frames": frames,
        "frames_indices": list(range(frames)), "video_backend": "opencv", "do_sample_frames": False,
    }  # fmt: skip
    return pictures, told
