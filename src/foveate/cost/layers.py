"""Layers of an LLM that are unlike each other, read off a config's fields.

A layer attends to all before it or to a window of that, or it is recurrent: it takes the sequence as it
comes, and what it remembers is of one size however long that was. Layers may read the keys of an earlier
one instead of making their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from foveate.errors import InputError, UnsupportedError

FULL, SLIDING = "full_attention", "sliding_attention"
ATTENTION = (FULL, SLIDING)
RECURRENT = ("linear_attention", "conv")
CHUNK = 64  # tokens that a delta net computes at a time
# fields of LLMs whose layers are made of other parts than these
UNKNOWN = (
    "kv_lora_rank", "n_routed_experts", "moe_num_experts", "altup_num_inputs", "mamba_num_heads",
)  # fmt: skip
LATENT = "kv_lora_rank"  # field of LLMs that cache what keys and values are made of
ROUTED = "n_routed_experts"
ERNIE = "ernie4_5_vl_moe_text"  # whose visual tokens have experts of their own
KNOWN = {  # of these, by model type
    "deepseek_ocr2_text": {ROUTED},
    "deepseek_v3": {ROUTED, LATENT},
    ERNIE: {"moe_num_experts", "moe_intermediate_size"},
    "glm4v_moe_text": {ROUTED},
    "step3p5": {ROUTED, "moe_num_experts"},
}
# how many, chosen per token, width of one, width of the shared, outputs of the shared one's gate
Experts = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class Delta:
    """A gated delta net (linear attention), computed in chunks.

    Attributes:
        heads: of the values.
        key: width of a key.
        value: width of a value.
    """

    heads: int
    key: int
    value: int

    def flops(self, rows: int) -> int:
        """Of so many rows, as torch counts them: products inside a chunk, and with the state."""
        whole = -(-rows // CHUNK) * CHUNK
        inside = CHUNK * (2 * self.key + self.value)
        return 2 * self.heads * whole * (inside + 3 * self.key * self.value)

    @property
    def state(self) -> int:
        """Numbers that it remembers, as 4-byte floats."""
        return self.heads * self.key * self.value


@dataclass(frozen=True)
class Layer:
    """What one layer takes.

    Attributes:
        weights: that one token meets in its matrices; of experts those that are picked.
        attention_width: of all query heads together, 0 where it does not attend.
        kv_width: of the keys that it puts into the cache for one token; the values are as many.
        source: the layer whose keys it reads: itself, or an earlier one.
        delta: its linear attention, if it has any.
        state: other numbers that it remembers however long the sequence is.
        unpacked: weights among these that make keys and values of what is cached, anew in each step.
        visual: weights that a visual token meets, where it has experts of its own; 0 where it has not.
    """

    weights: int
    attention_width: int
    kv_width: int
    source: int
    delta: Delta | None = None
    state: int = 0
    unpacked: int = 0
    visual: int = 0

    def dense(self, rows: int, visual: int) -> int:
        """FLOPs of its matrices for so many rows, some of them visual."""
        return 2 * (
            rows * self.weights + (visual * (self.visual - self.weights) if self.visual else 0)
        )


def layer_kinds(text: Any) -> tuple[str, ...]:
    """What each layer of an LLM's config does with the sequence, in transformers' words."""
    layers, family = text.num_hidden_layers, str(getattr(text, "model_type", None))
    if kinds := getattr(text, "layer_types", None):
        return tuple(kinds[:layers])
    if family.startswith("qwen3_5"):
        usual, every = "linear_attention", getattr(text, "full_attention_interval", None) or 4
    elif family.startswith(("gemma3", "gemma4")):
        usual, every = SLIDING, getattr(text, "sliding_window_pattern", None) or 6
    else:
        return ("full_attention",) * layers
    found = [usual if (layer + 1) % every else "full_attention" for layer in range(layers)]
    return (*found[:-1], "full_attention") if family.startswith("gemma4") else tuple(found)


def kv_sources(text: Any, kinds: Sequence[str]) -> tuple[int, ...]:
    """For each layer the one whose keys it reads: the last layers may read those of an earlier one.

    Raises:
        UnsupportedError: a layer that reads those of one that is not there.
    """
    own = len(kinds) - (getattr(text, "num_kv_shared_layers", None) or 0)
    made = {kind: layer for layer, kind in enumerate(kinds[:own])}  # the last of each kind
    if lacking := set(kinds[own:]) - set(made):
        raise UnsupportedError(f"layers from {own} on share the keys of no layer: {lacking}")
    return tuple(layer if layer < own else made[kind] for layer, kind in enumerate(kinds))


def rating_layer(kinds: Sequence[str], layer: int) -> int | None:
    """The last layer up to this one that attends, and so can rate tokens; None where there is none."""
    return next((n for n in range(layer, -1, -1) if kinds[n] in ATTENTION), None)


def refuse_unknown(text: Any, kinds: Sequence[str]) -> None:
    """Refuse an LLM whose sizes cannot be told from its config.

    Raises:
        UnsupportedError: layers of another kind, or parts that nothing here knows.
    """
    name = getattr(text, "model_type", None)
    known = (*ATTENTION, *(RECURRENT if name == "lfm2" else RECURRENT[:1]))
    if odd := sorted(set(kinds) - set(known)):
        raise UnsupportedError(
            f"what layers of kind {', '.join(odd)} cost is not known (model type {name!r}); "
            f"known: {', '.join(known)}"
        )
    parts = [field for field in UNKNOWN if getattr(text, field, None)]
    if not isinstance(getattr(text, "moe_intermediate_size", None) or 0, int):
        parts.append("moe_intermediate_size")
    if parts := [field for field in parts if field not in KNOWN.get(str(name), ())]:
        raise UnsupportedError(
            f"what an LLM with {', '.join(parts)} costs is not known from its config (model type "
            f"{name!r}); run the model inside foveate.reduce, whose report reads it off the model"
        )


def uneven_layers(
    text: Any, kinds: Sequence[str], experts: Sequence[Experts | None]
) -> tuple[Layer, ...]:
    """Each layer of an LLM whose layers are unlike each other; () where all are alike.

    Raises:
        InputError: a field is missing.
    """
    family = str(getattr(text, "model_type", None))
    if "linear_attention" in kinds:
        return tuple(
            _qwen3_5(text, layer, kind, chosen)
            for layer, (kind, chosen) in enumerate(zip(kinds, experts, strict=True))
        )
    if getattr(text, LATENT, None):
        return tuple(_latent(text, layer, chosen) for layer, chosen in enumerate(experts))
    if family == "step3p5":
        return tuple(_step(text, layer, chosen) for layer, chosen in enumerate(experts))
    if family == ERNIE:
        return tuple(_ernie(text, layer, chosen) for layer, chosen in enumerate(experts))
    if family == "lfm2":
        return tuple(_lfm2(text, layer, kind) for layer, kind in enumerate(kinds))
    if family.startswith("gemma4"):
        sources = kv_sources(text, kinds)
        return tuple(
            _gemma4(text, layer, kind, sources[layer], chosen)
            for layer, (kind, chosen) in enumerate(zip(kinds, experts, strict=True))
        )
    if getattr(text, "num_kv_shared_layers", None) or getattr(text, "is_heterogeneous", False):
        raise UnsupportedError(
            f"what layers with sizes of their own cost is known of gemma4 alone, got {family!r}"
        )
    return ()


def mlp_weights(width: int, inner: int, matrices: int, experts: Experts | None) -> int:
    """Weights that one token meets behind the attention."""
    if experts is None:
        return matrices * width * inner
    many, picked, one, shared, gates = experts
    return width * (many + gates) + 3 * width * (picked * one + shared)


def _field(text: Any, name: str) -> int:
    value = getattr(text, name, None)
    if not isinstance(value, int):
        raise InputError(
            f"a config of {getattr(text, 'model_type', None)!r} needs {name}, got {value!r}"
        )
    return value


def _qwen3_5(text: Any, layer: int, kind: str, experts: Experts | None) -> Layer:
    """Three layers in four are gated delta nets; the queries of the others come with gates."""
    width = text.hidden_size
    inner = 0 if experts else _field(text, "intermediate_size")
    mlp = mlp_weights(width, inner, 3, experts)
    if kind == "linear_attention":
        heads, groups = _field(text, "linear_num_value_heads"), _field(text, "linear_num_key_heads")
        delta = Delta(
            heads, _field(text, "linear_key_head_dim"), _field(text, "linear_value_head_dim")
        )
        values, mixed = heads * delta.value, 2 * groups * delta.key + heads * delta.value
        convolved = mixed * _field(text, "linear_conv_kernel_dim")
        weights = width * (mixed + 2 * values + 2 * heads) + convolved
        return Layer(weights + mlp, 0, 0, layer, delta, convolved)
    heads, one = _field(text, "num_attention_heads"), _field(text, "head_dim")
    queries, keys = heads * one, _field(text, "num_key_value_heads") * one
    return Layer(width * (3 * queries + 2 * keys) + mlp, queries, keys, layer)


def _step(text: Any, layer: int, experts: Experts | None) -> Layer:
    """Sliding layers have heads of their own number, and every head has a gate."""
    own, width = layer_fields(text, layer), text.hidden_size
    heads, one = _field(own, "num_attention_heads"), _field(own, "head_dim")
    queries, keys = heads * one, _field(own, "num_key_value_heads") * one
    weights = width * (2 * queries + 2 * keys + heads)
    weights += mlp_weights(width, _field(text, "intermediate_size"), 3, experts)
    return Layer(weights, queries, keys, layer)


def _latent(text: Any, layer: int, experts: Experts | None) -> Layer:
    """What is cached is narrow: keys and values of all heads are made of it anew (MLA)."""
    width, heads = text.hidden_size, _field(text, "num_attention_heads")
    turned, values = _field(text, "qk_rope_head_dim"), _field(text, "v_head_dim")
    plain, rank = _field(text, "qk_nope_head_dim"), _field(text, LATENT)
    queries, narrow = heads * (plain + turned), getattr(text, "q_lora_rank", None)
    weights = narrow * (width + queries) if narrow else width * queries
    unpacked = rank * heads * (plain + values)
    weights += width * (rank + turned) + unpacked + heads * values * width
    weights += mlp_weights(width, _field(text, "intermediate_size"), 3, experts)
    seen = heads * (plain + turned + values) // 2
    return Layer(weights, seen, (rank + turned) // 2, layer, unpacked=unpacked)


def _ernie(text: Any, layer: int, experts: Experts | None) -> Layer:
    """Text and pictures have experts of different widths; those that all share are wide as text's."""
    width, heads = text.hidden_size, text.num_attention_heads
    one = getattr(text, "head_dim", None) or width // heads
    queries, keys = heads * one, _field(text, "num_key_value_heads") * one
    around = 2 * width * (queries + keys)
    if experts is None:
        inner = _field(text, "intermediate_size")
        return Layer(around + 3 * width * inner, queries, keys, layer)
    many, picked, inner, shared, _ = experts
    around += width * (many + 3 * shared)
    weights, visual = (
        around + 3 * width * picked * each for each in (inner, text.moe_intermediate_size[1])
    )
    return Layer(weights, queries, keys, layer, visual=visual)


