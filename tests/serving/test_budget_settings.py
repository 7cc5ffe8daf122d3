import json

import pytest

from foveate.cost.request import Request
from foveate.cost.vision.encoder import Media
from foveate.errors import InputError, UnsupportedError
from foveate.serving.budget.body import Asked
from foveate.serving.budget.settings import Settings, from_environment

MODEL = {"FOVEATE_MODEL": "llava-1.5-7b"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"FOVEATE_TTFT_MS": "abc"}, "FOVEATE_TTFT_MS must be milliseconds, got 'abc'"),
        ({"FOVEATE_TTFT_MS": "-1"}, "milliseconds above 0, or unset, got -1"),
        ({"FOVEATE_TTFT_MS": "0"}, "milliseconds above 0"),
        ({"FOVEATE_TTFT_MS": "NaN"}, "milliseconds above 0, or unset, got nan"),
        ({"FOVEATE_TTFT_MS": "inf"}, "milliseconds above 0"),
        ({"FOVEATE_METHOD": "fastv"}, "method must be one before the LLM"),
        ({"FOVEATE_METHOD": "nope"}, "unknown method 'nope'"),
        ({"FOVEATE_METHOD": "tome"}, "vLLM cannot serve 'tome': it needs .*; works: aim-merge"),
        ({"FOVEATE_LADDER": "1,x"}, "FOVEATE_LADDER must be shares with commas"),
        ({"FOVEATE_LADDER": "0.5,0.25"}, "shares falling from 1.0"),
        ({"FOVEATE_LADDER": "1,0.25,0.5"}, "shares falling from 1.0"),
        ({"FOVEATE_LADDER": "1,0"}, "keep must be a share"),
        (
            {"FOVEATE_PROCESSOR_MAX_PIXELS": "big"},
            "FOVEATE_PROCESSOR_MAX_PIXELS must be a whole number",
        ),
        ({"FOVEATE_PROCESSOR_MAX_PIXELS": "0"}, "processor_max_pixels must be at least 1, got 0"),
        ({"FOVEATE_MAX_BODY_BYTES": "0"}, "max_body_bytes must be at least 1, got 0"),
    ],
)
def test_bad_variables_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        from_environment(MODEL | given)


def test_a_target_needs_a_model():
    with pytest.raises(InputError, match=r"FOVEATE_\*: .*set model \(FOVEATE_MODEL\)"):
        from_environment({"FOVEATE_TTFT_MS": "100", "FOVEATE_MODEL": " "})


def test_no_variables_are_no_target():
    assert from_environment({"HOME": "/"}) == Settings()
    assert Settings().estimator() is None


def test_variables_are_read():
    given = {"FOVEATE_TTFT_MS": "250.5", "FOVEATE_CALIBRATION": "l4", "FOVEATE_METHOD": "divprune",
             "FOVEATE_LADDER": "1, 0.5", "FOVEATE_PROCESSOR_MAX_PIXELS": "1000000"}  # fmt: skip
    settings = from_environment(MODEL | given)
    assert settings == Settings(250.5, "llava-1.5-7b", "l4", "divprune", (1.0, 0.5), 1_000_000)
    assert settings.budget(0.5) == {"method": "divprune", "keep": 0.5}
    assert settings.budget(1.0) is None


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"model": "/no/such/folder"}, "no folder with a config.json"),
        ({"calibration": "tpu"}, "unknown machine 'tpu'"),
        ({"calibration": "/no/such.json"}, "no calibration"),
    ],
)
def test_what_cannot_be_found_is_refused(knobs, message):
    with pytest.raises(InputError, match=message):
        Settings(**{"ttft_ms": 9.0, "model": "llava-1.5-7b", **knobs}).estimator()


def test_a_config_is_found_by_its_path(tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"model_type": "nobodys"}))
    for model in (str(file), str(tmp_path)):
        with pytest.raises((InputError, UnsupportedError)):
            Settings(ttft_ms=9.0, model=model).estimator()


@pytest.mark.parametrize("model", ["llava-onevision-7b", "qwen2.5-vl-7b", "llava-1.5-7b"])
def test_work_is_what_the_cost_model_counts(model):
    settings = Settings(ttft_ms=9.0, model=model, calibration="h100")
    estimator = settings.estimator()
    asked = Asked(((480, 640),), 0, 4 * 300, True)
    works = estimator.works(asked, settings.reductions())
    for work, reduction in zip(works, settings.reductions(), strict=True):
        request = Request.of(estimator.config, Media(height=480, width=640), 320)
        cost = request.cost(reduction)
        assert work.visual_tokens == cost.visual_tokens_to_llm
        assert work.ms == pytest.approx(cost.first_token_ms(estimator.machine), rel=0.03)
    assert sorted(works, key=lambda work: -work.ms) == works


def test_more_and_larger_pictures_and_texts_are_more_work():
    estimator = Settings(ttft_ms=9.0, model="qwen2.5-vl-7b").estimator()
    keep = Settings().reductions()[0]

    def ms(sizes=(), clips=0, characters=0):
        return estimator.work(Asked(tuple(sizes), clips, characters, True), keep).ms

    assert ms() < ms(characters=40_000)
    assert ms([(100, 100)]) < ms([(900, 900)]) < ms([(900, 900)] * 2)
    assert ms([(300, 300)] * 160) == pytest.approx(10 * ms([(300, 300)] * 16), rel=0.3)
    assert ms([None]) == ms([(448, 448)])
    assert ms() < ms(clips=1)


@pytest.mark.parametrize("size", [(1, 100_000), (65_535, 1), (65_535, 65_535), (1, 1)])
@pytest.mark.parametrize(
    "model", ["qwen2.5-vl-7b", "llava-onevision-7b", "internvl3-8b", "gemma-3-4b"]
)
def test_no_size_breaks_it(model, size):
    estimator = Settings(ttft_ms=9.0, model=model).estimator()
    work = estimator.work(Asked((size, None), 1, 0, True), Settings().reductions()[2])
    assert work.ms > 0
    assert work.visual_tokens > 0
