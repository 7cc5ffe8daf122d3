"""Methods in the encoder, in vLLM's towers: SigLIP's pictures and clips, alone and before a merge."""

from types import SimpleNamespace

import pytest

pytest.importorskip("vllm", reason="needs vLLM: .ci/vllm")

from foveate.encode.tome import ToMeEncoder
from foveate.errors import InputError
from foveate.serving.vllm.encoder import check_encoding
from serving.vllm import checkpoints, engine

FAMILY = "llava_onevision"
LOOK, WATCH = "what is in <image>? ", "how many are in <video>? "
TOME = {"method": "tome-encoder", "keep": 0.5}
LATE = {"method": "tome-encoder", "keep": 0.5, "layer": 1}
BOTH = {
    "encode": {"method": "tome-encoder", "keep": 0.5},
    "before": {"method": "divprune", "keep": 0.5},
}
REUSE = {"method": "reuse", "threshold": 64}


def still(seed):
    """A clip in which little changes."""
    clip = checkpoints.clip(seed, 1).repeat(4, axis=0)
    clip[2:, :20, :20] = 255 - clip[2:, :20, :20]
    return clip


def test_settings_of_one_batch_do_not_mix(llm, reference):
    one, wide = checkpoints.picture(1), checkpoints.picture(2, (112, 56))
    settings = (None, TOME, LATE, BOTH, BOTH["before"])
    requests = [{"prompt": LOOK, "image": [one], "foveate": setting} for setting in settings]
    requests.append({"prompt": LOOK * 2, "image": [one, wide], "foveate": TOME})
    requests.append({"prompt": WATCH, "video": [checkpoints.clip(1, 5)], "foveate": TOME})
    requests.append({"prompt": WATCH, "video": [checkpoints.clip(1, 5)], "foveate": BOTH})
    expected = [reference.ask(request) for request in requests]
    assert len({said.tokens for said in expected}) == len(expected)
    assert engine.same(engine.ask(llm, *requests), expected)
    assert engine.same(engine.ask(llm, *reversed(requests)), expected[::-1])


def test_patches_that_did_not_change_are_encoded_once(llm, reference, computed):
    request = {"prompt": WATCH, "video": [still(3)]}
    exact = {"method": "reuse"}
    settings = (None, exact, REUSE, {"encode": REUSE, "before": BOTH["before"]})
    requests = [{**request, "foveate": setting} for setting in settings]
    requests.append({"prompt": WATCH, "video": [still(4)], "foveate": REUSE})
    expected = [reference.ask(each) for each in requests]
    assert len({said.tokens for said in expected[:4]}) > 1
    assert engine.same(engine.ask(llm, *requests), expected)
    whole = 4 * 16
    assert computed[0] == whole
    assert max(computed[1:]) < whole, "each of the others computes less"


@pytest.fixture
def computed(llm):
    """How many rows the last layer of the tower computes, call by call."""
    layer = engine.model_of(llm).vision_tower.vision_model.encoder.layers[-1]
    calls = []
    handle = layer.mlp.register_forward_pre_hook(
        lambda module, args: calls.append(args[0].shape[:2].numel())
    )
    yield calls
    handle.remove()


def test_layers_compute_fewer_rows_and_a_setting_has_its_own_cached_picture(llm, encoded, computed):
    request = {"prompt": LOOK + "how many are there? " * 3, "image": [checkpoints.picture(7)]}
    first = engine.ask(llm, {**request, "foveate": TOME})
    shown = sum(encoded)
    assert computed == [shown * 8]
    again = engine.ask(llm, {**request, "foveate": {"encode": {**TOME, "layer": 0}}})
    assert sum(encoded) == shown
    assert again[0].cached == first[0].prompt // 32 * 32
    assert engine.same(again, first)
    for number, other in enumerate((LATE, {**TOME, "keep": 0.4}, BOTH, None), start=2):
        assert engine.ask(llm, {**request, "foveate": other})[0].cached == 0
        assert sum(encoded) == number * shown


def test_the_tower_is_left_as_it_was(llm):
    engine.ask(llm, {"prompt": LOOK, "image": [checkpoints.picture(8)], "foveate": TOME})
    for layer in engine.model_of(llm).vision_tower.vision_model.encoder.layers:
        assert type(layer.self_attn.attn).__name__ == "MMEncoderAttention"
        assert not layer._forward_hooks
        assert not layer._forward_pre_hooks


def configured(kind, **told):
    """A model's config, as far as it is looked at."""
    vision = SimpleNamespace(model_type=kind, num_hidden_layers=4)
    return SimpleNamespace(**{"vision_config": vision, "vision_feature_layer": -2, **told})


@pytest.mark.parametrize("kind", ["clip_vision_model", "siglip_vision_model"])
def test_a_layer_that_nobody_reads_is_refused(kind):
    check_encoding(configured(kind), ToMeEncoder(layer=2))
    with pytest.raises(InputError, match=r"0 to 2, got 3"):
        check_encoding(configured(kind), ToMeEncoder(layer=3))
    with pytest.raises(InputError, match="reads the vision encoder's embeddings"):
        check_encoding(configured(kind, vision_feature_layer=[0, -1]), ToMeEncoder())


def test_other_towers_are_refused():
    with pytest.raises(
        InputError, match="CLIP and SigLIP towers alone, and this model has qwen3_vl"
    ):
        check_encoding(configured("qwen3_vl"), ToMeEncoder())
