"""Models inside of wrappers and in modes of all kinds: the same answers, or a refusal by name."""

import copy
import pickle

import accelerate
import peft
import pytest
import torch
import transformers
from packaging.version import Version
from torch import distributed
from torch.nn.parallel import DataParallel, DistributedDataParallel

import foveate
from foveate.combine.aim import AIM
from foveate.errors import UnsupportedError
from foveate.models.family import families, family_of
from foveate.runtime.reduced_cache import ReducedCache
from foveate.runtime.seams import cache_in, on_cache
from foveate.testing import tiny as make_tiny

BOTH = AIM(0.25, (2, 4))
OFF = foveate.Reduction()
SHORT = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}
FAMILIES = tuple(families())
# of the LLM: PEFT does not take what Gemma 4's encoder has
TARGETS = r".*(language|text)_model.*\.[qv]_proj"
LORA = peft.LoraConfig(r=4, target_modules=TARGETS, init_lora_weights=False)


@pytest.fixture(params=FAMILIES)
def one(request):
    """(model, inputs) of each family with one image."""
    return make_tiny(request.param)


def says(model, inputs, reduction, **options):
    with foveate.reduce(model, reduction) as run:
        return model.generate(**inputs, **SHORT, **options).tolist(), run.report


def both_ways(model, inputs):
    """What a model says unreduced and reduced, and the visual tokens by layer."""
    stock = model.generate(**inputs, **SHORT).tolist()
    off, _ = says(model, inputs, OFF)
    assert off == stock
    reduced, report = says(model, inputs, BOTH)
    return stock, reduced, report.visual_tokens_by_layer


# --- wrappers -------------------------------------------------------------------------------------


def test_peft_model(one):
    model, inputs = one
    torch.manual_seed(1)
    wrapped = peft.get_peft_model(model, LORA).eval()
    assert both_ways(wrapped, inputs) == both_ways(wrapped.get_base_model(), inputs)


def test_an_adapter_that_was_added(one):
    model, inputs = one
    alone = both_ways(model, inputs)
    torch.manual_seed(1)
    try:
        model.add_adapter(LORA)
    except ValueError as error:  # this transformers wants a PEFT that is newer than any
        pytest.skip(str(error))
    adapted = both_ways(model.eval(), inputs)
    assert adapted[2] == alone[2]
    model.disable_adapters()
    assert both_ways(model, inputs) == alone


def test_prompt_tuning_is_refused():
    model, inputs = make_tiny("llava")
    config = peft.PromptTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=3, token_dim=64, num_layers=6,
        num_attention_heads=4, num_transformer_submodules=1,
    )  # fmt: skip
    wrapped = peft.get_peft_model(model, config).eval()
    with foveate.reduce(wrapped, BOTH), pytest.raises(UnsupportedError, match="inputs_embeds"):
        wrapped(**inputs)


def offload_to_cpu(model, folder):
    accelerate.cpu_offload(model, execution_device="cpu")


def offload_to_disk(model, folder):
    accelerate.disk_offload(model, folder, execution_device="cpu")


def dispatch(model, folder):
    """As `device_map` does: some parts stay, some are offloaded, layers by layers."""
    core, places = model.model, {"lm_head": "cpu"}
    llm = family_of(model).language_model(core)
    names = {id(module): name for name, module in model.named_modules()}
    for name, module in core.named_children():
        if module is not llm:
            places[f"model.{name}"] = "cpu"
    for name, _ in llm.named_children():
        if name != "layers":
            places[f"{names[id(llm)]}.{name}"] = "cpu"
    for index, layer in enumerate(llm.layers):
        places[names[id(layer)]] = "cpu" if index % 2 else "disk"
    for name, _ in core.named_parameters(recurse=False):
        places[f"model.{name}"] = "cpu"
    accelerate.dispatch_model(
        model, places, main_device="cpu", offload_dir=folder, force_hooks=True
    )


@pytest.mark.sampled
@pytest.mark.parametrize("offload", [offload_to_cpu, offload_to_disk, dispatch])
def test_offloaded(one, offload, tmp_path):
    model, inputs = one
    alone = both_ways(model, inputs)
    offload(model, tmp_path)
    try:
        model.generate(**inputs, **SHORT)
    except (RuntimeError, NotImplementedError) as error:  # what it encodes with stays offloaded
        pytest.skip(f"stock: {error}")
    assert both_ways(model, inputs) == alone


@pytest.mark.parametrize("method", ["visionzip", "tome", "cdpruner", "divprune"])
def test_methods_that_need_the_encoder_see_an_offloaded_one(method):
    model, inputs = make_tiny("llava")
    reduction = foveate.create(method, keep=0.25)
    alone = says(model, inputs, reduction)[0]
    accelerate.cpu_offload(model, execution_device="cpu")
    assert says(model, inputs, reduction)[0] == alone


def test_data_parallel():
    model, inputs = make_tiny("llava")
    alone = both_ways(model, inputs)
    with (
        pytest.raises(UnsupportedError, match="DataParallel runs copies"),
        foveate.reduce(DataParallel(model), BOTH),
    ):
        pass
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        wrapped = DistributedDataParallel(model)
        with torch.no_grad(), foveate.reduce(wrapped, BOTH) as run:
            wrapped(**inputs)
    finally:
        distributed.destroy_process_group()
    assert run.report.visual_tokens_by_layer == alone[2]


