"""FLOPs as torch counts them: of real model sizes on its meta device, and inside a model's LLM."""

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForImageTextToText

import foveate
from foveate.cost.configs import published
from foveate.models.family import family_of

CLIP = published()["llava-1.5-7b"]["vision_config"]
SIGLIP = published()["llava-onevision-7b"]["vision_config"]


def _text(kind, width, inner, layers, heads, kv_heads, vocab, **more) -> dict:
    return {
        "model_type": kind, "hidden_size": width, "intermediate_size": inner, "vocab_size": vocab,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
        **more,
    }  # fmt: skip


INTERN = {"image_size": [448, 448], "patch_size": [14, 14]}
OTHERS = {
    "llava-mistral-two-layers": {
        "model_type": "llava", "vision_config": CLIP, "vision_feature_layer": [-2, -5],
        "text_config": _text("mistral", 4096, 14336, 32, 32, 8, 32000),
    },
    "llava-siglip-head": {
        "model_type": "llava", "vision_feature_select_strategy": "full",
        "vision_config": {**SIGLIP, "vision_use_head": True},
        "text_config": _text("qwen2", 3584, 18944, 28, 28, 4, 152064),
    },
    "internvl3.5-4b": {
        "model_type": "internvl", "vision_config": INTERN,
        "text_config": _text("qwen3", 2560, 9728, 36, 32, 8, 151936, head_dim=128),
    },
    "paligemma-3b": {
        "model_type": "paligemma", "vision_config": {**SIGLIP, "image_size": 224},
        "text_config": _text("gemma", 2048, 16384, 18, 8, 1, 257216, head_dim=256),
    },
}  # fmt: skip
FIELDS = {**published(), **OTHERS}


def transformers_config(name: str, layers: int | None = None):
    """The config as transformers reads it, with its decoder cut to `layers` where given."""
    fields = dict(FIELDS[name])
    if layers:
        text = fields["text_config"]
        kinds = {"layer_types": text["layer_types"][-layers:]} if "layer_types" in text else {}
        fields["text_config"] = {**text, "num_hidden_layers": layers, **kinds}
    return AutoConfig.for_model(**fields)


def on_meta(config):
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, attn_implementation="eager")
    return model.eval()


def counted(call) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return counter.get_total_flops()


def counted_llm(model, inputs, reduction, **more):
    """FLOPs that torch counts inside the LLM, and the report."""
    llm, seen = family_of(model).language_model(model.model), []
    counter = FlopCounterMode(display=False)
    model.requires_grad_(False)
    with counter, torch.no_grad(), foveate.reduce(model, reduction) as run:
        hooks = [
            llm.register_forward_pre_hook(lambda *_: seen.append(-counter.get_total_flops())),
            llm.register_forward_hook(lambda *_: seen.append(counter.get_total_flops())),
        ]
        model(**inputs, **more)
    for hook in hooks:
        hook.remove()
    return sum(seen), run.report


def head_flops(model):
    head = model.get_output_embeddings()
    return 2 * head.in_features * head.out_features
