"""Sizes of a language model, read off a config's fields."""

from dataclasses import dataclass
from typing import Any

from foveate.cost.layers import (
    ERNIE,
    ROUTED,
    SLIDING,
    Experts,
    Layer,
    layer_fields,
    layer_kinds,
    mlp_weights,
    refuse_unknown,
    uneven_layers,
)
from foveate.errors import InputError

TWO_MATRIX_MLP = {"opt", "gpt2", "gpt_neox", "phi", "bloom", "starcoder2", "falcon", "mpt"}


@dataclass(frozen=True)
class LLM:
    """What an LLM's cost depends on.

    Attributes:
        layers: decoder layers.
        width: of the hidden state.
        heads: query heads.
        kv_heads: key and value heads.
        head_dim: width of a head.
        inner: width of the MLP.
        matrices: of the MLP, 3 where it is gated.
        vocab: rows of the output layer.
        experts: for each layer (how many, active for a token, inner width of one, of the shared one,
            outputs of the gate of that), None for a dense layer.
        windows: for each layer the width of its sliding window, None for full attention.
        qkv_bias: whether queries, keys and values have a bias, as in Qwen2.
        each: the layers, where they are unlike each other; heads and widths above are then the first's.
    """

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int
    matrices: int
    vocab: int
    experts: tuple[Experts | None, ...]
    windows: tuple[int | None, ...]
    qkv_bias: bool
    each: tuple[Layer, ...] = ()

    def layer(self, layer: int) -> Layer:
        """What one layer takes."""
        if self.each:
            return self.each[layer]
        weights = 2 * self.width * (self.attention_width + self.kv_width)
        weights += mlp_weights(self.width, self.inner, self.matrices, self.experts[layer])
        return Layer(weights, self.attention_width, self.kv_width, layer)

    def rating_layer(self, layer: int) -> int | None:
        """The last layer up to this one that attends, and so can rate tokens; None for none."""
        return next((n for n in range(layer, -1, -1) if self.layer(n).attention_width), None)

    @property
    def attention_width(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Numbers of one token's keys in one layer; its values are as many."""
        return self.kv_heads * self.head_dim

    def layer_weights(self, layer: int) -> int:
        """Weights of one layer's matrices that one token is multiplied with."""
        return self.layer(layer).weights

    def layer_reads(self, layer: int, rows: int) -> int:
        """Weights of one layer that `rows` rows read: of experts, those that any row picks.

        Every expert is taken to be picked equally often.
        """
        chosen = self.experts[layer]
        if chosen is None or not rows:
            return self.layer_weights(layer)
        many, picked, inner, *_ = chosen
        used = many * (1 - (1 - picked / many) ** rows)
        return self.layer_weights(layer) + round(3 * self.width * inner * (used - picked))

    @property
    def parameters(self) -> int:
        """Weights of all matrices, every expert and the output layer included."""
        total = self.width * self.vocab
        for layer in range(self.layers):
            total += self.layer_weights(layer)
            if (experts := self.experts[layer]) is not None:
                total += 3 * self.width * (experts[0] - experts[1]) * experts[2]
        return total


def read_llm(config: Any) -> LLM:
    """The sizes in a VLM's or an LLM's config (its `text_config` is used where it has one).

    Raises:
        InputError: a field is missing.
        UnsupportedError: layers or parts whose cost is not known.
    """
    if isinstance(config, LLM):
        return config
    text = getattr(config, "text_config", None) or config
    usual = layer_fields(text, 0)
    for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"):
        if not isinstance(getattr(usual, name, None), int):
            raise InputError(
                f"a config needs {name}, but {type(text).__name__} "
                f"({getattr(text, 'model_type', None)!r}) gives {getattr(usual, name, None)!r}"
            )
    heads, window = usual.num_attention_heads, getattr(text, "sliding_window", None)
    layers, kinds = text.num_hidden_layers, layer_kinds(text)
    refuse_unknown(text, kinds)
    experts = tuple(_experts(text, layer) for layer in range(layers))
    return LLM(
        layers=layers,
        width=text.hidden_size,
        heads=heads,
        kv_heads=getattr(usual, "num_key_value_heads", None) or heads,
        head_dim=getattr(usual, "head_dim", None) or text.hidden_size // heads,
        inner=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        matrices=2 if getattr(text, "model_type", None) in TWO_MATRIX_MLP else 3,
        vocab=text.vocab_size,
        experts=experts,
        windows=tuple(window if kind == SLIDING else None for kind in kinds),
        qkv_bias=str(getattr(text, "model_type", "")).startswith("qwen2"),
        each=uneven_layers(text, kinds, experts),
    )


def _experts(text: Any, layer: int) -> Experts | None:
    if getattr(text, "model_type", None) == ERNIE:
        kinds, widths = getattr(text, "mlp_layer_types", None), text.moe_intermediate_size
        if (kinds[layer] == "dense") if kinds else not layer:
            return None
        shared = text.moe_num_shared_experts * widths[0]
        return text.moe_num_experts, text.moe_k, widths[0], shared, 0
    names = ("num_experts", "num_local_experts", ROUTED)
    many = next((many for name in names if (many := getattr(text, name, None))), None)
    if not many or layer in (getattr(text, "mlp_only_layers", None) or ()):
        return None
    if (kinds := getattr(text, "mlp_layer_types", None)) and kinds[layer] == "dense":
        return None
    if layer < (getattr(text, "first_k_dense_replace", None) or 0):
        return None
    if not getattr(text, "enable_moe_block", True):
        return None
    if (layer + 1) % (getattr(text, "decoder_sparse_step", None) or 1):
        return None
    inner = getattr(text, "moe_intermediate_size", None) or text.intermediate_size
    gated = getattr(text, "shared_expert_intermediate_size", None) or 0
    shared = (
        gated
        or getattr(text, "share_expert_dim", None)
        or inner * (getattr(text, "n_shared_experts", None) or 0)
    )
    picked = getattr(text, "num_experts_per_tok", None) or getattr(text, "top_k_experts", None)
    if not picked:
        raise InputError(f"a config with {many} experts needs num_experts_per_tok")
    return many, picked, inner, shared, int(gated > 0)


def held_rows(rows: int, window: int | None) -> int:
    """Rows that a layer's KV cache keeps of `rows`: with a sliding window one fewer than its width.

    The window's last row is the next token.
    """
    return rows if window is None else min(rows, window - 1)
