"""What an engine may not be started with, on vLLM's own configurations; no engine is started."""

import os
from types import SimpleNamespace

import pytest

pytest.importorskip("vllm", reason="needs vLLM: .ci/vllm")

from foveate.errors import InputError, UnsupportedError
from serving.vllm import checkpoints, engine

ON = {"foveate": {"method": "divprune", "keep": 0.25}}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Checkpoints with positions on a grid and without, compressed, and one that is not covered."""
    os.environ.update(engine.OFFLINE)
    names = ("llava", "compressed_llm", "qwen2_vl", "qwen2_5_vl")
    return {name: checkpoints.save(name, tmp_path_factory.mktemp(name)) for name in names}


@pytest.fixture
def configured(folders):
    """vLLM's configuration of an engine, by a family and the engine's arguments."""
    from vllm import EngineArgs

    def make(family, **arguments):
        given = {
            "dtype": "float32",
            "enforce_eager": True,
            "max_model_len": 1024,
            "hf_overrides": ON,
        }
        return EngineArgs(str(folders[family]), **{**given, **arguments}).create_engine_config()

    return make


def processor(config):
    from vllm.multimodal import MULTIMODAL_REGISTRY

    return MULTIMODAL_REGISTRY.create_processor(config.model_config)


def check_engine(family, config):
    """The model's check, without the model."""
    from foveate.serving.vllm import llava, qwen2_5_vl

    kind = llava.FoveateLlava if family == "llava" else qwen2_5_vl.FoveateQwen25VL
    kind.check_engine(kind.__new__(kind), config)


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
def test_one_key_is_enough(configured, family):
    from vllm.model_executor.model_loader import get_model_architecture

    config = configured(family)
    kind, name = get_model_architecture(config.model_config)
    assert kind.__name__.startswith("Foveate")
    assert name in config.model_config.hf_config.architectures
    assert processor(config).foveate.default
    check_engine(family, config)


def test_a_budget_among_the_engines_processor_arguments_is_refused(configured):
    for overrides in (ON, {}):  # whether the plug-in is on or not
        config = configured("llava", hf_overrides=overrides, mm_processor_kwargs=ON)
        with pytest.raises(InputError, match="has no effect in vLLM: write --hf-overrides"):
            processor(config)


def ask_for_a_budget(stock):
    """Hand a processor a picture with a budget."""
    from vllm.multimodal.processing import ProcessorInputs, TimingContext

    items = stock.info.parse_mm_data({"image": [checkpoints.picture(1)]})
    stock.apply(
        ProcessorInputs([1], items, hf_processor_mm_kwargs=ON), TimingContext(enabled=False)
    )


def test_a_request_is_refused_where_the_operator_did_not_switch_on(configured):
    stock = processor(configured("llava", hf_overrides={}))
    with pytest.raises(InputError, match=r"takes no 'foveate'.*start it with --hf-overrides"):
        ask_for_a_budget(stock)


def test_an_architecture_that_is_not_covered_refuses_by_name(configured):
    from vllm.model_executor.model_loader import get_model_architecture

    asked, stock = configured("qwen2_vl"), configured("qwen2_vl", hf_overrides={})
    kind, _ = get_model_architecture(asked.model_config)
    assert kind.__name__ == "Qwen2VLForConditionalGeneration"
    text = "does not cover Qwen2VLForConditionalGeneration in vLLM; it covers Llava"
    with pytest.raises(InputError, match=text):
        kind(vllm_config=asked)
    with pytest.raises(InputError, match=text):
        processor(asked)
    with pytest.raises(InputError, match=text):
        ask_for_a_budget(processor(stock))


def test_pixtrals_tower_is_not_covered():
    from transformers import LlavaConfig, PixtralVisionConfig

    from foveate.serving.vllm.llava import processor as make

    config = LlavaConfig(vision_config=PixtralVisionConfig())
    config.foveate = {}
    info = SimpleNamespace(ctx=SimpleNamespace(get_hf_config=lambda: config))
    with pytest.raises(InputError, match=r"does not cover Llava.* with Pixtral's tower"):
        make(info, None)


@pytest.mark.parametrize("given", ["x", 0.25, {"method": "fastv"}, {"keep": 0.5}])
def test_a_default_that_cannot_be_served_is_refused(configured, given):
    with pytest.raises(InputError):
        processor(configured("llava", hf_overrides={"foveate": given}))