# --- copies ---------------------------------------------------------------------------------------


@pytest.mark.sampled
@pytest.mark.parametrize("copied", [copy.deepcopy, pickle.dumps])
@pytest.mark.parametrize("reduction", [BOTH, OFF], ids=["on", "off"])
def test_a_model_is_not_copied_inside(one, reduction, copied):
    model, inputs = one
    stock = model.generate(**inputs, **SHORT).tolist()
    with foveate.reduce(model, reduction), pytest.raises(UnsupportedError, match="copied"):
        copied(model)
    assert copy.deepcopy(model).generate(**inputs, **SHORT).tolist() == stock


def test_a_model_saved_inside_is_a_stock_one(tmp_path):
    model, inputs = make_tiny("llava_onevision")
    with foveate.reduce(model, BOTH):
        model.save_pretrained(tmp_path)
    assert "foveate" not in (tmp_path / "config.json").read_text()
    again = type(model).from_pretrained(tmp_path).eval()
    assert torch.equal(again(**inputs).logits, model(**inputs).logits)


@pytest.mark.sampled
@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda cache: pickle.loads(pickle.dumps(cache))],
    ids=["deepcopy", "pickle"],
)
def test_a_copied_cache_goes_on_as_the_first(one, copied):
    model, inputs = one
    step = {"input_ids": torch.tensor([[5]])}
    with torch.no_grad(), foveate.reduce(model, BOTH):
        cache = cache_in(model(**inputs, use_cache=True))
        other = copied(cache)
        assert isinstance(other, ReducedCache)
        assert other.state is not cache.state
        first = model(**step, **on_cache(model, cache)).logits
        second = model(**step, **on_cache(model, other)).logits
    assert torch.equal(first, second)


# --- modes ----------------------------------------------------------------------------------------


@pytest.mark.sampled
@pytest.mark.parametrize("method", ["aim", "visionzip"])
def test_attention_that_is_set_inside_is_kept_and_watched(one, method):
    model, inputs = one
    if model.config.model_type == "foveate_compressed" and method == "visionzip":
        return  # refuses, see test_methods
    reduction = AIM(0.5, (2, 4)) if method == "aim" else foveate.create(method, keep=0.25)
    model.set_attn_implementation("eager")
    wanted = says(model, inputs, reduction)[0]
    model.set_attn_implementation("sdpa")
    with foveate.reduce(model, reduction):
        model.set_attn_implementation("eager")
        assert model.generate(**inputs, **SHORT).tolist() == wanted
    assert family_of(model).language_model(model.model).config._attn_implementation == "eager"
    assert model.generate(**inputs, **SHORT).tolist()


@pytest.mark.parametrize("name", foveate.methods())
def test_every_method_runs_under_autocast(name):
    found = foveate.methods()[name]
    if found.stage == "encode":  # which no share of the LLM's tokens sets
        reduction = foveate.create(name)
    else:
        reduction = foveate.reduction.at_share(found, 0.4 if found.stage == "inside" else 0.25, 6)
    for family in ("llava", "llava_onevision", "qwen2_5_vl"):
        model, inputs = make_tiny(family)
        plain = says(model, inputs, reduction)[1]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cast = says(model, inputs, reduction)[1]
        assert cast.visual_tokens_by_layer == plain.visual_tokens_by_layer


def test_return_dict_false(one):
    model, inputs = one
    with torch.no_grad():
        stock = model(**inputs, return_dict=False)
        with foveate.reduce(model, OFF):
            assert torch.equal(model(**inputs, return_dict=False)[0], stock[0])
        with foveate.reduce(model, BOTH) as run:
            wanted = model(**inputs).logits
            assert torch.equal(model(**inputs, return_dict=False)[0], wanted)
            first, second = run.reports
            assert first.visual_tokens_by_layer == second.visual_tokens_by_layer


@pytest.mark.sampled
@pytest.mark.parametrize("when", ["before", "inside", "both"])
def test_hidden_states_are_the_same_whatever_the_order_of_hooks(one, when):
    model, inputs = one
    asked = {**inputs, "output_hidden_states": True}
    if when != "inside":
        with torch.no_grad():
            model(**asked)  # transformers puts its hooks in, for good
    with torch.no_grad(), foveate.reduce(model, BOTH) as run:
        if when == "both":
            model(**inputs)
        rows = [state.shape[1] for state in model(**asked).hidden_states]
        report = run.report
    computed = [n + report.text_tokens[0] for n in report.visual_tokens_by_layer[0]]
    assert rows[: len(computed)] == computed
    assert rows[-1] == computed[-1]


@pytest.mark.sampled
@pytest.mark.parametrize("size", [4, 8, 64])
def test_chunked_prefill_is_off_when_off_and_else_refused(one, size):
    model, inputs = one
    chunked = {"prefill_chunk_size": size}
    try:
        stock = model.generate(**inputs, **SHORT, **chunked).tolist()
    except Exception as error:  # some families cannot, in any transformers
        pytest.skip(f"stock: {error}")
    with foveate.reduce(model, OFF):
        assert model.generate(**inputs, **SHORT, **chunked).tolist() == stock
    if Version(transformers.__version__).release < (5, 18):
        return  # chunks lose the picture there
    if size < inputs["input_ids"].shape[1]:
        with foveate.reduce(model, BOTH), pytest.raises(UnsupportedError, match="chunk"):
            model.generate(**inputs, **SHORT, **chunked)
