"""`foveate train`: bad data is named first, a killed run loses nothing, a checkpoint says what it is."""

import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import TrainerCallback
from typer.testing import CliRunner

import foveate
from foveate.cli import app
from foveate.defaults import IGNORED
from foveate.errors import InputError, MissingExtraError
from foveate.models.compressed import CompressedProcessor, with_compressor
from foveate.train import Recipe, Stage, train
from foveate.train.collate import Collator
from foveate.train.data import read_llava
from foveate.train.settings import RECORD
from foveate.train.sources import read

SOURCE = Path(__file__).parent.parent.parent / "src"


def recipe(stock, **more) -> Recipe:
    return replace(
        Recipe(
            model=str(stock),
            data="scenes:reasoning:12",
            compressor={"name": "quecc", "kernel": 6},
            multi_level_layers=(1, 2),
            query_encoding="embedding",
            stages=(Stage(1, 1e-2, llm=False), Stage(2, 1e-3, llm=True)),
            batch=3,
            save_every=2,
        ),
        **more,
    )


def losses(out: Path) -> list[float]:
    return [
        step["loss"]
        for stage in (1, 2)
        for step in json.loads((out / f"stage-{stage}" / "log.json").read_text())
        if "loss" in step
    ]


def moved_weights(stock: Path, out: Path) -> set[str]:
    ours, theirs = (foveate.load(folder).model.state_dict() for folder in (out, stock))
    return {name for name in theirs if not torch.equal(ours[name], theirs[name])}


class Kill(TrainerCallback):
    """Stops the process, as far as a test can, after some steps of a stage."""

    def __init__(self, stage: int, step: int) -> None:
        self.stage, self.step = stage, step

    def on_step_end(self, args, state, control, **_):
        if args.output_dir.endswith(f"stage-{self.stage}") and state.global_step == self.step:
            raise KeyboardInterrupt


def test_a_killed_run_goes_on_with_the_same_loss_curve(stock, tmp_path, caplog):
    whole = train(recipe(stock), tmp_path / "whole")
    out = tmp_path / "killed"
    for stage, step in ((1, 3), (2, 5)):
        with pytest.raises(KeyboardInterrupt):
            train(recipe(stock), out, [Kill(stage, step)])
    with caplog.at_level(logging.INFO, "foveate.train"):
        train(recipe(stock), out)
    told = [record for record in caplog.records if record.name.startswith("foveate.train.")]
    assert [record.getMessage() for record in told] == [
        f"stage 1 is done already: {out / 'stage-1'}",
        f"goes on from {out / 'stage-2' / 'checkpoint-4'}",
    ]
    assert len(losses(whole)) == 4 + 8
    assert losses(out) == losses(whole)
    first, second = (load_file(folder / "model.safetensors") for folder in (whole, out))
    assert all(torch.equal(first[name], second[name]) for name in first)
    for checkpoint in (out / "stage-2").glob("checkpoint-*"):
        record = json.loads((checkpoint / RECORD).read_text())
        assert record["recipe"] == recipe(stock).to_dict()
        assert record["data_hash"] == read("scenes:reasoning:12").hash
    assert list(out.glob("stage-1/runs/*/events*")), "nothing for TensorBoard"
    answer = foveate.load(out).ask(foveate.example(), "how many digits are there?")
    assert answer.report.visual_tokens_in == [4]
    with pytest.raises(InputError, match=r"other settings \(batch differ\)"):
        train(recipe(stock, batch=4), out)


def test_the_first_stage_leaves_tower_and_llm_alone(stock, tmp_path):
    settings = recipe(stock, stages=(Stage(0.5, 1e-2, llm=False), Stage(0, 1e-3, llm=True)))
    out = train(settings, tmp_path)
    moved = moved_weights(stock, out)
    assert moved
    assert all(name.startswith("model.multi_modal_projector") for name in moved)


def test_the_second_stage_trains_the_llm_but_not_the_tower(stock, tmp_path):
    settings = recipe(stock, stages=(Stage(0, 1e-2, llm=False), Stage(1, 1e-3, llm=True)))
    out = train(replace(settings, bf16=True, accumulate=2), tmp_path)
    moved = {name.split(".")[1] for name in moved_weights(stock, out) if name != "lm_head.weight"}
    assert moved == {"multi_modal_projector", "language_model"}


def llava(folder: Path, rows: object, name: str = "data.json") -> Path:
    Image.new("RGB", (144, 144)).save(folder / "a.png")
    (folder / "broken.png").write_text("no picture")
    page = Image.new("L", (9, 9))
    page.save(folder / "pages.tiff", save_all=True, append_images=[page])
    path = folder / name
    path.write_text(rows if isinstance(rows, str) else json.dumps(rows))
    return path


