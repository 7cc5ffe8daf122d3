"""A family that nobody has named works by the rules and says that it guesses, or is refused by name."""

import functools
import inspect
import warnings

import pytest
import torch
from transformers import AutoConfig, LlavaOnevisionModel

import foveate
from foveate import testing
from foveate.combine.aim import AIM
from foveate.errors import UnsupportedError
from foveate.models import family as table
from foveate.models import rules
from foveate.models.family import families, family_of, family_of_config
from foveate.models.tiny.copies import small_copies
from foveate.testing.contract import check_contract
from foveate.testing.drawn import draw_for


@pytest.fixture
def unnamed(monkeypatch):
    """Takes a family out of the table; its tiny model and inputs, which nobody has named then."""
    monkeypatch.setattr(table, "_BY_RULES", {})

    def take_out(name, modality="image"):
        model, inputs = testing.tiny(name, modality)
        known = families()
        rest = {kind: family for kind, family in known.items() if kind != name}
        monkeypatch.setattr(table, "families", lambda: rest)
        return known[name], model, inputs

    return take_out


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        ("llava", "image"),
        pytest.param(
            "llava_onevision",
            "video",
            marks=pytest.mark.skipif(
                "pixel_values"
                in inspect.signature(LlavaOnevisionModel.get_video_features).parameters,
                reason="adds a token behind its encoder: see the next test",
            ),
        ),
        ("llava_next_video", "video"),
        ("qwen3_vl", "video"),
        ("internvl", "image"),
    ],
)
def test_it_works_by_the_rules_with_one_warning(unnamed, name, modality):
    known, model, inputs = unnamed(name, modality)
    reduction = foveate.AIM(0.5, (1, 4))
    with pytest.warns(UserWarning, match=rf"'{name}'.*is guessed.*foveate check MODEL"):
        testing.check_dropping_is_masking(model, inputs, reduction)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        testing.check_tokens_are_gone(model, inputs, reduction)
    family = family_of(model)
    for said in ("modalities", "grid_positions", "token_types", "llm_arguments"):
        assert getattr(family, said) == getattr(known, said)


def test_tokens_that_are_added_behind_the_encoder_are_refused(unnamed, monkeypatch):
    """As LLaVA-OneVision of transformers 5.17 does, which is why it has a module here."""
    _, model, inputs = unnamed("llava")
    monkeypatch.setattr(
        table.Unnamed, "groups", lambda *a: [torch.zeros(len(e) - 1).long() for e in a[-1]]
    )
    told = r"64 placeholders of images and 63 visual tokens.*a Family must say"
    with (
        pytest.warns(UserWarning, match="is guessed"),
        pytest.raises(UnsupportedError, match=told),
        foveate.reduce(model, foveate.AIM(0.5, None)),
    ):
        model(**inputs)


def test_it_may_be_loaded(unnamed):
    _, model, _ = unnamed("llava")
    with pytest.warns(UserWarning, match="is guessed"):
        assert family_of_config(model.config, "mine").model_type == "llava"


def test_what_its_patches_are_is_not_guessed(unnamed):
    _, model, inputs = unnamed("llava")
    with (
        pytest.warns(UserWarning, match="is guessed"),
        pytest.raises(UnsupportedError, match=r"llava is not known by name, nor which patches"),
        foveate.reduce(model, foveate.VisionZip(0.5)),
    ):
        model(**inputs)


@pytest.mark.parametrize(
    ("kind", "lacking"),
    [
        ("mllama", "pictures reach its LLM by cross-attention"),
        ("florence2", "it is an encoder-decoder"),
        ("git", "with no placeholders in the prompt"),
        ("qwen2", "transformers has no image-text-to-text model of it"),
    ],
)
def test_what_the_rules_cannot_decide_is_refused_by_name(kind, lacking):
    with pytest.raises(UnsupportedError) as told:
        family_of_config(AutoConfig.for_model(kind), "mine")
    assert f"model type {kind!r}" in str(told.value)
    assert lacking in str(told.value)


def test_clips_that_are_encoded_as_images_are_refused(monkeypatch):
    """As perception_lm does."""
    model, _ = testing.tiny("llava_onevision")
    assert not list(rules.faults(model))
    monkeypatch.delattr(type(model.model), "get_video_features")
    (fault,) = rules.faults(model)
    assert "its clips go through get_image_features" in fault


def test_token_types_may_mean_that_attention_runs_both_ways(unnamed):
    _, model, _ = unnamed("gemma3")
    with pytest.raises(
        UnsupportedError, match="it takes token_type_ids, by which attention may run"
    ):
        family_of(model)


@pytest.mark.parametrize("name", ["llava", "qwen2_vl", "mistral3", "idefics3"])
def test_a_small_copy_is_drawn_for(unnamed, name):
    config = families()[name].tiny().config
    known, *_ = unnamed(name)
    if name == "idefics3":  # not by the rules: its groups are an exception
        table._BY_RULES[type(known.tiny())] = known
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        drawn = draw_for(small_copies(config))
    assert type(drawn.model) is type(known.tiny())
    assert drawn.modalities == known.modalities
    for modality in drawn.modalities:
        inputs = drawn.tiny_inputs(drawn.model.config, [[(modality, 0)], [(modality, 1)]])
        with torch.no_grad():
            drawn.model(**inputs)
        testing.check_groups(drawn.model, inputs)


def test_the_contract_says_what_does_not_hold(monkeypatch):
    model, _ = testing.tiny("llava")
    family = families()["llava"]
    assert all(finding.holds for finding in check_contract(model, family))
    monkeypatch.setattr(
        type(family), "groups", lambda *a: [torch.arange(len(entry)) for entry in a[-1]]
    )
    first, groups, *_ = check_contract(model, family)
    assert first.holds
    assert "64 of 64" not in groups.fault
    assert "which is not one whole group" in groups.fault


def test_a_text_that_would_end_is_compared_to_its_last_token():
    model, inputs = testing.tiny("llava")
    text = model.generate(**inputs, **testing.GREEDY)[0, inputs["input_ids"].shape[1] :].tolist()
    model.generation_config.eos_token_id = text[1:4]
    assert all(finding.holds for finding in check_contract(model, families()["llava"]))


def test_what_a_model_does_behind_its_head_is_the_twins_too(monkeypatch):
    model, inputs = testing.tiny("llava")
    stock = type(model).forward

    @functools.wraps(stock)
    def scaled(*args, **kwargs):
        output = stock(*args, **kwargs)
        output.logits = 3 * output.logits.tanh()
        return output

    monkeypatch.setattr(type(model), "forward", scaled)
    testing.check_dropping_is_masking(model, inputs, AIM(0.5, (1, 4)))


def test_a_model_that_does_not_run_is_tried_no_further(monkeypatch):
    model, _ = testing.tiny("llava")
    monkeypatch.setattr(type(families()["llava"]), "tiny_inputs", lambda *_: {"input_ids": None})
    (only,) = check_contract(model, families()["llava"])
    assert only.what == "the model itself runs a prompt"
    assert only.fault
