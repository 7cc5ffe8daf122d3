import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import foveate
from foveate.ask.media import Clip, read
from foveate.ask.vlm import ASSETS, MINI
from foveate.errors import InputError, NoEffectError, UnsupportedError
from foveate.measure.run.answering import encoding_flops
from foveate.models.family import families
from foveate.pictures import ORIENTATION


@pytest.fixture(scope="module")
def vlm():
    return foveate.load()


def test_ask_reduced_and_not(vlm):
    picture, question = foveate.example("picture"), "how many digits are there?"
    plain = vlm.ask(picture, question)
    assert plain.text
    assert not plain.report.fired
    assert plain.report.visual_tokens_in == plain.report.visual_tokens_to_llm == [300]
    reduced = vlm.ask(picture, question, foveate.AIM(keep=0.25, prune=(0.5, 0.786)))
    report = reduced.report
    assert report.visual_tokens_to_llm == [75]
    assert report.visual_tokens_by_layer[0] == [75] * 5 + [37, 0, 0]
    assert report.prefill_flops < report.prefill_flops_unreduced
    assert report.seconds["decode"] > 0
    assert vlm.ask(picture, question).text == plain.text


def test_ask_clips_and_several_pictures(vlm):
    clip = vlm.ask(foveate.example("clip"), "which digit appears first?", foveate.AIM(0.25, None))
    assert clip.report.visual_tokens_in == [8 * 36 + 1]
    assert clip.report.visual_tokens_to_llm == [8 * 9 + 1]
    pictures = [foveate.example("picture"), foveate.example("text")]
    two = vlm.ask(pictures, "what is it?", foveate.AIM(0.5, None))
    assert two.report.visual_tokens_in == [2 * 145]
    assert two.report.visual_tokens_to_llm == [2 * 73]


def test_a_batch_is_each_sample_alone(vlm):
    sources = [
        foveate.example("picture"),
        Image.new("RGB", (144, 60), "red"),
        foveate.example("text"),
    ]
    asked = ["how many digits are there?", "what?", "is there a 3 and what colour is the 7?"]
    reduction = foveate.AIM(keep=0.25, prune=(0.5, 0.786))
    alone = [
        vlm.ask(s, q, reduction, max_new_tokens=6).text for s, q in zip(sources, asked, strict=True)
    ]
    pictures = [read(source) for source in sources]
    prompts = [
        vlm.processor.apply_chat_template(
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}],
            add_generation_prompt=True,
        )
        for question in asked
    ]
    inputs = vlm.processor(text=prompts, images=pictures, padding=True, return_tensors="pt")
    with torch.no_grad(), foveate.reduce(vlm.model, reduction) as run:
        output = vlm.model.generate(**inputs, max_new_tokens=6, do_sample=False)
    texts = vlm.processor.batch_decode(
        output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
    )
    assert [text.strip() for text in texts] == alone
    assert len(set(run.report.visual_tokens_to_llm)) == 2


def test_what_a_person_sees_is_what_the_model_sees(vlm, tmp_path):
    path, question = foveate.example("text"), "what is written?"
    shown = Image.open(path).convert("RGB")
    pixels = np.asarray(shown)
    tag = Image.Exif()
    tag[ORIENTATION] = 6
    shown.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "phone.png", exif=tag)
    shown.save(tmp_path / "more.mpo", save_all=True, append_images=[shown], quality=100)
    want = vlm.inputs(shown, question)["pixel_values"]
    words = Image.fromarray(pixels[..., 0] * np.uint16(257))
    for given in (
        path.read_bytes(),
        pixels,
        torch.from_numpy(pixels.copy()).permute(2, 0, 1),
        tmp_path / "phone.png",
        Image.open(tmp_path / "phone.png"),
        [Image.open(tmp_path / "phone.png")],
        shown.convert("RGBA"),
    ):
        assert torch.equal(vlm.inputs(given, question)["pixel_values"], want)
    grey = vlm.inputs(Image.fromarray(pixels[..., 0]), question)["pixel_values"]
    assert torch.equal(vlm.inputs(words, question)["pixel_values"], grey)
    camera = vlm.inputs(tmp_path / "more.mpo", question)
    assert "pixel_values_videos" not in camera
    with Image.open(tmp_path / "phone.png") as opened:  # past the reader, too
        assert torch.equal(vlm.batch([([opened], question)])["pixel_values"], want)
    clips = [vlm.inputs(given, question) for given in (np.stack([pixels] * 2), Clip([shown] * 2))]
    assert torch.equal(*(clip["pixel_values_videos"] for clip in clips))


