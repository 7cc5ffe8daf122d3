"""Every image-text-to-text model is named, or out of scope with a reason, or left to the rules."""

import warnings

import pytest
import torch
import transformers
from packaging.version import Version
from transformers import AutoConfig, AutoModelForImageTextToText
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as NAMES,
)

import foveate
from foveate.errors import UnsupportedError
from foveate.models import family as table
from foveate.models.family import Unnamed, families, family_of, family_of_config
from foveate.models.scope import OUT_OF_SCOPE
from foveate.models.support import NO, support, watching
from foveate.runtime.seams import TESTED

# whose default config transformers cannot build, or not without timm
UNBUILT = {"fast_vlm", "qwen4_exp"}
OTHERS = sorted(NAMES.keys() - families().keys() - OUT_OF_SCOPE.keys())
HERE = Version(transformers.__version__)


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_neither_named_nor_out_of_scope_goes_by_the_rules_with_a_warning(kind, monkeypatch):
    monkeypatch.setattr(table, "_BY_RULES", {})  # two kinds may have one class
    config = AutoConfig.for_model(kind)
    for place, name in enumerate(("image_token_id", "video_token_id"), 7):
        if getattr(config, name, 0) is None:
            setattr(config, name, place)
    try:
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(config)
    except Exception:
        assert kind in UNBUILT
        return
    with pytest.warns(UserWarning, match=f"{kind!r}.*is guessed"):
        assert isinstance(family_of(model), Unnamed)


@pytest.mark.parametrize("kind", OUT_OF_SCOPE)
def test_what_is_out_of_scope_is_refused_with_its_reason(kind):
    assert kind not in families()
    model = torch.nn.Module()
    model.config = transformers.PretrainedConfig()
    model.config.model_type = kind
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for refused in (lambda: family_of(model), lambda: family_of_config(model.config, "mine")):
            with pytest.raises(UnsupportedError) as told:
                refused()
            assert f"(model type {kind!r}): {OUT_OF_SCOPE[kind]}; supported" in str(told.value)


def test_reduce_tells_it():
    model = transformers.BlipForConditionalGeneration(transformers.BlipConfig())
    with (
        pytest.raises(UnsupportedError, match="by cross-attention"),
        foveate.reduce(model, foveate.AIM()),
    ):
        pass


@pytest.mark.skipif(Version(TESTED["transformers"][1]) > HERE, reason="newer ones have more models")
def test_what_is_out_of_scope_is_in_transformers():
    assert OUT_OF_SCOPE.keys() <= NAMES.keys()


@pytest.mark.parametrize("name", families())
def test_a_family_is_in_transformers_since_the_version_that_it_states(name):
    if name == "foveate_compressed":  # its own
        return
    family, (first, last) = families()[name], TESTED["transformers"]
    since = Version(family.since or first)
    assert Version(first) <= since <= Version(last)
    assert hasattr(transformers, family.model_class) or since > HERE


def test_the_matrix_says_what_is_known():
    rows = {row.family: row for row in support(TESTED["transformers"])}
    assert rows.keys() == families().keys()
    assert rows["llava"].encoder_signals == "[CLS] attention, keys"
    assert rows["llava"].refused == ""
    assert (rows["aria"].encoder_signals, rows["aria"].cost) == ("none", NO)
    assert "before the first layer that attends" in rows["qwen3_5"].refused
    assert "E2B, E4B" in rows["gemma4"].refused
    assert rows["internvl"].refused == "metric=keys"
    assert "visionzip" in watching()
    assert "divprune" not in watching()