def row(value="<image>\nwhat?", answer="red", **more):
    turns = [{"from": "human", "value": value}, {"from": "gpt", "value": answer}]
    return {"image": "a.png", "conversations": turns, **more}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row(image="gone.png"), r"row 1: image .*gone.png does not exist"),
        (row(image="broken.png"), r"row 1: image .*broken.png cannot be read"),
        (
            row(image="pages.tiff"),
            r"row 1: image .*pages.tiff holds 2 frames or pages; one is needed",
        ),
        (row(value="what?"), r"row 1: 0 <image> tokens for 1 images"),
        (row(value="<image><image>what?"), r"row 1: 2 <image> tokens for 1 images"),
        (row(value="<image>"), r"row 1: turn 0 asks nothing beside <image>"),
        (row(answer=" "), r'row 1: turn 1 must be from "gpt" with some text'),
        (row(conversations=[]), r"row 1: conversations must be a list of questions and answers"),
        ({"image": "a.png"}, r"row 1: conversations must be"),
        ("text", r"row 1: must be an object, got str"),
    ],
)
def test_bad_rows_are_named_before_training(stock, tmp_path, bad, message):
    path = llava(tmp_path, [row(), bad, row()])
    with pytest.raises(InputError, match=message) as error:
        train(recipe(stock, data=str(path)), tmp_path / "out")
    assert str(path) in str(error.value)
    assert not (tmp_path / "out").exists()


def test_all_bad_rows_are_listed_at_once_but_not_thousands(tmp_path):
    path = llava(tmp_path, [row(image="gone.png")] * 30)
    with pytest.raises(InputError, match=r"row 19: .*\n... and 10 more"):
        read_llava(path)


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("[{]", "data.json", "data.json line 1: not JSON"),
        ('{"a": 1}', "data.json", "must be a list of rows, got dict"),
        ('{"a": 1}\n{', "data.jsonl", "data.jsonl row 1: not JSON"),
        ("[]", "data.json", "no rows"),
    ],
)
def test_files_that_are_no_data(tmp_path, text, name, message):
    with pytest.raises(InputError, match=message):
        read_llava(llava(tmp_path, text, name))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("nowhere.json", "cannot read nowhere.json"),
        ("scenes:video:3", "tasks of reasoning, ocr, documents.* joined by"),
        ("scenes:ocr", "scenes are scenes:TASKS:COUNT"),
    ],
)
def test_sources_that_are_none(data, message):
    with pytest.raises(InputError, match=message):
        read(data)


def test_every_turn_asks_its_own_question(tmp_path):
    talk = [
        {"from": "human", "value": "<image>\nwhat colour is the 7?"},
        {"from": "gpt", "value": "red"},
        {"from": "human", "value": "and the 3?"},
        {"from": "gpt", "value": "blue"},
    ]
    path = llava(
        tmp_path, json.dumps(row(conversations=talk)) + "\n\n" + json.dumps(row()), "d.jsonl"
    )
    data = read_llava(path)
    assert [example.answer for example in data.examples] == ["red", "blue", "red"]
    assert [len(example.messages) for example in data.examples] == [1, 3, 1]
    assert [len(example.pictures) for example in data.examples] == [1, 1, 1]
    assert data.examples[1].messages[-1]["content"] == [{"type": "text", "text": "and the 3?"}]
    assert data.hash != read_llava(llava(tmp_path, [row()])).hash


def test_pictures_are_trained_on_as_they_are_seen(tmp_path):
    tag = Image.Exif()
    tag[0x0112] = 6
    Image.new("RGBA", (8, 4)).save(tmp_path / "b.png", exif=tag)
    (example,) = read_llava(llava(tmp_path, [row(image="b.png")])).examples
    shown = example.pictures[0]()
    assert (shown.size, shown.mode, shown.getpixel((0, 0))) == ((4, 8), "RGB", (255, 255, 255))


def test_a_dataset_of_hugging_face(tmp_path):
    datasets = pytest.importorskip("datasets")
    pictures = [Image.new("RGB", (144, 144), colour) for colour in ("red", "blue")]
    made = datasets.Dataset.from_dict(
        {"image": pictures, "question": ["which colour?"] * 2, "answer": ["red", "blue"]},
        features=datasets.Features(
            image=datasets.Image(),
            question=datasets.Value("string"),
            answer=datasets.Value("string"),
        ),
    )
    made.save_to_disk(tmp_path / "set")
    data = read(f"hf:{tmp_path / 'set'}")
    assert [example.answer for example in data.examples] == ["red", "blue"]
    assert data.examples[1].pictures[0]().getpixel((0, 0)) == (0, 0, 255)
    clear = made.map(lambda one: {**one, "image": Image.new("RGBA", (9, 9))})
    clear.save_to_disk(tmp_path / "clear")
    shown = read(f"hf:{tmp_path / 'clear'}").examples[0].pictures[0]()
    assert shown.getpixel((0, 0)) == (255, 255, 255)
    bad = made.map(lambda one: {**one, "answer": ""}, load_from_cache_file=False)
    bad.save_to_disk(tmp_path / "bad")
    with pytest.raises(InputError, match=r"hf:.*bad row 0: turn 1 must be"):
        read(f"hf:{tmp_path / 'bad'}")


