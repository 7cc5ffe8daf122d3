"""Smaller pictures on a family whose tokens follow the picture's size, and on one whose do not."""

import json
from html import unescape

import pytest
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
)

import foveate
from foveate.ask.media import Clip
from foveate.ask.vlm import VLM
from foveate.errors import InputError, UnsupportedError
from foveate.measure.report.page import write
from foveate.measure.run.answering import encoding_flops
from foveate.measure.run.engines.local import Local
from foveate.measure.run.jobs import Work
from foveate.measure.run.resize_pictures import Smaller, counts, scaled, shortest_side
from foveate.measure.run.runner import Amount, Runner
from foveate.measure.run.settings import RESIZE, UNREDUCED_SETTING, resized, settings
from foveate.measure.run.worker import Answered, Refused, Worker
from foveate.measure.tasks import task
from foveate.models.family import families
from foveate.records.journal import UNREDUCED, Journal
from foveate.records.summary import summarise
from foveate.reduction import Reduction
from foveate.testing import tiny

SPECIAL = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}{% if part['type'] == 'text' %}"
    "{{ part['text'] }}{% else %}{{ '<|vision_start|><|' + part['type'] + '_pad|><|vision_end|>' }}"
    "{% endif %}{% endfor %}{% endfor %}"
)


@pytest.fixture(scope="module")
def qwen():
    """A random Qwen2-VL with its stock processor: a token for 28 x 28 pixels."""
    words = {f"w{number}": number for number in range(120)}
    words |= {name: 120 + place for place, name in enumerate(SPECIAL)} | {"?": 124, "-": 125}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    pixels = {"size": {"shortest_edge": 28 * 28, "longest_edge": 28 * 28 * 400}}
    processor = Qwen2VLProcessor(
        image_processor=Qwen2VLImageProcessor(**pixels),
        video_processor=Qwen2VLVideoProcessor(**pixels),
        tokenizer=PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            unk_token="?",
            pad_token="-",
            eos_token="-",
            additional_special_tokens=list(SPECIAL),
        ),
        chat_template=TEMPLATE,
    )
    return VLM(tiny("qwen2_vl")[0], processor, families()["qwen2_vl"])


def picture(width=280, height=168) -> Image.Image:
    return Image.effect_noise((width, height), 60).convert("RGB")


def test_scaling_keeps_the_shape_and_smooths():
    shown = (picture(300, 200), Clip([picture(60, 40)] * 2))
    small, clip = scaled(shown, 0.1)
    assert small.size == (30, 20)
    assert [frame.size for frame in clip.frames] == [(6, 4)] * 2
    assert scaled(shown, 1e-6)[0].size == (1, 1)
    assert shortest_side(shown) == 40
    darkest, brightest = scaled((picture(400, 400),), 0.02)[0].convert("L").getextrema()
    assert brightest - darkest < 60  # noise is averaged, not picked


@pytest.mark.parametrize("share", [0.5, 0.25, 0.1])
def test_the_largest_picture_of_so_many_tokens(qwen, share):
    shown = (picture(), picture(140, 140))
    prompt = shown, "w1 w2"
    whole, text = counts(qwen, prompt)
    assert whole == 60 + 25
    assert text == 2 + 2 * 2  # the words, and what wraps the pictures
    small = Smaller(share)(qwen, prompt)
    tokens, others = counts(qwen, small)
    assert others == text
    assert 0.75 * share * whole <= tokens <= share * whole + 1
    ratios = [after.width / before.width for after, before in zip(small[0], shown, strict=True)]
    assert ratios[0] == pytest.approx(ratios[1], abs=0.01)
    larger = scaled(shown, ratios[0] + 0.1), "w1 w2"  # as if looked for from above
    assert counts(qwen, larger)[0] > share * whole


