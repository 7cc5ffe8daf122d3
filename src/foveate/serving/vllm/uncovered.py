"""Architectures that foveate knows in transformers, but not in vLLM: stock, and a refusal if it is asked.

`register` enters them as texts, `uncovered:NAME`, so each class is made when vLLM first looks for it.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from foveate.errors import InputError
from foveate.serving.field import KEY

Processor = Callable[[Any, Any], Any]
STOCK: dict[str, Any] = {}  # what vLLM had under each name before `register`


def __getattr__(name: str) -> type:
    if name not in STOCK:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return guarded(STOCK[name].load_model_cls(), name)


def guarded(stock: Any, name: str) -> type:
    """A model of vLLM's that refuses foveate's key by name; else it is the stock one.

    Args:
        stock: its class.
        name: of its architecture.
    """

    class Guarded(stock):
        """The stock model, unless its engine was started with foveate's key."""

        def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
            if hasattr(vllm_config.model_config.hf_config, KEY):
                raise refusal(name)
            super().__init__(vllm_config=vllm_config, prefix=prefix)

    factory = stock._processor_factory
    Guarded.__name__ = Guarded.__qualname__ = stock.__name__
    Guarded._processor_factory = replace(
        factory, processor=guarded_processor(factory.processor, name)
    )
    return Guarded


def guarded_processor(make: Processor, name: str) -> Processor:
    """What makes a processor, which refuses foveate's key by name, in an engine's config and in requests.

    Args:
        make: what makes the stock one, of (info, dummy_inputs).
        name: of the architecture.
    """

    def processor(info: Any, dummy_inputs: Any) -> Any:
        if hasattr(info.ctx.get_hf_config(), KEY):
            raise refusal(name)
        made = make(info, dummy_inputs)
        stock_apply = made.apply

        def apply(inputs: Any, timing_ctx: Any) -> Any:
            if KEY in inputs.hf_processor_mm_kwargs:
                raise refusal(name)
            return stock_apply(inputs, timing_ctx)

        made.apply = apply
        return made

    return processor


def refusal(name: str) -> InputError:
    """The error that says which architectures are covered.

    Args:
        name: of one that is not.
    """
    from foveate.serving.vllm import FAMILIES

    return InputError(
        f"foveate's plug-in does not cover {name} in vLLM; it covers {', '.join(FAMILIES)}"
    )
