import numpy as np
import pytest
import torch
from PIL import Image

import foveate
from foveate.ask.media import Clip, read
from foveate.combine.aim import AIM
from foveate.defaults import MAX_NEW_TOKENS, TASK
from foveate.errors import InputError
from foveate.harness import asking
from foveate.harness.asking import Asker, generate_arguments
from foveate.measure.tasks import task


@pytest.mark.parametrize(
    ("arguments", "reduction"),
    [
        ({}, foveate.Reduction()),
        ({"reduction": "aim", "keep": 0.5, "prune": "4:6"}, AIM(0.5, (4, 6))),
        ({"reduction": "aim", "prune": "0.5:0.75"}, AIM(0.25, (0.5, 0.75))),
        ({"reduction": "aim", "keep": "0.5", "prune": "none"}, AIM(0.5, None)),
        ({"reduction": "aim-merge", "keep": 0.5}, foveate.create("aim-merge", keep=0.5)),
        ({"preset": "llava-1.5-7b"}, AIM.paper("llava-1.5-7b")),
    ],
)  # fmt: skip
def test_arguments_are_knobs(arguments, reduction):
    assert Asker.of("foveate-mini", **arguments).reduction == reduction


def test_a_reduction_that_is_written_down_is_read(tmp_path):
    both = foveate.Reduction(before=foveate.DivPrune(0.5), inside=foveate.FastV((3,)))
    file = tmp_path / "both.json"
    file.write_text(both.to_json())
    for given in (both.to_dict(), both.to_json(), str(file)):
        assert Asker.of("foveate-mini", reduction=given).reduction == both
    assert Asker.of("foveate-mini", reduction={"method": "aim"}).reduction == AIM()


def test_share_and_budget():
    shared = Asker.of("foveate-mini", reduction="aim-merge", share=0.25)
    assert shared.reduction == foveate.create("aim-merge", keep=0.25)
    item = task("reasoning").item(0)
    chat = [{"role": "user", "content": [*item.media, item.question]}]
    for asker in (Asker.of("foveate-mini", budget=0.3), Asker.of("foveate-mini", budget="30%")):
        asker.answer(chat, max_new_tokens=4, do_sample=False)
        assert 0.2 < asker.spent.flops_share <= 0.3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"reduction": "aim", "budget": 0.5},
            "preset, budget; got reduction and budget",
        ),
        ({"keep": 0.5}, "knobs need a method"),
        ({"reduction": "aim", "share": 0.5, "keep": 0.5}, "share= sets all of aim"),
        ({"reduction": "aim", "dtype": "float99"}, "got 'float99'"),
        ({"reduction": "aim", "speed": 9}, "its knobs: .*keep"),
        ({"task": "ocr"}, "of a budget=, which is not given; got task='ocr'"),
        ({"reduction": "aim", "machine": "h100"}, "of a budget=, which is not given"),
        ({"reduction": AIM}, r"write AIM\(\)"),
        ({"reduction": AIM(), "keep": 0.5}, "knobs need a method"),
        ({"reduction": '{"method": "aim"}', "keep": 0.5}, "knobs need a method"),
        ({"reduction": {"method": "aimm"}}, "known methods: aim"),
        ({"reduction": "{"}, "a reduction is written as JSON"),
        ({"reduction": "no.json"}, r"cannot read a reduction from no\.json"),
        ({"reduction": "aimm"}, "known methods: aim"),
    ],
)
def test_bad_arguments(arguments, message, untyped):
    with pytest.raises(InputError, match=message):
        Asker.of("foveate-mini", **arguments)


def test_what_is_planned_for_is_what_is_generated(monkeypatch):
    asker = Asker.of("foveate-mini", budget="0.5 MB")
    seen, generate, fit = {}, asker.vlm.model.generate, asking.reduce
    monkeypatch.setattr(
        asker.vlm.model, "generate", lambda **given: seen.update(given) or generate(**given)
    )
    monkeypatch.setattr(
        asking, "reduce", lambda *model, **knobs: seen.update(knobs) or fit(*model, **knobs)
    )
    item = task("reasoning").item(0)
    asker.answer([{"role": "user", "content": [*item.media, item.question]}])
    assert seen["max_new_tokens"] == seen["answer_tokens"] == MAX_NEW_TOKENS
    assert seen["task"] == TASK


def test_answers_are_those_of_generate():
    asker = Asker.of("foveate-mini", reduction="aim", keep=0.5)
    vlm = foveate.load("foveate-mini")
    for name in ("reasoning", "video"):
        item = task(name).item(1)
        (shown,) = item.media
        frames = list(shown.frames) if isinstance(shown, Clip) else shown
        content = [asker.shown(frames), item.question]
        said, count = asker.answer([{"role": "user", "content": content}], max_new_tokens=12)
        reduction = foveate.create("aim", keep=0.5)
        inputs = vlm.batch([(item.media, item.question)])
        with torch.no_grad(), foveate.reduce(vlm.model, reduction):
            ids = vlm.model.generate(**inputs, max_new_tokens=12, do_sample=False)
        written = ids[0, inputs["input_ids"].shape[1] :]
        assert said == vlm.processor.decode(written, skip_special_tokens=True).strip()
        assert count == len(written)
    assert "of the prefill FLOPs" in str(asker.spent)
    only_text, _ = asker.answer([{"role": "user", "content": ["hello"]}], max_new_tokens=2)
    assert isinstance(only_text, str)


def test_what_harnesses_hand_over_is_read():
    asker, path = Asker.of("foveate-mini"), foveate.example("picture")
    want = np.asarray(read(path))
    for given in (
        str(path),
        {"path": str(path)},
        {"bytes": path.read_bytes(), "path": None},
        want,
        Image.open(path),
    ):
        assert (np.asarray(asker.shown(given)) == want).all()
    frames = [Image.new("RGBA", (4, 4)), str(path)]
    assert asker.shown(frames[:1] * 2).array().min() == 255


def test_generation_arguments():
    assert generate_arguments({"temperature": 0, "top_p": None, "until": ["\n"]}) == {
        "max_new_tokens": 32,
        "do_sample": False,
    }
    sampled = generate_arguments({"max_new_tokens": 8, "temperature": 0.7, "top_p": 0.9})
    assert sampled == {"max_new_tokens": 8, "temperature": 0.7, "top_p": 0.9, "do_sample": True}
