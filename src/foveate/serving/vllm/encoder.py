"""Methods in the encoder, in vLLM's own towers: CLIP's and SigLIP's, as the LLaVA family has them.

The towers compute what transformers' do, layer by layer, so foveate's hooks for those act on these. Only
attention is asked for in another way: for the length of one encoding each layer's is held by a module
that adds what a method adds to its logits. Every patch gets back what its row has become, so that grids,
projector and placeholders know nothing of it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from foveate.errors import InputError, UnsupportedError
from foveate.reduction import Encoding, Shortener
from foveate.runtime.encoder_rows import EncoderRows, layers_read
from foveate.runtime.reused import Reused
from foveate.runtime.shortened import Shortened, check_layer

TYPES = ("clip_vision_model", "siglip_vision_model")  # of the towers


def check_encoding(config: Any, method: Encoding) -> None:
    """Refuse a method in the encoder that a model of this config cannot run.

    Args:
        config: of the model.
        method: in the encoder.

    Raises:
        InputError: a tower that is not CLIP's or SigLIP's, a layer that it does not have, or a tower
            whose embeddings are read.
    """
    vision = config.vision_config
    if vision.model_type not in TYPES:
        raise InputError(
            f"{method!r} works in the encoder; in vLLM that is covered for CLIP and SigLIP towers alone, "
            f"and this model has {vision.model_type}"
        )
    try:
        read = layers_read(config.vision_feature_layer, vision.num_hidden_layers)
    except UnsupportedError as error:
        raise InputError(str(error)) from None
    if isinstance(method, Shortener):
        check_layer(method, read)


@contextmanager
def encoding(
    model: Any, method: Encoding | None, modality: str, arguments: Mapping[str, Any]
) -> Iterator[None]:
    """While open, the tower computes fewer rows.

    Args:
        model: vLLM's, with its tower.
        method: in the encoder; None for none.
        modality: "image" or "video".
        arguments: of `embed_multimodal`.
    """
    if method is None:
        yield
        return
    core = as_in_transformers(model)
    rows = Shortened(core, method) if isinstance(method, Shortener) else Reused(core, method)
    rows.cost = no_cost
    rows.begin(modality, arguments, None)
    with ExitStack() as stack:
        stack.callback(rows.end)
        for module, hook, after in rows.hooks():
            stack.enter_context(_hooked(module, hook, after=after))
        for attention in rows.attentions():
            stack.enter_context(_watched(attention, rows))
        yield


def as_in_transformers(model: Any) -> SimpleNamespace:
    """What foveate asks a model of transformers for: its tower, and which states of it are read.

    vLLM leaves out layers behind these, so that a state counted from the last layer is another one.
    """
    config, depth = model.config, model.config.vision_config.num_hidden_layers
    chosen = config.vision_feature_layer
    if isinstance(chosen, int):
        chosen = [chosen]
    states = [state if state >= 0 else depth + 1 + state for state in chosen]
    told = SimpleNamespace(
        model_type=config.model_type,
        vision_config=config.vision_config,
        vision_feature_layer=states,
    )
    return SimpleNamespace(config=told, vision_tower=model.vision_tower)


class WatchedAttention(nn.Module):
    """A layer's attention with what a method adds to it.

    Args:
        stock: vLLM's.
        rows: of the tower that computes fewer.
    """

    def __init__(self, stock: Any, rows: EncoderRows) -> None:
        super().__init__()
        self.stock, self.rows = stock, rows

    def forward(
        self,
        query: Float[Tensor, "B N E"],
        key: Float[Tensor, "B N E"],
        value: Float[Tensor, "B N E"],
    ) -> Float[Tensor, "B N E"]:
        """As the stock one where nothing is added."""
        heads = [
            part.unflatten(2, (self.stock.num_heads, -1)).transpose(1, 2)
            for part in (query, key, value)
        ]
        given = self.rows.see_attention(heads[0], heads[1], self.stock.scale)
        if given is None:
            return self.stock(query, key, value)
        if callable(given):
            return given(self._attend, *heads).flatten(2)
        return self._attend(*heads, added=given).flatten(2)

    def _attend(self, *heads: Tensor, added: Tensor | None = None) -> Float[Tensor, "B N H d"]:
        scale = self.stock.scale
        return F.scaled_dot_product_attention(*heads, attn_mask=added, scale=scale).transpose(1, 2)


def no_cost(layer: Any, rows: int, pairs: int) -> int:
    """Nothing is counted: no report asks, and vLLM packs weights in ways of its own."""
    return 0


@contextmanager
def _watched(attention: Any, rows: EncoderRows) -> Iterator[None]:
    stock = attention.attn
    attention.attn = WatchedAttention(stock, rows)
    try:
        yield
    finally:
        attention.attn = stock


@contextmanager
def _hooked(module: nn.Module, hook: Callable[..., Any], *, after: bool) -> Iterator[None]:
    put_in = module.register_forward_hook if after else module.register_forward_pre_hook
    handle = put_in(partial(_unbound, hook), with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _unbound(hook: Callable[..., Any], module: nn.Module, *values: Any) -> Any:
    return hook(*values)