def test_what_is_no_media_is_one_clear_error(vlm, untyped):
    for nothing in (None, 5, {}):
        with pytest.raises(InputError, match=r"a picture is a path|no picture in the prompt"):
            vlm.pictures(nothing)


def test_bad_input_is_one_clear_error(vlm, tmp_path):
    picture = foveate.example("picture")
    with pytest.raises(InputError, match="no picture in the prompt"):
        vlm.ask([], "what?")
    with pytest.raises(InputError, match="question is empty"):
        vlm.ask(picture, " ")
    with pytest.raises(InputError, match="no frames"):
        vlm.ask(Clip([]), "what?")
    with pytest.raises(InputError, match="8 layers"):
        vlm.ask(picture, "what?", foveate.AIM(0.5, (14, 22)))
    with pytest.raises(InputError, match="cannot load"):
        foveate.load(tmp_path)
    with pytest.raises(InputError, match="example must be one of picture, text, clip"):
        foveate.example("song")
    with pytest.raises(InputError, match="max_new_tokens must be at least 1, got 0"):
        vlm.ask(picture, "what?", max_new_tokens=0)
    for token in ("<image>", "<video>"):
        with pytest.raises(InputError, match=f"must not hold '{token}', .* got 'what is {token}'"):
            vlm.ask(picture, f"what is {token}")
    assert vlm.ask(picture, "how many digits are there?").text  # nothing half-done


def broken(folder, name, change):
    """A copy of foveate-mini, one file of which is another."""
    shutil.copytree(ASSETS / MINI, folder)
    file = folder / name
    file.write_bytes(change(file.read_bytes()))
    return folder


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("model.safetensors", lambda data: data[:100_000], "the weights of .*cut short"),
        (
            "model.safetensors",
            lambda data: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "or a git-lfs pointer",
        ),
        ("tokenizer.json", lambda data: b"{}", "cannot load a vision-language model from"),
        (
            "config.json",
            lambda data: data.replace(b'"hidden_size": 128', b'"hidden_size": "wide"'),
            "(?s)cannot load a vision-language model from .*hidden_size",
        ),
    ],
)
def test_a_broken_checkpoint_is_one_clear_error(tmp_path, name, change, message):
    with pytest.raises(InputError, match=message):
        foveate.load(broken(tmp_path / "model", name, change))


def test_a_model_without_pictures_is_told_our_families(tmp_path):
    text = broken(
        tmp_path / "model", "config.json", lambda data: data.replace(b"llava_onevision", b"qwen2")
    )
    with pytest.raises(UnsupportedError, match=r"model type 'qwen2'.*supported: .*gemma3") as told:
        foveate.load(text)
    assert len(str(told.value)) - len(", ".join(families())) < 280  # of it the path of the folder


def test_a_device_that_is_not_there_is_one_clear_error():
    for device in ("cudaa", "cuda:99"):
        with pytest.raises(InputError, match=rf"device must be one .*\(cpu.*\), got '{device}'"):
            foveate.load(device=device)
    assert foveate.load(device="cpu").model.dtype == torch.float32


def test_a_model_of_another_kind_is_refused(tmp_path):
    from transformers import Blip2Config, Blip2ForConditionalGeneration

    model = Blip2ForConditionalGeneration.__new__(Blip2ForConditionalGeneration)
    torch.nn.Module.__init__(model)
    model.config = Blip2Config()
    with pytest.raises(UnsupportedError, match=r"blip-2.*supported: .*gemma3, .*smolvlm"):
        foveate.reduce(model, foveate.AIM()).__enter__()


