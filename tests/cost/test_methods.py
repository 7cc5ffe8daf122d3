"""What any method costs, foretold from the config, against torch's FlopCounterMode."""

import pytest

import foveate
from counted import counted
from foveate.cost.request import Request, request_cost
from foveate.cost.vision.encoder import Media
from foveate.errors import InputError, UnsupportedError
from foveate.models.family import families
from foveate.testing import tiny

TOLERANCE = 0.01
# what the tiny inputs of a family show, for its encoder's cost
SHOWN = {
    ("llava_onevision", "video"): Media(frames=12),
    ("qwen2_5_vl", "image"): Media(height=168, width=224),
    ("internvl", "image"): Media(height=112, width=224),
}


def prefilled(case, reduction):
    """The real FLOPs of encoding and prefill of one prompt, and the report."""
    model, inputs = tiny(*case)
    inputs = picture_first(inputs, families()[case[0]].placeholders(model.config)[case[1]])
    model.set_attn_implementation("eager")  # whose products the counter sees on a CPU
    with foveate.reduce(model, reduction) as run:
        flops = counted(lambda: model(**inputs, logits_to_keep=1))
    return flops, run.report


def picture_first(inputs, placeholder):
    """The same prompt with all of its text behind the picture, where a cost takes it to be."""
    order = (inputs["input_ids"][0] != placeholder).long().argsort(stable=True)
    length = len(order)
    return {
        name: value[:, order] if value.shape == (1, length) else value
        for name, value in inputs.items()
    }


@pytest.mark.parametrize("name", foveate.methods())
@pytest.mark.parametrize("case", SHOWN, ids="-".join)
def test_a_cost_is_what_torch_counts(case, name):
    reduction = foveate.create(name)
    real, report = prefilled(case, reduction)
    config = families()[case[0]].tiny().config
    cost = request_cost(config, SHOWN[case], report.text_tokens[0], reduction)
    assert cost.visual_tokens_in == report.visual_tokens_in[0]
    assert list(cost.visual_tokens_by_layer) == report.visual_tokens_by_layer[0]
    assert cost.flops == pytest.approx(real, rel=TOLERANCE)
    assert cost.prefill_flops == pytest.approx(report.prefill_flops, rel=TOLERANCE)
    assert cost.kv_bytes(4, after="prefill") == report.kv_bytes
    assert set(cost.parts) <= {"encode", *report.seconds}  # the same names of stages


@pytest.mark.parametrize("name", ["reuse", "tome-encoder"])
def test_layers_that_nobody_reads_are_not_paid_for(name):
    """LLaVA reads the output of the last layer but one of its tower."""
    real, report = prefilled(("llava", "image"), foveate.create(name))
    config, text = families()["llava"].tiny().config, report.text_tokens[0]
    cost = request_cost(config, Media(), text, foveate.create(name))
    assert cost.flops == pytest.approx(real, rel=TOLERANCE)
    assert cost.flops < request_cost(config, Media(), text).flops


def test_what_is_reused_is_not_paid_for():
    model, inputs = tiny("llava_onevision", "video")
    pixels = inputs["pixel_values_videos"]
    fresh = pixels[:, 1:, :, : pixels.shape[-2] // 4].clone()
    pixels[:, 1:] = pixels[:, :1].clone()
    pixels[:, 1:, :, : pixels.shape[-2] // 4] = fresh  # a quarter of each frame is new
    model.set_attn_implementation("eager")
    with foveate.reduce(model, foveate.Reuse()) as run:
        real = counted(lambda: model(**inputs, logits_to_keep=1))
    text = run.report.text_tokens[0]
    shown = Media(frames=12, changed=0.25)
    cost = request_cost(model.config, shown, text, foveate.Reuse())
    assert cost.flops == pytest.approx(real, rel=TOLERANCE)
    assert request_cost(model.config, shown, text).flops > 1.1 * cost.flops
    with pytest.raises(InputError, match=r"changed is a share of patches, in \[0, 1\], got 2"):
        Media(frames=2, changed=2.0)


def test_a_method_that_does_not_say_what_it_keeps_cannot_be_costed():
    class Old:
        needs, at, is_off = (), "llm", False

        def __call__(self, features):
            return features

        def flops(self, tokens, width):
            return 0

    with pytest.raises(UnsupportedError, match=r"cannot be costed: it lacks kept\(tokens\)"):
        request_cost(families()["llava"].tiny().config, 64, 9, foveate.Reduction(before=Old()))


def test_a_clip_a_sample_and_a_grid_are_counted_as_methods_take_them():
    config = families()["llava_onevision"].tiny().config
    request = Request.of(config, Media(frames=3), 9)
    assert request.groups == (4, 4, 4, 1)
    kept = {
        foveate.DivPrune(keep=0.3): 3 * 2 + 1,  # of every frame, and of the separator
        foveate.FoveaMerge(keep=0.3): 4,  # of the sample
        foveate.FastVID(keep=0.3): 3 * 2 + 1,  # of the clip, frame by frame
        foveate.Pool(keep=0.3): 3 * 2 + 1,
    }
    for method, tokens in kept.items():
        assert request.cost(method).visual_tokens_to_llm == tokens
    assert (
        Request.of(config, (4, 4, 4, 1), 9).cost(foveate.Pool(keep=0.8)).visual_tokens_to_llm == 13
    )
    assert request.cost(foveate.Pool(keep=0.8)).visual_tokens_to_llm == 3 * 4 + 1