def _lfm2(text: Any, layer: int, kind: str) -> Layer:
    """Most layers are short convolutions between gates; the MLP may be narrower than it says."""
    width, inner = text.hidden_size, _field(text, "intermediate_size")
    if getattr(text, "block_auto_adjust_ff_dim", True):
        multiple = getattr(text, "block_multiple_of", 256)
        inner = int(getattr(text, "block_ffn_dim_multiplier", 1.0) * int(2 * inner / 3))
        inner = multiple * -(-inner // multiple)
    mlp = 3 * width * inner
    if kind == "conv":
        convolved = width * getattr(text, "conv_L_cache", 3)
        return Layer(4 * width**2 + convolved + mlp, 0, 0, layer, state=convolved)
    one = getattr(text, "head_dim", None) or width // text.num_attention_heads
    queries, keys = text.num_attention_heads * one, _field(text, "num_key_value_heads") * one
    return Layer(2 * width * (queries + keys) + mlp, queries, keys, layer)


def _gemma4(text: Any, layer: int, kind: str, source: int, experts: Experts | None) -> Layer:
    """Full attention has heads of its own size; the last layers may share keys and have a wider MLP."""
    width, shares = text.hidden_size, source != layer
    one, groups = _gemma4_heads(text, layer, kind)
    queries, keys = _field(text, "num_attention_heads") * one, groups * one
    one_matrix = getattr(text, "attention_k_eq_v", False) and kind != SLIDING
    made = 0 if shares else width * keys * (1 if one_matrix else 2)
    doubled = shares and getattr(text, "use_double_wide_mlp", False)
    weights = 2 * width * queries + made
    weights += mlp_weights(width, _field(text, "intermediate_size") * (1 + doubled), 3, None)
    weights += mlp_weights(width, 0, 3, experts)
    if extra := getattr(text, "hidden_size_per_layer_input", None):
        # one matrix before the layers makes what all of them are handed
        weights += 2 * width * extra + (0 if layer else width * extra * text.num_hidden_layers)
    return Layer(weights, queries, 0 if shares else keys, source)


def layer_fields(text: Any, layer: int) -> Any:
    """The config of one layer: the LLM's, or its own where it has one."""
    own: Any = getattr(text, "per_layer_config", None)
    if own is None:
        return text
    try:
        return own[layer]
    except TypeError:  # plain fields: layers that differ, by their number
        own = {int(name): vars(fields) for name, fields in vars(own).items()}.get(layer, {})
        return SimpleNamespace(**{**vars(text), **own})


def _gemma4_heads(text: Any, layer: int, kind: str) -> tuple[int, int]:
    """Width of a head, and how many keys and values have, in one layer."""
    if getattr(text, "per_layer_config", None) is None and kind != SLIDING:
        many = getattr(text, "num_global_key_value_heads", None)
        if many is None or not getattr(text, "attention_k_eq_v", False):
            many = _field(text, "num_key_value_heads")
        return getattr(text, "global_head_dim", None) or 512, many
    own = layer_fields(text, layer)
    return _field(own, "head_dim"), _field(own, "num_key_value_heads")