@pytest.mark.parametrize("method", ["tome-encoder", "reuse"])
def test_a_method_in_the_encoder_is_refused_on_another_tower(configured, method):
    asked = {"foveate": {"method": method}}
    assert processor(configured("llava", hf_overrides=asked)).foveate.default
    with pytest.raises(InputError, match="CLIP and SigLIP towers alone, and this model has qwen2"):
        processor(configured("qwen2_5_vl", hf_overrides=asked))


def test_vllms_own_video_pruning_is_refused(configured):
    with pytest.raises(UnsupportedError, match="--video-pruning-rate"):
        processor(configured("qwen2_5_vl", video_pruning_rate=0.5))


def test_profiles_are_of_pictures_that_are_not_reduced(configured):
    for family, modality in (("llava", "image"), ("qwen2_5_vl", "image"), ("qwen2_5_vl", "video")):
        counts = [
            sum(place.get_num_embeds() for place in made["mm_placeholders"][modality])
            for made in (
                processor(configured(family, hf_overrides=overrides)).get_dummy_mm_inputs(
                    {modality: 1}
                )
                for overrides in (ON, {})
            )
        ]
        assert counts[0] == counts[1] > 0


ENGINES = {
    "tower_lora": ("LoRA in the tower", "lora_config", {"enable_tower_connector_lora": True}),
    "pipeline": ("pipeline parallelism", "parallel_config", {"pipeline_parallel_size": 2}),
    "context": ("prefill context", "parallel_config", {"prefill_context_parallel_size": 2}),
    "dbo": ("dual batch overlap", "parallel_config", {"enable_dbo": True}),
    "drafter": ("speculative drafter", "speculative_config", {}),
}


@pytest.mark.parametrize("case", ENGINES)
@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
def test_engines_that_would_answer_wrongly_are_refused(configured, family, case):
    text, part, fields = ENGINES[case]
    config = configured(family)
    found = getattr(config, part)
    for name in fields:  # the configurations have these fields
        assert found is None or hasattr(found, name)
    object.__setattr__(config, part, _with(found, fields))
    if family == "llava" and case != "tower_lora":  # positions in a line need no care
        check_engine(family, config)
        return
    with pytest.raises(UnsupportedError, match=text):
        check_engine(family, config)


def _with(part, fields):
    """A part of a configuration with other values."""
    known = (
        {} if part is None else {name: getattr(part, name) for name in dir(part) if name[0] != "_"}
    )
    return SimpleNamespace(**{**known, **fields})


def test_full_cuda_graphs_are_refused(configured):
    from vllm.config import CUDAGraphMode

    config = configured("qwen2_5_vl")
    for mode in CUDAGraphMode:
        config.compilation_config.cudagraph_mode = mode
        if mode.has_full_cudagraphs():
            with pytest.raises(UnsupportedError, match=r"full CUDA graph.*PIECEWISE"):
                check_engine("qwen2_5_vl", config)
        else:
            check_engine("qwen2_5_vl", config)


def test_the_encoder_is_captured_in_no_graph_where_pictures_are_reduced(monkeypatch):
    from vllm.model_executor.models.qwen2_5_vl import Qwen2_5_VLForConditionalGeneration as Stock
    from vllm.v1.worker.encoder_cudagraph_defs import EncoderCudaGraphConfig

    from foveate.serving.vllm.qwen2_5_vl import FoveateQwen25VL

    captured = EncoderCudaGraphConfig(modalities=["image"], buffer_keys=[], out_hidden_size=8)
    monkeypatch.setattr(Stock, "get_encoder_cudagraph_config", lambda model: captured)
    for is_on in (True, False):
        model = FoveateQwen25VL.__new__(FoveateQwen25VL)
        object.__setattr__(model, "foveate", SimpleNamespace(is_on=is_on))
        assert model.get_encoder_cudagraph_config().modalities == ([] if is_on else ["image"])


def test_a_compressor_that_reads_a_hidden_state_needs_embeddings_made_outside(configured):
    processor(configured("compressed_llm", hf_overrides={}, enable_mm_embeds=True))
    with pytest.raises(InputError, match=r"make image embeddings outside .*--enable-mm-embeds"):
        processor(configured("compressed_llm", hf_overrides={}))
    asked = configured("compressed_llm", hf_overrides={"foveate": {"question": "why?"}})
    with pytest.raises(InputError, match="a question is a request's own"):
        processor(asked)
