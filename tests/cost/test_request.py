from types import SimpleNamespace

import pytest
import torch

from foveate.combine.aim import AIM
from foveate.cost.configs import read_config
from foveate.cost.hardware import TABLE
from foveate.cost.request import layer_tokens, request_cost
from foveate.cost.vision.encoder import Media, encode
from foveate.errors import InputError, UnsupportedError
from foveate.prune.fastv import FastV
from foveate.prune.schedule import linear

CONFIG = read_config("llava-onevision-7b")


def test_parts_are_what_the_reduction_itself_counts():
    prune = (14, 22)
    aim = AIM(keep=0.25, prune=prune)
    cost = request_cost(CONFIG, Media(frames=8), 100, aim)
    assert cost.visual_tokens_in == 8 * 196 + 1
    assert cost.visual_tokens_to_llm == 8 * 49 + 1
    assert cost.parts["compress"].flops == 8 * aim.before.flops(196, 3584)
    rows = [cost.visual_tokens_by_layer[layer] + 100 for layer in range(14, 21)]
    assert cost.parts["score"].flops == sum(aim.inside.flops(n, 28, 128) for n in rows)
    assert cost.flops == sum(part.flops for part in cost.parts.values())


def test_layers_follow_the_schedule():
    assert layer_tokens(8, linear((1, 3), 5), 5) == [8, 8, 4, 0, 0]
    assert layer_tokens(8, {}, 3) == [8, 8, 8]


def test_decoding_is_bound_by_memory():
    short = request_cost(CONFIG, Media(frames=8), 100)
    long = request_cost(CONFIG, Media(frames=8), 100, answer_tokens=11)
    assert short.parts["decode"].flops == 0
    a100 = TABLE["a100"]
    weights = 2 * 7.07e9  # bytes of the LLM's matrices, without its input embeddings
    assert long.parts["decode"].ms(a100) == pytest.approx(10_000 * weights / 1555e9, rel=0.02)
    assert long.kv_bytes(1) - short.kv_bytes(1) == 10 * 28 * 2 * 4 * 128
    assert long.kv_bytes(1, after="prefill") == short.kv_bytes(1)


def test_a_run_costs_what_was_planned(tiny):
    import foveate

    model, inputs = tiny
    with torch.no_grad(), foveate.reduce(model, AIM(keep=0.5, prune=(1, 4))) as run:
        model(**inputs)
    report = run.report
    planned = [
        request_cost(model.config, visual, text, AIM(keep=1.0, prune=(1, 4)))
        for visual, text in zip(report.visual_tokens_to_llm, report.text_tokens, strict=True)
    ]
    assert [list(cost.visual_tokens_by_layer) for cost in planned] == report.visual_tokens_by_layer


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reduction": AIM(prune=(14, 40))}, "the LLM has 28 layers"),
        ({"reduction": FastV}, "got the class FastV"),
        ({"answer_tokens": 0}, "at least 1 token, got 0"),
    ],
)
def test_bad_knobs_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        request_cost(CONFIG, Media(), 100, **arguments)


def test_bad_media_and_families_are_refused():
    with pytest.raises(InputError, match="at least 1 image or one clip"):
        Media(images=2, frames=8)
    with pytest.raises(InputError, match="go together"):
        Media(height=3)
    with pytest.raises(UnsupportedError, match=r"model type 'qwen2'; known: .*gemma3, .*llava"):
        encode(CONFIG.text_config, Media())
    with pytest.raises(InputError, match=r"config of a idefics3 lacks .*'scale_factor'"):
        encode(SimpleNamespace(model_type="idefics3", vision_config=CONFIG.vision_config), Media())


def test_groups_may_be_given_instead_of_media():
    media = Media(frames=2)
    groups = (196, 196, 1)
    shown, counted = (
        request_cost(CONFIG, given, 9, AIM(keep=0.3, prune=None)) for given in (media, groups)
    )
    for name in ("compress", "prefill", "decode"):
        assert shown.parts[name] == counted.parts[name]
    assert set(shown.parts) - set(counted.parts) == {"encode"}
    assert (
        request_cost(CONFIG, 393, 9).parts["prefill"]
        == request_cost(CONFIG, groups, 9).parts["prefill"]
    )
