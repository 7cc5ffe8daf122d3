"""Sizes of an LLM, read off its modules: what each layer really has, whatever its config says."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from torch import nn

from foveate.cost.layers import LATENT, Delta, Layer, layer_fields
from foveate.cost.shapes import LLM
from foveate.errors import UnsupportedError
from foveate.models.layout import Layout

PICKED = ("num_experts_per_tok", "top_k_experts", "moe_topk", "moe_k", "num_experts_per_token")
OUTPUTS = ("o_proj", "out_proj", "dense")  # what an attention's heads go through


def sizes_of(model: Any, llm: Any, layout: Layout) -> LLM:
    """The sizes of a model's LLM.

    Args:
        model: the whole model.
        llm: its LLM.
        layout: of the LLM.

    Raises:
        UnsupportedError: experts without saying how many a token meets, or another linear attention.
    """
    config = llm.config
    picked = next((getattr(config, name) for name in PICKED if getattr(config, name, 0)), 0)
    each = [_layer(layer, config, layout, n, picked) for n, layer in enumerate(llm.layers)]
    entrance = sum(
        _weights(module, picked) for name, module in llm.named_children() if name != "layers"
    )
    first = each[0]
    seen = first.visual and first.visual + entrance
    each[0] = replace(first, weights=first.weights + entrance, visual=seen)
    window, head = getattr(config, "sliding_window", None), model.get_output_embeddings()
    none = (None,) * len(each)
    return LLM(
        layers=len(each), width=config.hidden_size, heads=layer_fields(config, 0).num_attention_heads,
        kv_heads=0, head_dim=0, inner=0, matrices=0, vocab=head.weight.shape[0], experts=none,
        windows=tuple(window if kind == "sliding_attention" else None for kind in layout.kinds),
        qkv_bias=False, each=tuple(each),
    )  # fmt: skip


def _layer(layer: nn.Module, config: Any, layout: Layout, number: int, picked: int) -> Layer:
    weights, visual = _weights_by_kind(layer, picked)
    if layout.is_recurrent(number):
        return Layer(weights, 0, 0, number, _delta(layer, layout.kinds[number]))
    attention: Any = layer.self_attn
    fields = layer_fields(config, number)
    heads = fields.num_attention_heads
    width = getattr(attention, "head_dim", None) or getattr(fields, "head_dim", None)
    width = width or config.hidden_size // heads
    keys = (getattr(fields, "num_key_value_heads", None) or heads) * width
    if rank := getattr(attention, LATENT, 0):
        keys = (rank + attention.qk_rope_head_dim) // 2
    if isinstance(projection := getattr(attention, "k_proj", None), nn.Module):
        keys = _sides(projection)[1] or keys
    return Layer(
        weights, _attention_width(attention, heads * width),
        keys if layout.reads_own(number) else 0, layout.sources[number], visual=visual,
    )  # fmt: skip


def _weights_by_kind(layer: Any, picked: int) -> tuple[int, int]:
    """Weights that a token of text meets, and a visual one: 0 where it has no experts of its own."""
    both, mlp = _weights(layer, picked), getattr(layer, "mlp", None)
    if mlp is None or not hasattr(mlp, "vision_moe"):
        return both, 0
    text, vision = (_weights(experts, picked) for experts in (mlp.text_moe, mlp.vision_moe))
    return both - vision, both - text


def _attention_width(attention: Any, usual: int) -> int:
    """Of all query heads together; where queries are wider than values, the mean of both."""
    into = next((_sides(getattr(attention, n))[0] for n in OUTPUTS if hasattr(attention, n)), 0)
    values, queries = (getattr(attention, name, 0) for name in ("v_head_dim", "qk_head_dim"))
    if into and values and queries:
        return into * (values + queries) // (2 * values)
    return into or usual


def _delta(layer: nn.Module, kind: str) -> Delta | None:
    """The gated delta net of a layer; a short convolution has weights alone.

    Raises:
        UnsupportedError: another linear attention.
    """
    if kind == "conv":
        return None
    names = ("num_v_heads", "head_k_dim", "head_v_dim")
    for module in layer.children():
        if all(hasattr(module, name) for name in names):
            return Delta(*(getattr(module, name) for name in names))
    raise UnsupportedError(
        f"what the linear attention of {type(layer).__name__} costs is not known, so its reports would "
        "be wrong; works: gated delta nets (Qwen3.5), short convolutions (LFM2)"
    )


def _sides(module: Any) -> tuple[int, int]:
    """Widths of what goes into a linear module and comes out, (0, 0) of any other."""
    return getattr(module, "in_features", 0), getattr(module, "out_features", 0)


def _weights(module: nn.Module, picked: int) -> int:
    """Weights of all matrices in a module that one token meets."""
    return sum(_matrices(module, picked))


def _matrices(module: Any, picked: int) -> Iterator[int]:
    if all(_sides(module)):  # by its sides: quantized weights are stored otherwise
        yield module.in_features * module.out_features
        return
    if isinstance(module, nn.Embedding):
        return
    experts = 0
    for name, weight in module.named_parameters(recurse=False):
        if isinstance(module, nn.Conv1d) and name == "weight":
            yield weight.numel()
        elif weight.dim() == 3 and "bias" not in name:
            experts += weight.numel() // len(weight)
        elif weight.dim() == 2 and name == "weight":
            yield weight.numel()
    if experts:
        yield experts * _known(picked, module)
    for name, child in module.named_children():
        if name == "experts" and isinstance(child, nn.ModuleList):
            yield _weights(child, picked) * _known(picked, child) // len(child)
        else:
            yield from _matrices(child, picked)


def _known(picked: int, module: nn.Module) -> int:
    if not picked:
        raise UnsupportedError(
            f"{type(module).__name__} has experts, and its config does not say how many of them a token "
            f"meets ({', '.join(PICKED)}), so its reports would be wrong"
        )
    return picked