def test_not_the_whole_model_is_refused(vlm):
    inner = vlm.model.model
    with pytest.raises(UnsupportedError, match=r"LlavaOnevisionModel, .*the whole model with its"):
        foveate.reduce(inner, foveate.AIM()).__enter__()
    for other in (vlm, vlm.model.lm_head, None):
        name = type(other).__name__
        with pytest.raises(UnsupportedError, match=rf"cannot reduce {name} .*supported: "):
            foveate.reduce(other, foveate.AIM()).__enter__()


def test_a_method_alone_is_taken_and_a_class_refused_before_a_picture_is_read(vlm, untyped):
    picture = foveate.example("picture")
    alone, around = (
        vlm.ask(picture, "how many digits are there?", given, max_new_tokens=1).report
        for given in (foveate.FastV(), foveate.Reduction(inside=foveate.FastV()))
    )
    assert alone.fired
    assert alone.visual_tokens_by_layer == around.visual_tokens_by_layer
    for given, message in ((foveate.FastV, r"write FastV\(\)"), ("fastv", "write foveate.create")):
        with pytest.raises(InputError, match=message):
            vlm.ask("no such picture.png", "what?", given)


def test_no_effect_is_told(vlm):
    with pytest.raises(NoEffectError, match="changed nothing"):
        vlm.ask(foveate.example("picture"), "what?", foveate.AIM(0.9999, None))


@pytest.mark.parametrize("kind", ["picture", "clip"])
@pytest.mark.parametrize("share", [0.8, 0.4, 0.15])
def test_a_budget_is_kept(vlm, kind, share):
    report = vlm.ask(foveate.example(kind), "how many digits are there?", budget=share).report
    assert report.fired
    assert report.prefill_flops <= share * report.prefill_flops_unreduced
    assert report.prefill_flops > 0.5 * share * report.prefill_flops_unreduced


@pytest.mark.parametrize("kind", ["picture", "clip"])
def test_a_budget_with_encoder_is_kept(vlm, kind):
    shown = (read(foveate.example(kind)),)
    whole = encoding_flops(vlm, shown, vlm.ask(shown, "how many?").report.visual_tokens_in[0])
    report = vlm.ask(shown, "how many?", budget="30% with encoder", max_new_tokens=1).report
    spent = whole - report.encode_flops_unreduced + report.encode_flops + report.prefill_flops
    assert spent <= 0.3 * (whole + report.prefill_flops_unreduced) < 1.25 * spent
    assert report.encode_flops < report.encode_flops_unreduced
    mild = vlm.ask(shown, "how many?", budget="80% with encoder").report
    assert mild.fired
    assert mild.encode_flops_unreduced == 0  # pruning and merging are enough


def test_text_keeps_its_tokens_longer(vlm):
    def kept(name, **knobs):
        answer = vlm.ask(foveate.example(name), "what is written?", budget=0.4, **knobs)
        return answer.report.visual_tokens_to_llm[0]

    assert kept("text", task="auto") == kept("text", task="ocr") > kept("text", task="reasoning")
    assert kept("text") == kept("text", task="reasoning")
    assert kept("picture", task="auto") == kept("picture") < kept("picture", task="ocr")
    assert kept("clip", task="auto") == kept("clip")


def test_a_budget_is_checked(vlm):
    picture = foveate.example("picture")
    with pytest.raises(InputError, match="not both"):
        vlm.ask(picture, "what?", foveate.AIM(0.5, None), budget=0.5)
    with pytest.raises(InputError, match=r"the cheapest is foveate\.AIM"):
        vlm.ask(picture, "what?", budget=0.0001)
    for knobs in ({"task": "ocr"}, {"machine": "a100"}):
        with pytest.raises(InputError, match="of a budget=, which is not given"):
            vlm.ask("no such picture.png", "what?", foveate.AIM(), **knobs)
    with pytest.raises(InputError, match="a budget in time needs machine"):
        vlm.ask(picture, "what?", budget="60 ms")
    with pytest.raises(InputError, match="got 'much'"):
        vlm.ask(picture, "what?", budget="much")
    with pytest.raises(InputError, match="got 2 pictures and clips of 2 kinds"):
        vlm.ask([picture, foveate.example("clip")], "what?", budget="40% with encoder")
