"""What foveate relies on in transformers: found by type and signature, or refused by name."""

import ast
import inspect
import sys
import textwrap

import pytest
import torch
from transformers import DynamicCache
from transformers.models.llama import modeling_llama as llama
from transformers.models.llava import modeling_llava as llava

import foveate
from foveate.combine.aim import AIM
from foveate.errors import UnsupportedError
from foveate.runtime.seams import Signature, by_row, cache_in
from foveate.testing import GREEDY
from foveate.testing import tiny as make_tiny

BOTH = AIM(0.25, (2, 4))
CACHE = Signature.of(llama.LlamaModel).cache


class Renamed(ast.NodeTransformer):
    """An argument of a forward under another name, in its own code and in the calls of its modules."""

    def __init__(self, old, new, *, own):
        self.old, self.new, self.own = old, new, own

    def visit_arg(self, node):
        if self.own and node.arg == self.old:
            node.arg = self.new
        return node

    def visit_Name(self, node):
        if self.own and node.id == self.old:
            node.id = self.new
        return node

    def visit_Call(self, node):
        self.generic_visit(node)
        called = ast.unparse(node.func)
        if called.startswith("self.") or called == "decoder_layer":
            for keyword in node.keywords:
                if keyword.arg == self.old:
                    keyword.arg = self.new
        return node

    def visit_FunctionDef(self, node):
        node.decorator_list = [d for d in node.decorator_list if "return_tuple" in ast.unparse(d)]
        return self.generic_visit(node)


@pytest.fixture
def rename(monkeypatch):
    """Rename an argument of forwards, as a new transformers may."""

    def renamed(old, new, *classes, callers=()):
        for kind in (*classes, *callers):
            code = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(kind.forward))))
            code = Renamed(old, new, own=kind in classes).visit(code)
            space = dict(vars(sys.modules[kind.__module__]))
            exec(compile(ast.fix_missing_locations(code), kind.__name__, "exec"), space)
            monkeypatch.setattr(kind, "forward", space["forward"])

    return renamed


def says():
    model, inputs = make_tiny("llava")
    with foveate.reduce(model, BOTH) as run:
        return model.generate(**inputs, **GREEDY).tolist(), run.report.visual_tokens_by_layer


def test_a_cache_under_another_name_is_found(rename):
    wanted = says()
    rename(
        CACHE, "memory", llava.LlavaModel, llama.LlamaModel, llama.LlamaDecoderLayer,
        llama.LlamaAttention, callers=[llava.LlavaForConditionalGeneration],
    )  # fmt: skip
    assert Signature.of(llama.LlamaModel).cache == "memory"
    assert says() == wanted


def test_what_goes_along_by_row_is_found_under_any_name(rename):
    wanted = says()
    layer = llama.LlamaDecoderLayer
    rename("position_embeddings", "angles", layer, llama.LlamaAttention, callers=[llama.LlamaModel])
    assert "angles" in Signature.of(layer).names
    assert says() == wanted


REFUSED = {
    "a layer's mask": (
        "attention_mask",
        llama.LlamaDecoderLayer,
        "no single parameter named ...mask",
    ),
    "the LLM's mask": (
        "attention_mask",
        llama.LlamaModel,
        "LlamaModel.forward has no attention_mask",
    ),
    "the LLM's input": (
        "inputs_embeds",
        llama.LlamaModel,
        "LlamaModel.forward has no inputs_embeds",
    ),
    "its positions": ("position_ids", llama.LlamaModel, "LlamaModel.forward has no position_ids"),
}


@pytest.mark.parametrize("seam", REFUSED)
def test_what_is_not_as_expected_is_refused_at_the_entrance(rename, seam):
    name, kind, message = REFUSED[seam]
    model, _ = make_tiny("llava")
    callers = [llama.LlamaModel if kind is llama.LlamaDecoderLayer else llava.LlavaModel]
    rename(name, "other", kind, callers=callers)
    for reduction in (BOTH, foveate.Reduction()):
        with (
            pytest.raises(UnsupportedError, match=message) as caught,
            foveate.reduce(model, reduction),
        ):
            pass
        assert "tested are transformers 5.17 to" in str(caught.value)


def test_a_cache_of_no_type_is_refused(monkeypatch):
    model, _ = make_tiny("llava")

    def forward(self, hidden_states, attention_mask=None, memory=None, **kwargs):
        raise AssertionError("never run")

    monkeypatch.setattr(llama.LlamaDecoderLayer, "forward", forward)
    with (
        pytest.raises(UnsupportedError, match="no single parameter of type Cache"),
        foveate.reduce(model, BOTH),
    ):
        pass


def test_layers_without_attention_are_refused():
    model, _ = make_tiny("llava")
    del model.model.language_model.layers[2].self_attn
    with pytest.raises(UnsupportedError, match="no self_attn"), foveate.reduce(model, BOTH):
        pass


def hide(name):
    """An LLM that hands an argument to its layers in a way that no signature tells."""

    def forward(self, hidden_states, *, original=llama.LlamaDecoderLayer.forward, **kwargs):
        return original(self, hidden_states, **{name: kwargs.pop("hidden", None)}, **kwargs)

    return forward


