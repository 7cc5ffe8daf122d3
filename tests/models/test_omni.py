"""Qwen Omni: sound beside pictures, the model with its talker around, and speech, which is refused."""

from types import SimpleNamespace

import pytest
import torch
from transformers import AutoConfig

import foveate
from foveate import AIM, testing
from foveate.errors import UnsupportedError
from foveate.models.family import families
from foveate.models.tiny import TINY_AUDIO

BOTH = AIM(0.5, (1, 4))
OUTER = {
    "qwen2_5_omni_thinker": "Qwen2_5OmniForConditionalGeneration",
    "qwen3_omni_moe_thinker": "Qwen3OmniMoeForConditionalGeneration",
}
TEXT = {
    "generation_mode": "text", "thinker_max_new_tokens": 6, "thinker_eos_token_id": None,
    "thinker_do_sample": False,
}  # fmt: skip


def heard(model, name, *pictures):
    """A prompt with sound before its pictures."""
    mel = torch.randn(1, 16, 120, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(1, 120, dtype=torch.long)
    tokens = len(model.model.get_audio_features(mel, mask).last_hidden_state)
    inputs = families()[name].tiny_inputs(model.config, [[*pictures]])
    sound = torch.tensor([[1, 125, *[TINY_AUDIO] * tokens, 126]])
    ids = torch.cat([sound, inputs["input_ids"]], dim=1)
    more = {"input_features": mel, "feature_attention_mask": mask}
    return {**inputs, "input_ids": ids, "attention_mask": torch.ones_like(ids), **more}


def whole(thinker, name):
    """A model with its talker's place empty, around a thinker."""
    import transformers

    kind = name.removesuffix("_thinker")
    config = AutoConfig.for_model(
        kind, thinker_config=thinker.config.to_dict(), enable_audio_output=False
    )
    model = getattr(transformers, OUTER[name])(config).eval()
    model.thinker = thinker
    model.speaker_map, model.talker = {"Chelsie": {}}, SimpleNamespace(codec_pad_token=0)
    return model


@pytest.mark.every_family
@pytest.mark.parametrize("name", OUTER)
def test_sound_beside_a_picture_is_left_alone(name):
    model, _ = testing.tiny(name)
    for picture in (("image", 0), ("video", 1)):
        inputs = heard(model, name, picture)
        testing.check_off_is_bit_identical(model, inputs)
        testing.check_dropping_is_masking(model, inputs, BOTH)
    with torch.no_grad(), foveate.reduce(model, BOTH):
        said = model(**inputs).logits
        other = model(**{**inputs, "input_features": 1 - inputs["input_features"]}).logits
    assert not torch.allclose(said[:, -1], other[:, -1])


@pytest.mark.every_family
@pytest.mark.parametrize("name", OUTER)
def test_the_model_with_its_talker_says_what_its_thinker_does(name):
    thinker, _ = testing.tiny(name)
    model = whole(thinker, name)
    inputs = heard(thinker, name, ("image", 0), ("video", 1))
    with foveate.reduce(thinker, BOTH) as run:
        alone = thinker.generate(**inputs, max_new_tokens=6, do_sample=False, eos_token_id=None)
    report = run.report
    with foveate.reduce(model, BOTH) as run:
        said = model.generate(**inputs, **TEXT)
    assert torch.equal(said, alone)
    assert run.report.visual_tokens_by_layer == report.visual_tokens_by_layer


@pytest.mark.every_family
@pytest.mark.parametrize("name", OUTER)
def test_speech_is_refused_and_nothing_else(name):
    thinker, inputs = testing.tiny(name)
    asked = {"max_new_tokens": 2, "output_hidden_states": True, "return_dict_in_generate": True}
    with foveate.reduce(whole(thinker, name), BOTH):
        with pytest.raises(UnsupportedError, match=rf"{name} reads .* works: generate\(gen"):
            thinker.generate(**inputs, **asked)  # as its talker has it
        thinker.generate(inputs["input_ids"][:, :3], **asked)  # no picture, nothing to reduce
