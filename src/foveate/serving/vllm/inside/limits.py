"""The engines, LLMs and prompts of which pruning inside the LLM is shown to be right, and no others."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from foveate.errors import InputError, UnsupportedError

Condition = tuple[str, Any, Any, str]  # what, as it is, as it must be, what to write

PARALLEL = ("tensor", "pipeline", "data", "prefill_context", "decode_context")
LEFT_OUT = {
    "speculative decoding": "speculative_config",
    "LoRA": "lora_config",
    "KV transfer": "kv_transfer_config",
    "encoder transfer": "ec_transfer_config",
}
LLMS = (
    "LlamaModel",
    "Qwen2Model",
)  # their layers take positions, states and residual, in this order


def refuse_engine(config: Any) -> None:
    """Refuse an engine in which it would be wrong, or was never tried.

    Args:
        config: vLLM's `VllmConfig`.

    Raises:
        UnsupportedError: the message names all that has to change.
    """
    _refuse([*_of_engine(config), *_of_cache(config)])


def refuse_llm(llm: Any) -> None:
    """Refuse an LLM between whose layers nothing was ever pruned.

    Args:
        llm: vLLM's model of it, without its head.

    Raises:
        UnsupportedError: the message names all that is not as it must be.
    """
    _refuse(_of_llm(llm))
    _refuse(_of_attention([layer.self_attn.attn for layer in llm.layers]))


def refuse_open_end(made: Mapping[str, Any]) -> None:
    """Refuse a prompt whose last token is a visual one: an answer goes on from it, and it may be dropped.

    Args:
        made: what a processor made of the prompt.

    Raises:
        InputError: it is.
    """
    length = len(made["prompt_token_ids"])
    for place in (each for item in made["mm_placeholders"].values() for each in item):
        if place.offset + place.length == length and (place.is_embed is None or place.is_embed[-1]):
            raise InputError(
                "this engine prunes inside the LLM, and the prompt ends with a picture: write text behind"
            )


def _refuse(conditions: Iterable[Condition]) -> None:
    faults = [
        f"{what} is {got}, allowed is {allowed}: {remedy}"
        for what, got, allowed, remedy in conditions
        if got != allowed
    ]
    if faults:
        raise UnsupportedError(
            f"pruning inside the LLM, in vLLM an experiment, would be wrong here: {'; '.join(faults)}"
        )


def _of_engine(config: Any) -> Iterator[Condition]:
    scheduler, parallel = config.scheduler_config, config.parallel_config
    compilation = config.compilation_config
    caching = config.cache_config.enable_prefix_caching
    yield "prefix caching", caching, False, "--no-enable-prefix-caching"
    yield "chunked prefill", scheduler.enable_chunked_prefill, False, "--no-enable-chunked-prefill"
    threshold = scheduler.long_prefill_token_threshold
    yield "the long prefill token threshold", threshold, 0, "--long-prefill-token-threshold 0"
    yield "the scheduler's class", scheduler.scheduler_cls, None, "leave --scheduler-cls out"
    yield "compilation", compilation.mode.name, "NONE", "--enforce-eager"
    yield "the CUDA graph mode", compilation.cudagraph_mode.name, "NONE", "--enforce-eager"
    for kind in PARALLEL:
        size, name = getattr(parallel, f"{kind}_parallel_size"), kind.replace("_", " ")
        yield f"{name} parallel size", size, 1, f"--{kind.replace('_', '-')}-parallel-size 1"
    yield "dual batch overlap", parallel.enable_dbo, False, "leave --enable-dbo out"
    for what, name in LEFT_OUT.items():
        yield what, getattr(config, name) is not None, False, f"leave it out (`{name}`)"
    yield "the runner", config.model_config.runner_type, "generate", "--runner generate"
    version = "V2" if config.use_v2_model_runner else "V1"
    yield "the model runner", version, "V1", "VLLM_USE_V2_MODEL_RUNNER=0 in the environment"
    yield "the device", config.device_config.device_type, "cpu", "take vLLM's build for CPUs"
    yield "the cache's dtype", config.cache_config.cache_dtype, "auto", "--kv-cache-dtype auto"


def _of_cache(config: Any) -> Iterator[Condition]:
    """Room for every request: else vLLM starts some of them again, with their answers as prompts."""
    cache, scheduler, model = config.cache_config, config.scheduler_config, config.model_config
    most = min(scheduler.max_num_seqs, scheduler.max_num_active_seqs or scheduler.max_num_seqs)
    needed = most * -(-model.max_model_len // cache.block_size) + 1  # one is never given away
    size = block_bytes(config)
    blocks = cache.num_gpu_blocks_override
    if blocks is None:
        blocks = (cache.kv_cache_memory_bytes or 0) // size
    remedy = (
        f"--kv-cache-memory-bytes {needed * size}, or a smaller --max-num-seqs (now {most}) or "
        f"--max-model-len (now {model.max_model_len})"
    )
    least = f"at least {needed}"
    yield "the KV cache as set, in blocks,", least if blocks >= needed else blocks, least, remedy


def block_bytes(config: Any) -> int:
    """Bytes of a block of the KV cache, of all layers together.

    Args:
        config: vLLM's `VllmConfig`.
    """
    model, parallel = config.model_config, config.parallel_config
    numbers = 2 * model.get_num_kv_heads(parallel) * model.get_head_size()
    layers = model.get_num_layers(parallel)
    return numbers * layers * model.dtype.itemsize * config.cache_config.block_size


def _of_llm(llm: Any) -> Iterator[Condition]:
    name = type(llm).__name__
    yield "the LLM", name, name if name in LLMS else " or ".join(LLMS), "take another checkpoint"


def _of_attention(attention: Iterable[Any]) -> Iterator[Condition]:
    kinds = {(layer.attn_backend.get_name(), layer.sliding_window) for layer in attention}
    for backend, window in kinds:
        yield "the attention backend", backend, "CPU_ATTN", "leave --attention-backend out"
        yield "the sliding window", window, None, "take another checkpoint"