def test_what_it_costs_is_told_beside_the_whole_picture(qwen):
    prompts = (((picture(),), "w1"),) * 2
    whole = Worker(qwen, "x").answer(Work(prompts, Reduction(), 3))
    small = Worker(qwen, "x").answer(Work(prompts, Reduction(), 3, Smaller(0.25)))
    for one, other in zip(whole, small, strict=True):
        assert isinstance(one, Answered)
        assert isinstance(other, Answered)
        before, after = one.cost, other.cost
        assert (before.visual_tokens_in, after.visual_tokens_in) == (60, 60)
        assert before.visual_tokens_to_llm == 60
        assert 12 <= after.visual_tokens_to_llm <= 15
        assert after.llm_flops_unreduced == before.llm_flops
        assert after.kv_bytes_unreduced == before.kv_bytes
        assert after.llm_flops < 0.4 * before.llm_flops
        shown, _ = Smaller(0.25)(qwen, prompts[0])
        encoder = encoding_flops(qwen, shown, after.visual_tokens_to_llm)
        assert encoder < 0.3 * encoding_flops(qwen, (picture(),), 60)  # it is spared work, too
        assert after.flops > after.llm_flops + encoder


def test_where_every_picture_becomes_one_size():
    vlm = foveate.load("foveate-mini")
    item = task("reasoning").item(0)
    prompts = (item.media, item.question)
    with pytest.raises(UnsupportedError, match=r"llava_onevision makes 3\d\d .* even at 32 pixels"):
        Smaller(0.5)(vlm, prompts)
    (refused,) = Worker(vlm, "x").answer(Work((prompts,), Reduction(), 3, Smaller(0.5)))
    assert isinstance(refused, Refused)
    with pytest.raises(InputError, match="keep must be a share"):
        Smaller(0)


def test_it_is_one_of_the_settings():
    (_, one) = settings([RESIZE], [0.25], 8)
    assert (one.key, one.role, one.smaller) == ((RESIZE, 0.25), "baseline", Smaller(0.25))
    assert one.record()["knobs"] == "Smaller(share=0.25)"
    assert one.record()["reduction"] is None  # it is done to pictures
    assert RESIZE in {setting.method for setting in settings(["all"], [0.5], 8)}
    assert not Work((), Reduction(), 1, Smaller(0.5)).is_off
    assert Work((), Reduction(), 1).is_off


def test_a_question_that_is_refused_leaves_the_others(qwen, tmp_path):
    out, mine = tmp_path / "run.jsonl", tmp_path / "mine.jsonl"
    for number, height in enumerate((168, 40, 168, 168)):
        picture(280, height).save(tmp_path / f"{number}.png")
    rows = ({"image": f"{n}.png", "question": "w1 w2", "answer": "w3"} for n in range(4))
    mine.write_text("\n".join(map(json.dumps, rows)))
    for amount in (Amount(3, 4, 2, 1), Amount(4, 4, 2, 1)):
        chosen = [UNREDUCED_SETTING, resized(0.25)]
        seen = []
        runner = Runner(Local(qwen, "qwen"), chosen, [task(str(mine))], out, amount)
        runner.run(lambda done, what: seen.append(done))  # noqa: B023
        assert seen[-1] == runner.total
    lines = list(Journal(out))
    answered = [(row["method"], row["index"]) for row in lines if row["kind"] == "answer"]
    assert sorted(answered) == [
        *((RESIZE, n) for n in (0, 2, 3)),
        *((UNREDUCED, n) for n in range(4)),
    ]
    (refused,) = [row for row in lines if row["kind"] == "refused"]
    assert refused["index"] == 1
    assert "at 32 pixels" in refused["why"]
    told = summarise(out)
    assert [(row.method, row.n) for row in told.overall] == [(UNREDUCED, 4), ("resize", 3)]
    assert told.to_dict()["refused"] == [{k: v for k, v in refused.items() if k != "kind"}]
    page = unescape(write(told, tmp_path / "r.html")[0].read_text())
    assert "resize at 0.25, 1 of mine's questions; question 1: " in page
    # the first two are timed, and one of them is not to be had
    assert {row["method"] for row in lines if row["kind"] == "time"} == {UNREDUCED}
