import json
from pathlib import Path

import pytest

from command import run
from foveate.cli.plan import plan
from foveate.errors import InputError

DEMO = Path(__file__).parents[2] / "src" / "foveate" / "assets" / "demo"
PICTURE, TEXT = str(DEMO / "reasoning-0.png"), str(DEMO / "ocr-0.png")


def test_cost_prints_the_published_figures():
    document = json.loads(
        run("cost", "llava-onevision-7b", "--visual-tokens", "1568", "--keep", "1",
            "--prune", "14,22",
            "--convention", "llm-viewer", "--json").stdout
    )  # fmt: skip
    assert round(document["flops"] / 1e12, 2) == 14.76
    assert round(document["first_token_ms"], 2) == 55.03
    assert round(document["flops_unreduced"] / 1e12, 2) == 22.90


def test_cost_of_a_clip_by_part():
    out = run("cost", "llava-onevision-7b", "--frames", "32", "--keep", "0.25", "--prune", "14,22")
    assert out.returncode == 0, out.stderr
    for part in ("encode", "compress", "score", "prefill", "decode"):
        assert part in out.stdout
    assert "6273 visual tokens, 1569 to the LLM" in out.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cost", "nope"], "no folder with a config.json"),
        (["cost", "llava-1.5-7b", "--machine", "tpu"], "unknown machine 'tpu'"),
        (["cost", "llava-1.5-7b", "--size", "3"], "--size takes HEIGHTxWIDTH"),
        (["cost", "llava-1.5-7b", "--convention", "mine"], "convention must be one of"),
        (["fit", "nope.csv"], "cannot read the points of nope.csv"),
        (["fit", "ocr", "--form", "log"], "form must be one of"),
        (["fit", "ocr", "--figure", "law.txt"], ".png, .pdf, .svg"),
        (["fit", "ocr", "--figure", "TAKEN.png"], "--figure must be a file"),
        (["cost", "qwen2.5-vl-7b", "--max-pixels", "-1"], "max_pixels must be at least 1, got -1"),
        (["cost", "qwen2.5-vl-7b", "--max-pixels", "0"], "max_pixels must be at least 1, got 0"),
        (["calibrate", "--out", "TAKEN.json"], "--out must be a file (.json)"),
        (["plan", "llava-1.5-7b", "--budget", "fast"], "got 'fast'"),
        (["plan", "llava-1.5-7b", "--budget", "1 ms"], "the cheapest is foveate.Reduction(encode="),
        (["plan", "llava-1.5-7b", "--budget", "50%", "--task", "maths"], "task must be one of"),
        (["ask", PICTURE, "what?", "--budget", "50%", "--task", "maths"], "task must be one of"),
        (["ask", PICTURE, "what?", "--budget", "60 ms"], "a budget in time needs machine"),
        (["calibrate", "--out", "/no/such/folder/x.json"], "existing folder"),
        (["calibrate", "--repeats", "0"], "at least 1, got 0"),
        (["plan", "llava-1.5-7b", "--analysis", "a.json"], "they take a --budget, no --law"),
        (["plan", "llava-1.5-7b", "--budget", "50%", "--analysis", "a.json"], "cannot read the an"),
        (["plan", "llava-1.5-7b"], "frames must be at least 1"),
        (["cost", "llava-1.5-7b", "--prune", "late"], "--prune takes"),
    ],
)
def test_bad_input_is_one_line_and_a_status(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for taken in ("TAKEN.png", "TAKEN.json"):
        (tmp_path / taken).mkdir()
    out = run(*arguments)
    assert (out.returncode, out.stdout) == (2, "")
    (line,) = out.stderr.strip().splitlines()
    assert message in line


def test_fit_prints_intervals_and_what_is_not_identifiable(tmp_path):
    figure = tmp_path / "law.png"
    out = run("fit", "reasoning", "--figure", str(figure))
    assert out.returncode == 0, out.stderr
    assert "squared error 3.794e-04" in out.stdout
    assert "predicts 7B within 0.97% (extrapolated), 4B within 1.46%, 0.5B" in out.stdout
    assert "576 visual tokens within 1.02% (extrapolated), 36 visual tokens" in out.stdout
    assert "do not decide between additive, product: less than 2 apart" in out.stdout
    assert "the points cannot tell A from B" in out.stdout
    assert figure.stat().st_size > 10_000
    product, additive, interaction = json.loads(run("fit", "ocr", "--json").stdout)
    assert (
        product["interval"]["alpha / beta"]["high"]
        < 1
        < additive["interval"]["alpha / beta"]["low"]
    )
    together = interaction["interval"]["size_token_scale"]
    assert together["low"] < interaction["size_token_scale"] < 0 < together["high"]
    assert product["size_token_scale"] is None
    held = [(at["value"], at["extrapolated"]) for at in interaction["held_out"]]
    assert held == [(7, True), (4, False), (0.5, True), (576, True), (36, False), (1, True)]
    assert interaction["held_out"][0]["rows"] == interaction["largest_held_out"]


def clips(folder, rows=48):
    """A file of an additive law's scores of clips."""
    places = [(n, t, f) for n in (0.5, 2, 7) for t in (4, 16, 64, 196) for f in (1, 4, 16, 64)]
    lines = [
        f"{n},{t},{f},{0.9 - 0.3 / n**0.3 - 0.2 / t**0.4 - 0.3 / f**0.5 + 0.001 * (-1) ** place}"
        for place, (n, t, f) in enumerate(places[:: 48 // rows])
    ]
    path = folder / "clips.csv"
    path.write_text("params_b,visual_tokens,frames,score\n" + "\n".join(lines))
    return str(path)


def test_fit_of_clips_tells_of_frames(tmp_path):
    figure = tmp_path / "law.png"
    out = run("fit", clips(tmp_path), "--figure", str(figure), "--encoder", "0.1 TFLOP")
    assert out.returncode == 0, out.stderr
    assert "gamma" in out.stdout
    assert "16 frames within" in out.stdout
    assert "By AICc the points prefer the additive form" in out.stdout
    assert figure.stat().st_size > 10_000


def test_fit_says_which_form_has_too_few_points(tmp_path):
    out = run("fit", clips(tmp_path, 8), "--json")
    assert [law["form"] for law in json.loads(out.stdout)] == ["product", "additive"]
    assert "the interaction law has 10 parameters, but there are only 8 different" in out.stderr


def test_fit_of_a_size_without_errors(tmp_path):
    scores = tmp_path / "scores.csv"
    rows = [
        f"{size},{count},{1 - 0.4 / (size * count) ** 0.2 if size < 4 else 1}"
        for size in (0.5, 1, 2, 4)
        for count in (16, 64, 256)
    ]
    scores.write_text("params_b,visual_tokens,score\n" + "\n".join(rows))
    out = run("fit", str(scores), "--form", "product", "--json")
    assert out.returncode == 0, out.stderr
    (law,) = json.loads(out.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert [row["error"] for row in law["largest_held_out"]] == [0, 0, 0]
    assert [row["relative"] for row in law["largest_held_out"]] == [None] * 3
    shown = run("fit", str(scores), "--form", "product").stdout
    assert "4B made no error to compare with (extrapolated), 2B" in shown


def test_plan_prints_a_reduction_that_can_be_typed():
    out = run("plan", "llava-onevision-7b", "--budget", "25%", "--frames", "32")
    assert out.stdout.startswith("foveate.AIM(keep=0.398, prune=(14, 22))\n")
    rows = json.loads(run("plan", "llava-onevision-7b", "--frames", "32", "--json").stdout)
    assert [row["frames"] for row in rows] == [182, 103, 192]


def printed(capsys, *arguments, **knobs):
    """What `foveate plan` prints, without a process of its own."""
    plan(*arguments, **knobs, as_json=True)
    return json.loads(capsys.readouterr().out)


def test_plan_looks_at_the_picture(capsys):
    def planned(**more):
        return printed(capsys, "foveate-mini", "40%", **more)

    for picture, task in ((PICTURE, "reasoning"), (TEXT, "ocr")):
        found = planned(picture=picture, task="auto")
        assert found == planned(picture=picture, task=task)
        assert found["task"] == task
    assert planned(picture=str(DEMO / "video-3.webp"), task="auto") == planned(frames=8)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({}, "plan takes a model, or --law"),
        ({"model": "llava-1.5-7b", "law": "ocr"}, "so it takes none, got 'llava-1.5-7b'"),
        ({"law": "ocr"}, "needs a --budget in FLOPs"),
        ({"law": "ocr", "budget": "50%"}, "a law's budget is FLOPs"),
        ({"law": "ocr=x", "budget": "1 TFLOP"}, "a share is a number"),
        ({"law": "ocr=0.3", "budget": "1 TFLOP"}, "sum to 1"),
        ({"law": "maths", "budget": "1 TFLOP"}, "cannot read the points of maths"),
        ({"law": "ocr", "budget": "1 TFLOP", "sizes": "big"}, "--sizes takes billions"),
        ({"law": "ocr", "budget": "1 TFLOP", "form": "log"}, "form must be one of"),
        ({"law": "ocr", "budget": "1 TFLOP", "frames": 8}, "without frames and tells nothing of"),
        ({"law": "ocr", "budget": "1 TFLOP", "encoder": "50%"}, "--encoder is FLOPs, such as"),
        ({"law": "ocr", "budget": "1 TFLOP with encoder"}, "needs encoder_flops"),
        ({"model": "llava-1.5-7b", "budget": "50%", "form": "product"}, "are of a --law"),
        ({"model": "llava-1.5-7b", "budget": "50%", "task": "auto"}, "give them as pixels="),
        ({"model": "llava-1.5-7b", "budget": "50%", "picture": "no.png"}, "no such picture"),
    ],
)
def test_bad_questions_of_plan_are_refused(knobs, message):
    with pytest.raises(InputError, match=message):
        plan(**knobs)


def test_plan_by_a_law_says_what_is_flat(capsys):
    out = run("plan", "--law", "reasoning", "--budget", "0.4 TFLOP", "--text", "50")
    assert "with 13 visual tokens" in out.stdout
    assert "counts from 4 to 37 are within the laws' misfit of it: a flat optimum" in out.stdout
    reasoning, mixed, ocr = (
        printed(capsys, law=law, budget="0.4 TFLOP", text=50)["best"]["visual_tokens"]
        for law in ("reasoning", "reasoning=0.8,ocr=0.2", "ocr")
    )
    assert reasoning < mixed < ocr
    real = printed(capsys, law="ocr", budget="0.4 TFLOP", text=50, sizes="0.5,1.8")
    assert (real["best"]["name"], real["best"]["visual_tokens"]) == ("0.5B", 350)


@pytest.mark.parametrize("form", ["product", "additive", "interaction"])
def test_plan_by_a_law_of_clips_chooses_frames(form, capsys, tmp_path):
    asked = {"law": clips(tmp_path), "budget": "8 TFLOP", "form": form}
    free, dear = (printed(capsys, **asked, encoder=flops)["best"] for flops in (None, "0.4 TFLOP"))
    assert free["frames"] > dear["frames"]
    assert dear["error"] > free["error"]
    fixed = printed(capsys, **asked, frames=4)
    assert {at["frames"] for at in (fixed["best"], *fixed["neighbours"])} == {4}
    plan(**asked)
    assert f") in each of {free['frames']:g} frames (" in capsys.readouterr().out


def test_forms_may_disagree_on_a_plan(capsys):
    product, additive, interaction = (
        printed(capsys, law="ocr", budget="0.4 TFLOP", form=form)["best"]["visual_tokens"]
        for form in ("product", "additive", "interaction")
    )
    assert product > additive > interaction
