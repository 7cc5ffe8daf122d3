"""What may be asked of a checkpoint's compressor; this needs no vLLM."""

from types import SimpleNamespace

import pytest

from foveate.errors import InputError
from foveate.models.compressed import CompressedConfig
from foveate.serving.vllm.budget import Switch, question_of
from foveate.serving.vllm.compressor import counts_of, read_asked, switch_of, tokens_of, written


def config(**more):
    vision = {
        "model_type": "siglip_vision_model",
        "hidden_size": 64,
        "image_size": 56,
        "patch_size": 14,
    }
    made = CompressedConfig(
        vision_config=vision,
        compressor={"name": "mqt", "most": 8, "heads": 2},
        **{name: value for name, value in more.items() if name != "foveate"},
    )
    if "foveate" in more:
        made.foveate = more["foveate"]
    return made


def test_nothing_asked_is_the_default():
    assert read_asked(None, (8, 4), 8) == read_asked({}, (8, 4), 8) == (8, None)
    assert read_asked({"visual_tokens": 4, "question": "why?"}, (8, 4), 8) == (4, "why?")


@pytest.mark.parametrize("tokens", [8, 3, 0, -4, True, "4", None, 4.5])
def test_no_other_number_may_be_asked_for_nor_more_than_the_engine_allows(tokens):
    with pytest.raises(InputError, match="visual_tokens must be one of 2, 4, got"):
        read_asked({"visual_tokens": tokens}, (8, 4, 2), 4)


@pytest.mark.parametrize(
    "given", ["quecc", 4, [], {"method": "quecc"}, {"compressor": "/etc/passwd"}, {"keep": 0.5}]
)
def test_the_compressor_itself_is_not_for_a_request_to_choose(given):
    with pytest.raises(InputError, match="a compressor of its own: foveate takes question and"):
        read_asked(given, (8, 4), 8)


@pytest.mark.parametrize("question", [" ", 7, "half \ud83d", "\udc00"])
def test_a_question_is_a_text(question):
    with pytest.raises(InputError, match="question must be a text that is not empty, got"):
        read_asked({"question": question}, (8, 4), 8)


def test_what_is_asked_is_one_text():
    text = written(4, [5, 6])
    assert (tokens_of(text), question_of(text)) == (4, [5, 6])
    assert len({text, written(4, [5, 7]), written(8, [5, 6]), written(4, ())}) == 4


def test_an_engine_is_on_with_as_many_tokens_as_its_operator_or_the_checkpoint_says():
    assert max(counts_of(config())) == 8
    for made, tokens in (
        (config(), 8),
        (config(visual_tokens=4), 4),
        (config(foveate={}), 8),
        (config(foveate={"visual_tokens": 2}), 2),
    ):
        assert switch_of(made) == Switch(is_on=True, default=written(tokens, ()))
    for given in ({"visual_tokens": 9}, {"question": "why?"}, {"method": "divprune"}, 4):
        with pytest.raises(InputError):
            switch_of(config(foveate=given))


def test_a_config_of_plain_fields_will_do():
    plain = SimpleNamespace(**{**vars(config()), "vision_config": config().vision_config})
    assert counts_of(plain) == counts_of(config())
