"""The seams: all that foveate relies on in transformers, checked before a model is touched.

| seam | found by | relied on for |
| --- | --- | --- |
| the LLM's layers | `Family.language_model(core).layers`, with a `self_attn` where they attend | hooks |
| kinds of layers | the LLM's config, `layer_types` and `num_kv_shared_layers` | masks, caches, scores |
| KV cache | a value of type `Cache`; if none is given, the parameter annotated so | lengths, masks |
| attention mask | of the LLM by its public name, of a layer the one named `...mask` | pruned layers |
| hidden states | of the LLM `inputs_embeds`, of a layer its first parameter | merging, pruning |
| what goes along by row | any argument of a layer that is as long: rotary embeddings | pruning |
| `create_causal_mask` | its parameters, the cache's by annotation | masks of pruned layers |
| attention functions | `AttentionInterface`, by `config._attn_implementation` | scores |
| encoders | `get_image_features`, `get_video_features`, whose output has a `pooler_output` | groups |

Names of a model's own inputs (`input_ids`, `attention_mask`, `position_ids`, `inputs_embeds`, pixels, and
of its head `labels`, of some `logits_to_keep`) are public: processors and users give them. That the model
takes them is checked all the same. What goes on between modules is found by type and signature, never by
one name.
"""

import inspect
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch
import transformers
from packaging.version import Version
from torch import Tensor
from transformers import Cache
from transformers.masking_utils import create_causal_mask

from foveate.errors import UnsupportedError
from foveate.models.layout import Layout
from foveate.runtime.rows import gather_rows

TESTED = {
    "transformers": ("5.17", "5.24"),
    "torch": ("2.11", "2.15"),
}  # first and last minor version
INPUTS = ("inputs_embeds", "attention_mask", "position_ids")  # of every LLM
PIXELS = {"image": "pixel_values", "video": "pixel_values_videos"}  # of the model, by modality


@dataclass(frozen=True)
class Signature:
    """How one forward names what hooks look for.

    Attributes:
        owner: name of the module's class.
        names: its parameters, in order.
        cache: the one parameter annotated as a KV cache; "" if there is none or several.
    """

    owner: str
    names: tuple[str, ...]
    cache: str

    @classmethod
    def of(cls, module_class: type) -> "Signature":
        """The signature of a module class, whatever wraps an instance's forward."""
        return _signature(module_class.__name__, module_class.forward)

    @cached_property
    def mask(self) -> str:
        """The one parameter that takes an attention mask; "" if there is none or several."""
        masks = [name for name in self.names if name.endswith("mask")]
        return masks[0] if len(masks) == 1 else ""

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of a call by name."""
        return {**dict(zip(self.names, args, strict=False)), **kwargs}

    def rebind(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], changed: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The call with some arguments changed, each where it was: by place or by name."""
        places = {name: place for place, name in enumerate(self.names[: len(args)])}
        placed, named = list(args), dict(kwargs)
        for name, value in changed.items():
            if name in places:
                placed[places[name]] = value
            else:
                named[name] = value
        return tuple(placed), named

    def cache_name(self, call: Mapping[str, Any]) -> str:
        """The name of the KV cache's parameter, by this call or else by the signature."""
        return next((n for n, value in call.items() if isinstance(value, Cache)), self.cache)


@cache
def _signature(owner: str, forward: Callable[..., Any]) -> Signature:
    parameters = inspect.signature(forward).parameters.values()
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = [part for part in parameters if part.name != "self" and part.kind not in kinds]
    caches = [part.name for part in named if _takes_cache(part.annotation)]
    names = tuple(part.name for part in named)
    return Signature(owner, names, caches[0] if len(caches) == 1 else "")


