"""Engines that may not prune inside the LLM, on vLLM's own configurations."""

import os
from types import SimpleNamespace

import pytest

pytest.importorskip("vllm", reason="needs vLLM: .ci/vllm")

from foveate.errors import UnsupportedError
from foveate.serving.vllm.inside.limits import refuse_engine, refuse_llm
from serving.vllm import checkpoints, engine

FASTV = {"foveate": {"method": "fastv", "after": [1], "keep": 0.5, "experimental": True}}
RIGHT = {
    "hf_overrides": FASTV, "enable_prefix_caching": False, "enable_chunked_prefill": False,
    "max_num_batched_tokens": 1024,
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Checkpoints with positions in a line and on a grid."""
    os.environ.update(engine.OFFLINE)
    names = ("llava", "qwen2_5_vl")
    return {name: checkpoints.save(name, tmp_path_factory.mktemp(name)) for name in names}


@pytest.fixture
def configured(folders):
    """vLLM's configuration of an engine that may prune, but for some arguments."""
    from vllm import EngineArgs

    def make(**arguments):
        given = {
            "dtype": "float32",
            "enforce_eager": True,
            "max_model_len": 1024,
            "max_num_seqs": 8,
        }
        args = EngineArgs(str(folders["llava"]), **{**given, **RIGHT, **arguments})
        return args.create_engine_config()

    return make


def test_an_engine_may_prune_that_is_as_the_error_says(configured):
    refuse_engine(configured())
    small = {"block_size": 32, "max_num_seqs": 2}
    refuse_engine(configured(**small, num_gpu_blocks_override=65))
    with pytest.raises(UnsupportedError, match="in blocks, is 64, allowed is at least 65"):
        refuse_engine(configured(**small, num_gpu_blocks_override=64))


WRONG = {
    "prefix caching is True, allowed is False: --no-enable-prefix-caching": {
        "enable_prefix_caching": True
    },
    "chunked prefill is True, allowed is False: --no-enable-chunked-prefill": {
        "enable_chunked_prefill": True
    },
    "long prefill token threshold is 64, allowed is 0: --long-prefill-token-threshold 0": {
        "long_prefill_token_threshold": 64
    },
    "class is mine.Scheduler, allowed is None: leave --scheduler-cls out": {
        "scheduler_cls": "mine.Scheduler"
    },
    "compilation is DYNAMO_TRACE_ONCE, allowed is NONE: --enforce-eager": {"enforce_eager": False},
    "tensor parallel size is 2, allowed is 1: --tensor-parallel-size 1": {"tensor_parallel_size": 2},
    "pipeline parallel size is 2, allowed is 1: --pipeline-parallel-size 1": {
        "pipeline_parallel_size": 2
    },
    "data parallel size is 2, allowed is 1: --data-parallel-size 1": {"data_parallel_size": 2},
    "LoRA is True, allowed is False: leave it out": {"enable_lora": True},
    "speculative decoding is True, allowed is False: leave it out": {
        "speculative_config": {"method": "ngram", "num_speculative_tokens": 2}
    },
    "dtype is fp8, allowed is auto: --kv-cache-dtype auto": {"kv_cache_dtype": "fp8"},
    r"in blocks, is 64, allowed is at least 65: --kv-cache-memory-bytes \d+.*--max-num-seqs .now 8": {
        "num_gpu_blocks_override": 64
    },
}  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_every_other_engine_is_refused_by_what_has_to_change(configured, text):
    with pytest.raises(UnsupportedError, match=f"in vLLM an experiment.*{text}"):
        refuse_engine(configured(**WRONG[text]))


def test_all_that_has_to_change_is_said_at_once(configured):
    wrong = {"enable_prefix_caching": True, "enforce_eager": False, "num_gpu_blocks_override": 3}
    with pytest.raises(UnsupportedError, match=r"prefix caching.*compilation.*in blocks"):
        refuse_engine(configured(**wrong))


PARTS = {
    "CUDA graph mode is FULL": ("compilation_config", "cudagraph_mode", SimpleNamespace(name="FULL")),
    "prefill context parallel size": ("parallel_config", "prefill_context_parallel_size", 2),
    "decode context parallel size": ("parallel_config", "decode_context_parallel_size", 2),
    "dual batch overlap": ("parallel_config", "enable_dbo", True),
    "runner is pooling, allowed is generate": ("model_config", "runner_type", "pooling"),
    "device is cuda, allowed is cpu": ("device_config", "device_type", "cuda"),
    "in blocks, is 0, allowed is at least 65": ("cache_config", "kv_cache_memory_bytes", None),
}  # fmt: skip


@pytest.mark.parametrize("text", PARTS)
def test_engines_that_this_machine_cannot_have_are_refused(configured, text):
    config, (part, name, value) = configured(), PARTS[text]
    assert hasattr(getattr(config, part), name)
    object.__setattr__(getattr(config, part), name, value)
    with pytest.raises(UnsupportedError, match=text):
        refuse_engine(config)


@pytest.mark.parametrize("name", ["kv_transfer_config", "ec_transfer_config"])
def test_what_is_computed_elsewhere_is_refused(configured, name):
    config = configured()
    assert getattr(config, name) is None
    object.__setattr__(config, name, object())
    with pytest.raises(UnsupportedError, match=f"transfer is True.*{name}"):
        refuse_engine(config)


def test_model_runner_v2_is_refused(configured, monkeypatch):
    config = configured()
    monkeypatch.setenv("VLLM_USE_V2_MODEL_RUNNER", "1")
    with pytest.raises(UnsupportedError, match="V2, allowed is V1: VLLM_USE_V2_MODEL_RUNNER=0"):
        refuse_engine(config)


class LlamaModel:
    """A stand-in for vLLM's, with one layer."""

    def __init__(self, backend="CPU_ATTN", sliding_window=None):
        kind = SimpleNamespace(get_name=lambda: backend)
        attention = SimpleNamespace(attn_backend=kind, sliding_window=sliding_window)
        self.layers = [SimpleNamespace(self_attn=SimpleNamespace(attn=attention))]


def test_llms_that_were_not_tried_are_refused():
    refuse_llm(LlamaModel())
    with pytest.raises(UnsupportedError, match="backend is FLASH_ATTN, allowed is CPU_ATTN"):
        refuse_llm(LlamaModel(backend="FLASH_ATTN"))
    with pytest.raises(UnsupportedError, match="sliding window is 128, allowed is None"):
        refuse_llm(LlamaModel(sliding_window=128))
    with pytest.raises(UnsupportedError, match="LLM is OPTModel, allowed is LlamaModel or Qwen2M"):
        refuse_llm(type("OPTModel", (), {})())


@pytest.mark.parametrize(
    ("family", "arguments", "text"),
    [
        ("llava", {"enable_prefix_caching": True}, "--no-enable-prefix-caching"),
        ("qwen2_5_vl", {}, "cannot prune inside the LLM, as its positions are on a grid"),
    ],
)
def test_it_is_said_when_the_server_starts(folders, family, arguments, text):
    with pytest.raises(UnsupportedError, match=text):
        engine.start(folders[family], **{**RIGHT, **arguments})