@pytest.mark.parametrize("name", ["attention_mask", CACHE])
def test_what_no_signature_tells_is_refused_when_it_runs(monkeypatch, rename, name):
    model, inputs = make_tiny("llava")
    forward = hide(name)
    forward.__signature__ = inspect.signature(llama.LlamaDecoderLayer.forward)
    rename(name, "hidden", callers=[llama.LlamaModel])
    monkeypatch.setattr(llama.LlamaDecoderLayer, "forward", forward)
    with torch.no_grad():
        model(**inputs)  # stock goes on
        if name == "attention_mask":
            with (
                pytest.raises(UnsupportedError, match="handed no attention_mask"),
                foveate.reduce(model, BOTH),
            ):
                model(**inputs)
        else:
            with foveate.reduce(model, BOTH) as run:  # found by its type
                cache = cache_in(model(**inputs, use_cache=True))
            rows = [n + run.report.text_tokens[0] for n in run.report.visual_tokens_by_layer[0]]
            assert [layer.get_seq_length() for layer in cache.layers] == rows


def test_attention_that_cannot_be_seen_is_refused(monkeypatch):
    model, inputs = make_tiny("llava")
    attention = llama.LlamaAttention.forward

    def own(self, hidden_states, **kwargs):
        stock, name = self.config, self.config._attn_implementation
        stock._attn_implementation = name.removeprefix("foveate_")
        try:
            return attention(self, hidden_states, **kwargs)
        finally:
            stock._attn_implementation = name

    monkeypatch.setattr(llama.LlamaAttention, "forward", own)
    with pytest.raises(UnsupportedError, match="AttentionInterface"), foveate.reduce(model, BOTH):
        model(**inputs)


def test_a_layer_that_did_not_run_is_noticed(monkeypatch):
    model, inputs = make_tiny("llava")
    with foveate.reduce(model, BOTH):
        monkeypatch.setattr(model.model.language_model.config, "num_hidden_layers", 4)
        with pytest.raises(UnsupportedError, match="4 layers ran of 6"):
            model(**inputs)
    fewer = "has 6 layers and names the kinds of 4"
    with pytest.raises(UnsupportedError, match=fewer), foveate.reduce(model, BOTH):
        pass


def test_by_row():
    index = torch.tensor([[0, 2]])
    place = torch.arange(3)[None]
    assert by_row(place, index, 3).tolist() == [[0, 2]]
    assert by_row(place.expand(3, -1, -1), index, 3).shape == (3, 1, 2)
    angles = torch.arange(6.0).view(1, 3, 2)
    cos, sin = by_row((angles, -angles), index, 3)
    assert cos.tolist() == [[[0, 1], [4, 5]]]
    assert sin.tolist() == (-cos).tolist()
    assert by_row({"full": angles}, index, 3)["full"].shape == (1, 2, 2)
    for other in (None, True, "eager", torch.ones(3, 3), torch.arange(4)):
        assert by_row(other, index, 3) is other
    meta = by_row(torch.empty(1, 3, 2, device="meta"), index, 3)
    assert meta.device.type == "meta"
    assert meta.shape == (1, 2, 2)


def test_cache_in():
    cache = DynamicCache()
    assert cache_in({"a": 1, "b": cache}) is cache
    assert cache_in((torch.ones(1), cache)) is cache
    assert cache_in((torch.ones(1),)) is None


def test_pictures_that_are_encoded_where_nobody_sees_are_refused(tiny):
    model, inputs = tiny
    core = model.model
    modality = "video" if "pixel_values_videos" in inputs else "image"
    name = f"get_{modality}_features"
    own = getattr(type(core), name)

    def mine(*args, **kwargs):
        return own(core, *args, **kwargs)

    with torch.no_grad():
        with foveate.reduce(model, BOTH):
            setattr(core, name, mine)
            with pytest.raises(UnsupportedError, match="encoded, whole, inside reduce"):
                model(**inputs)
        assert getattr(core, name) is mine  # what was set inside stays
        delattr(core, name)
        with foveate.reduce(model, BOTH):
            delattr(core, name)
            with pytest.raises(UnsupportedError, match="encoded, whole, inside reduce"):
                model(**inputs)
        assert name not in vars(core)


PUBLIC = [
    (llava.LlavaForConditionalGeneration, "labels"),
    (llava.LlavaModel, "attention_mask"),
    (llava.LlavaModel, "pixel_values"),
    (llava.LlavaModel, "input_ids"),
]


@pytest.mark.parametrize(("kind", "name"), PUBLIC, ids=[name for _, name in PUBLIC])
def test_a_public_input_that_is_gone_is_refused(monkeypatch, kind, name):
    model, _ = make_tiny("llava")
    stock = inspect.signature(kind.forward)

    def forward(self, *args, **kwargs):
        raise AssertionError("never run")

    left = [part for part in stock.parameters.values() if part.name != name]
    forward.__signature__ = stock.replace(parameters=left)
    monkeypatch.setattr(kind, "forward", forward)
    with (
        pytest.raises(UnsupportedError, match=f"{kind.__name__}.forward has no {name}"),
        foveate.reduce(model, BOTH),
    ):
        pass


def test_what_a_family_says_of_its_llm_is_checked(monkeypatch):
    for name, argument in (("qwen3_vl", "deepstack_visual_embeds"), ("gemma3", "token_type_ids")):
        model, _ = make_tiny(name)
        llm = model.model.language_model if name == "qwen3_vl" else model.model
        stock = inspect.signature(type(llm).forward)
        left = [part for part in stock.parameters.values() if part.name != argument]

        def forward(self, *args, **kwargs):
            raise AssertionError("never run")

        forward.__signature__ = stock.replace(parameters=left)
        monkeypatch.setattr(type(llm), "forward", forward)
        with pytest.raises(UnsupportedError, match=argument), foveate.reduce(model, BOTH):
            pass