def _takes_cache(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return "Cache" in annotation
    parts = (annotation, *typing.get_args(annotation))
    return any(isinstance(part, type) and issubclass(part, Cache) for part in parts)


def cache_in(values: Any) -> Any:
    """The KV cache among a call's arguments, or in what a model returned; None where there is none.

    Args:
        values: arguments by name, a `ModelOutput`, or a tuple.
    """
    if isinstance(values, Mapping):
        values = values.values()
    return next((value for value in values if isinstance(value, Cache)), None)


def on_cache(model: Any, cache: Any) -> dict[str, Any]:
    """The argument by which a whole model continues from a cache."""
    return {Signature.of(type(model)).cache or "cache": cache}


@dataclass(frozen=True)
class Seams:
    """The signatures of one model's modules.

    Attributes:
        head: the whole model.
        core: the model without its head.
        llm: the LLM.
        layers: each decoder layer.
    """

    head: Signature
    core: Signature
    llm: Signature
    layers: tuple[Signature, ...]

    @classmethod
    def of(cls, model: Any, core: Any, llm: Any, family: Any, layout: Layout) -> "Seams":
        """Look at a model's classes, and whether they take what its `Family` says.

        Raises:
            UnsupportedError: one of them is not as expected; the message names it and the tested range.
        """
        warn_untested()
        layers = getattr(llm, "layers", ())
        seams = cls(
            Signature.of(type(model)),
            Signature.of(type(core)),
            Signature.of(type(llm)),
            tuple(Signature.of(type(layer)) for layer in layers),
        )
        for fault in (*_faults(seams, core, family), *layout.faults(llm), *_library_faults()):
            raise UnsupportedError(
                f"{fault}, so {seams.head.owner} cannot be reduced safely; {versions()}"
            )
        return seams


def _faults(seams: Seams, core: Any, family: Any) -> Iterator[str]:
    """What is not as expected in the modules' signatures."""
    if family.since and Version(transformers.__version__) < Version(family.since):
        yield f"{family.model_type} is as foveate takes it from transformers {family.since} on"
    if not seams.layers:
        yield f"{seams.llm.owner} has no layers"
    prompt = ["input_ids", *INPUTS, *(PIXELS[modality] for modality in family.modalities)]
    prompt += [] if family.token_types is None else [family.token_types]
    taken = {
        seams.head: [*prompt, "labels"],
        seams.core: prompt,
        seams.llm: [*INPUTS, *family.llm_arguments],
    }
    for signature, names in taken.items():
        for name in names:
            if name not in signature.names:
                yield f"{signature.owner}.forward has no {name}"
    for modality in family.modalities:
        if not hasattr(core, f"get_{modality}_features"):
            yield f"{seams.core.owner} has no get_{modality}_features"
    for signature in {seams.llm, *seams.layers}:
        if not signature.cache:
            yield f"{signature.owner}.forward has no single parameter of type Cache"
    for signature in set(seams.layers):
        if not signature.mask:
            yield f"{signature.owner}.forward has no single parameter named ...mask"


MASK_INPUTS = ("config", "inputs_embeds", "attention_mask", "or_mask_function", "and_mask_function")


@cache
def _library_faults() -> tuple[str, ...]:
    """What is not as expected in transformers' own functions and classes."""
    faults = []
    parameters = inspect.signature(create_causal_mask).parameters
    faults += [
        f"create_causal_mask has no {name}" for name in MASK_INPUTS if name not in parameters
    ]
    if len(_mask_cache()) != 1:
        faults.append("create_causal_mask has no single parameter of type Cache")
    faults += [
        f"Cache has no {name}"
        for name in ("update", "get_seq_length", "reorder_cache")
        if not hasattr(Cache, name)
    ]
    if "layers" not in inspect.signature(Cache).parameters:
        faults.append("Cache takes no layers")
    return tuple(faults)


def _mask_cache() -> list[str]:
    parameters = inspect.signature(create_causal_mask).parameters.values()
    return [part.name for part in parameters if _takes_cache(part.annotation)]


def causal_mask(
    config: Any,
    states: Tensor,
    padding: Tensor | None,
    cache_layer: Any,
    both_ways: Callable[..., Tensor] | None,
    near: Callable[..., Tensor] | None,
) -> Any:
    """Transformers' `create_causal_mask` over one layer's cached rows.

    Args:
        config: the LLM's.
        states: (B, q, D), the rows about to be computed.
        padding: (B, K), False at padding; None for none.
        cache_layer: the layer of the cache; None if there is no cache.
        both_ways: pairs that see each other besides the causal ones.
        near: pairs to which the causal ones are restricted.
    """
    given: dict[str, Any] = {
        "config": config,
        "inputs_embeds": states,
        "attention_mask": padding,
        "or_mask_function": both_ways,
        "and_mask_function": near,
    }
    given[_mask_cache()[0]] = None if cache_layer is None else Cache(layers=[cache_layer])
    return create_causal_mask(**given)


def by_row(value: Any, index: Tensor, rows: int) -> Any:
    """An argument of a layer for some of its rows; unchanged if it does not have that many rows.

    Args:
        value: (..., N) integers, (..., B or 1, N, d) numbers, or a tuple, list or dict of such.
        index: (B, M), the rows.
        rows: N, how many the argument was made for.
    """
    if isinstance(value, (tuple, list)):
        return type(value)(by_row(part, index, rows) for part in value)
    if isinstance(value, dict):  # the same one where nothing goes along: layers may write into it
        parts = {name: by_row(part, index, rows) for name, part in value.items()}
        return parts if any(parts[name] is not value[name] for name in value) else value
    if not isinstance(value, Tensor):
        return value
    index = index.to(value.device)
    if value.is_floating_point():
        fits = value.dim() >= 3 and value.shape[-2] == rows
        return gather_rows(value, index) if fits else value
    if not value.dim() or value.shape[-1] != rows:
        return value
    lead = value.shape[:-2] if value.dim() > 1 else ()
    whole = value.expand(*lead, len(index), rows)
    return whole.gather(-1, index.expand(*lead, *index.shape))


def versions() -> str:
    """Installed and tested versions, for an error."""
    tested = ", ".join(f"{name} {low} to {high}" for name, (low, high) in TESTED.items())
    return (
        f"installed are transformers {transformers.__version__} and torch {torch.__version__}, "
        f"tested are {tested}"
    )


@cache
def warn_untested() -> None:
    """Warn, once, about versions outside of the tested range."""
    installed = {"transformers": transformers.__version__, "torch": torch.__version__}
    for name, (low, high) in TESTED.items():
        minor = Version(installed[name]).release[:2]
        if not Version(low).release <= minor <= Version(high).release:
            warnings.warn(
                f"foveate is not tested with this version of {name}; {versions()}", stacklevel=2
            )
