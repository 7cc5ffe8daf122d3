"""Every family keeps the contract of `foveate.testing` on a GPU, too."""

from importlib.util import find_spec

import pytest
import torch

import foveate
from foveate import testing
from foveate.combine.aim import AIM
from foveate.models.compressed import CompressedProcessor, with_compressor
from foveate.models.family import families
from foveate.scenes import make
from foveate.testing.contract import check_contract

REDUCTION = AIM(0.5, (1, 4))
FEW = ("llava", "llava_onevision", "qwen2_5_vl", "gemma3", "internvl")  # of unlike layouts
HALVES = [(torch.bfloat16, "sdpa"), (torch.float16, "sdpa"), (torch.bfloat16, "flash_attention_2")]
METHODS = {name: method.build for name, method in foveate.methods().items()}


@pytest.mark.every_family
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", families())
def test_a_family_keeps_the_contract(name, attention, device):
    if attention == "eager" and name not in FEW:
        pytest.skip("eager attention is tried on a few families")
    model, _ = testing.tiny(name, device=device)
    model.set_attn_implementation(attention)
    found = list(check_contract(model, families()[name]))
    assert not [one for one in found if not one.holds]
    assert len(found) > 1


@pytest.mark.parametrize(
    ("dtype", "attention"), HALVES, ids=[f"{dtype} {kind}" for dtype, kind in HALVES]
)
@pytest.mark.parametrize("name", FEW)
def test_half_precision_keeps_what_is_exact(name, dtype, attention, device):
    if attention.startswith("flash") and not find_spec("flash_attn"):
        pytest.skip("flash_attn is not installed")
    model, _ = testing.tiny(name, device=device)
    model.to(dtype).set_attn_implementation(attention)
    drawn = families()[name].tiny_inputs(model.config, [[("image", 0)]])
    inputs = testing.beside(model, drawn)
    testing.check_off_is_bit_identical(model, inputs)
    testing.check_tokens_are_gone(model, inputs, REDUCTION)
    testing.check_no_trace(model, inputs, REDUCTION)
    with testing.reduce(model, REDUCTION) as run:
        out = model.generate(
            **inputs, **testing.GREEDY, output_logits=True, return_dict_in_generate=True
        )
    assert run.report.fired
    assert torch.cat(out.logits).isfinite().all()


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_runs_on_the_device(name, device):
    model, inputs = testing.tiny("llava_onevision", "video", device)
    method = METHODS[name]()
    testing.check_dropping_is_masking(model, inputs, method)


def test_a_model_placed_by_accelerate(device):
    accelerate = pytest.importorskip("accelerate")
    model, inputs = testing.tiny("llava_onevision", "video", device)
    with torch.no_grad(), testing.reduce(model, REDUCTION):
        plain = model(**inputs).logits
    whole = {"": 0 if device == "cuda" else device}
    placed = accelerate.dispatch_model(model, whole, force_hooks=True)
    with torch.no_grad(), testing.reduce(placed, REDUCTION) as run:
        # on a GPU sums of merged tokens come in any order
        torch.testing.assert_close(placed(**inputs).logits, plain, rtol=1e-4, atol=1e-5)
    assert run.report.fired


def test_beams(device):
    model, inputs = testing.tiny("llava", device=device)
    beams = {"max_new_tokens": 3, "min_new_tokens": 3, "do_sample": False, "num_beams": 2}
    with testing.reduce(model, REDUCTION) as run:
        out = model.generate(**inputs, **beams)
    assert out.shape[1] == inputs["input_ids"].shape[1] + 3
    assert run.report.fired


@pytest.mark.parametrize("name", ["quecc", "tokenpacker"])
def test_a_model_with_a_compressor_is_where_the_stock_model_was(name, device):
    stock = foveate.load("foveate-mini", device=device)
    knobs = {"query_encoding": "embedding" if name == "quecc" else "none"}
    model = with_compressor(
        stock.model, compressor={"name": name, "kernel": 6}, multi_level_layers=[1, 2], **knobs
    ).eval()
    assert {parameter.device for parameter in model.parameters()} == {stock.model.device}
    processor = CompressedProcessor.of(stock.processor, model.config)
    picture = make("reasoning", "val", 0).frame(0)
    text = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "how many?"}]}],
        add_generation_prompt=True,
    )
    inputs = processor(images=picture, text=text, return_tensors="pt").to(device)
    assert model.generate(**inputs, **testing.GREEDY).shape[1] > inputs["input_ids"].shape[1]