@pytest.fixture(scope="module")
def small(model, processor):
    """(model, processor) with an elastic compressor."""
    made = with_compressor(model, compressor={"name": "m3", "kernels": [6, 12]})
    return made, CompressedProcessor.of(processor, made.config)


def test_the_loss_is_on_answers_alone_and_the_prompt_is_that_of_generation(small):
    model, processor = small
    examples = read("scenes:reasoning+ocr:5").examples
    batch = Collator(processor)(examples)
    assert batch["labels"].shape == batch["input_ids"].shape == batch["attention_mask"].shape
    for place, example in enumerate(examples):
        kept = batch["attention_mask"][place].bool()
        ids, labels = batch["input_ids"][place][kept], batch["labels"][place][kept]
        written = processor.tokenizer.decode(ids[labels != IGNORED])
        assert written == example.answer + processor.tokenizer.eos_token
        prompt = processor.apply_chat_template(list(example.messages), add_generation_prompt=True)
        asked = processor(text=[prompt], images=[[example.pictures[0]()]], return_tensors="pt")
        assert torch.equal(asked["input_ids"][0], ids[labels == IGNORED])
        assert (batch["labels"][place][~kept] == IGNORED).all()
    assert model(**batch).loss.isfinite()


def test_an_elastic_compressor_is_trained_at_every_count(small):
    model, processor = small
    examples = read("scenes:reasoning:12").examples
    collate = Collator(processor, processor.counts, seed=0)
    seen = set()
    for first in range(12):
        batch = collate(examples[first : first + 1])
        again = collate(examples[first : first + 1])
        assert torch.equal(batch["input_ids"], again["input_ids"])
        count = int((batch["input_ids"] == model.config.image_token_id).sum())
        assert batch["visual_tokens"].tolist() == [count]
        assert model(**batch).loss.isfinite()
        seen.add(count)
    assert seen == {1, 4}


def test_rows_without_a_picture(small, tmp_path):
    model, processor = small
    path = llava(tmp_path, [row(), {"conversations": row(value="what?")["conversations"]}])
    examples = read_llava(path).examples
    assert model(**Collator(processor)(examples)).loss.isfinite()
    assert model(**Collator(processor)(examples[1:])).loss.isfinite()


def test_only_a_stock_model_takes_a_compressor(small, stock, tmp_path):
    small[0].save_pretrained(tmp_path / "made")
    small[1].save_pretrained(tmp_path / "made")
    with pytest.raises(InputError, match="a stock LLaVA-OneVision, got CompressedFor"):
        train(recipe(tmp_path / "made"), tmp_path / "out")


def test_what_is_not_installed_is_said(stock, tmp_path, monkeypatch):
    monkeypatch.setattr("foveate.train.fit.installed", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'pip install "foveate\[train\]"'):
        train(recipe(stock), tmp_path)


def arguments(stock: Path, out: Path) -> list[str]:
    return [
        "train", "scenes:reasoning:12", "--out", str(out), "--model", str(stock),
        "--kernel", "6", "--query", "embedding", "--levels", "1,2", "--batch", "2",
        "--epochs", "0.5,0.5", "--knobs", "heads=4",
    ]  # fmt: skip


def test_the_command_prints_where_the_checkpoint_is(stock, tmp_path):
    done = CliRunner().invoke(app, [*arguments(stock, tmp_path / "out"), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["checkpoint"] == str(tmp_path / "out")
    assert told["recipe"]["compressor"] == {"name": "quecc", "heads": 4, "kernel": 6}
    for wrong, message in (
        ("--epochs=1", "--epochs takes FIRST,SECOND"),
        ("--knobs=a", "--knobs takes"),
        ("--levels=a,b", "--levels takes layers (12,16,22,23), got 'a,b'"),
        ("--epochs=nan,1", "epochs must be at least 0, finite and not all 0, got [nan, 1.0]"),
        ("--rates=1e-3,nan", "learning rates must be above 0 and finite, got [0.001, nan]"),
        ("--seed=-1", "seed must be from 0 to 2**32 - 1, got -1"),
        (f"--out={stock / 'config.json'}", "a training goes into a folder, got the file"),
    ):
        refused = CliRunner().invoke(app, [*arguments(stock, tmp_path / "no"), wrong])
        assert message in str(refused.exception)


@pytest.mark.slow
def test_accelerate_launches_two_processes(stock, tmp_path):
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    command = [*launch, "-m", "foveate", *arguments(stock, tmp_path / "out")]
    started = [
        # on CPUs accelerate leaves it to MPI to start one process a rank, with this environment
        subprocess.Popen(command, env={
            **os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1", "MASTER_PORT": "29517",
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
        })
        for rank in range(2)
    ]  # fmt: skip
    assert [process.wait(timeout=600) for process in started] == [0, 0]
    logged = json.loads((tmp_path / "out/stage-1/log.json").read_text())
    steps = [one for one in logged if "loss" in one]
    assert len(steps) == 2, "half an epoch of 12 examples, two processes with two examples each"
    answer = foveate.load(tmp_path / "out").ask(foveate.example(), "how many digits are there?")
    assert answer.report.visual_tokens_in == [4]
