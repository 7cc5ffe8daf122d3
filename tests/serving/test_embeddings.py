"""Visual tokens made for a server; the servers' side is `tests/serving/vllm/test_embeddings.py`."""

import base64
import io

import pytest
import torch

import foveate
from foveate.ask.vlm import VLM
from foveate.errors import InputError, UnsupportedError
from foveate.models.compressed import CompressedProcessor, with_compressor
from foveate.models.family import families
from foveate.serving.embeddings import image_part, picture_embeddings

QUESTION = "how many digits are there?"


@pytest.fixture(scope="module")
def vlm():
    return foveate.load()


def test_they_are_what_the_llm_reads(vlm):
    seen = {}
    handle = vlm.model.model.language_model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.update(kwargs), with_kwargs=True
    )
    inputs = vlm.inputs(foveate.example(), QUESTION)
    with torch.no_grad():
        vlm.model(**inputs)
    handle.remove()
    (made,) = picture_embeddings(vlm, foveate.example(), QUESTION)
    is_picture = inputs["input_ids"][0] == vlm.model.config.image_token_id
    assert torch.equal(seen["inputs_embeds"][0, is_picture], made)


@pytest.mark.parametrize("encoding", ["llm", "embedding"])
def test_a_compressor_leaves_few_and_reads_the_question(vlm, encoding):
    model = with_compressor(
        vlm.model,
        compressor={"name": "quecc", "kernel": 6},
        multi_level_layers=[1, 2],
        query_encoding=encoding,
    ).eval()
    compressed = VLM(model, CompressedProcessor.of(vlm.processor, model.config), vlm.family)
    one, other = (
        picture_embeddings(compressed, [foveate.example(), foveate.example()], question)
        for question in (QUESTION, "what colour is the 3?")
    )
    assert [len(each) for each in one] == [model.model.compressor.count()] * 2
    torch.testing.assert_close(one[0], one[1])  # rows of a batch may round otherwise
    assert (one[0] - other[0]).abs().max() > 1e-3


def test_a_part_of_a_message_holds_them():
    made = torch.randn(4, 8)
    part = image_part(made)
    assert part["type"] == "image_embeds"
    sent = io.BytesIO(base64.b64decode(part["image_embeds"]))
    assert torch.equal(torch.load(sent, weights_only=True), made)


def test_what_is_no_picture_is_refused(vlm):
    with pytest.raises(InputError):
        picture_embeddings(vlm, [], QUESTION)
    with pytest.raises(UnsupportedError, match=r"of pictures.*pixel_values_videos"):
        picture_embeddings(vlm, foveate.example("clip"), QUESTION)


class OnGrid(VLM):
    """A model whose processor tells positions on a grid."""

    def inputs(self, *arguments, **named):
        return {"pixel_values": None, "image_grid_thw": None}


def test_tokens_with_positions_on_a_grid_are_refused(vlm):
    grid = OnGrid(vlm.model, vlm.processor, families()["qwen2_5_vl"])
    with pytest.raises(UnsupportedError, match=r"no grid, such as LLaVA; got .* of a qwen2_5_vl"):
        picture_embeddings(grid, foveate.example(), QUESTION)
