"""What is written is what was trained, as stock transformers reads it."""

import json

import torch
from PIL import Image
from transformers import AutoProcessor, LlavaOnevisionForConditionalGeneration

from foveate.scenes import make
from recipes.foveate_mini.demo import write_demo
from recipes.foveate_mini.evaluate import answers, evaluate
from recipes.foveate_mini.export import export
from scene_twin import answer_by_looking


def test_export_reloads_as_float32_and_answers(model, processor, tmp_path):
    export(model, processor, tmp_path / "mini")
    (tmp_path / "mini" / "README.md").write_text("kept")
    export(model, processor, tmp_path / "mini")
    assert (tmp_path / "mini" / "README.md").read_text() == "kept"
    assert not list(tmp_path.glob("*.part"))
    again = LlavaOnevisionForConditionalGeneration.from_pretrained(
        tmp_path / "mini", dtype=torch.float32
    )
    loaded = AutoProcessor.from_pretrained(tmp_path / "mini")
    for name, value in again.state_dict().items():
        assert torch.equal(value, model.state_dict()[name].bfloat16().float()), name
    assert again.generation_config.eos_token_id == loaded.tokenizer.eos_token_id
    assert next(model.parameters()).dtype == torch.float32
    assert loaded.tokenizer.get_vocab() == processor.tokenizer.get_vocab()
    tallies = evaluate(again.eval(), loaded, "val", n=3)
    assert {"reasoning", "ocr", "video"} <= set(tallies)
    assert all(tallies[task].n == 3 for task in ("reasoning", "ocr", "video"))


def test_a_batch_answers_as_one_by_one(model, processor):
    asked = [
        (make("reasoning", "val", index).images(), text)
        for index, text in enumerate(["count the digits.", "which digit is at the bottom?"])
    ]
    alone = [answers(model, processor, [one], is_video=False)[0] for one in asked]
    assert answers(model, processor, asked, is_video=False) == alone


def test_demo_is_the_first_of_the_test_split(tmp_path):
    write_demo(tmp_path)
    rows = json.loads((tmp_path / "questions.json").read_text())
    assert {row["task"] for row in rows} == {"reasoning", "ocr", "video"}
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 500_000
    for row in rows:
        task, index = row["file"].split(".")[0].split("-")
        sample = make(task, "test", int(index), length=8 if task == "video" else None)
        assert answer_by_looking(sample.marks, row["question"]) == row["answer"]
    path = next(tmp_path.glob("video-*.webp"))
    drawn = make("video", "test", int(path.stem.split("-")[1]), length=8).images()
    with Image.open(path) as clip:
        assert clip.n_frames == 8
        for number in range(8):
            clip.seek(number)
            assert clip.convert("RGB").tobytes() == drawn[number].tobytes()
