"""Planning by what `foveate measure` found: the file, the choice, and measure -> plan -> reduce."""

import json

import pytest
import torch

import foveate
from command import run
from foveate.ask.media import read
from foveate.cost.calibration import Calibration
from foveate.cost.request import Request
from foveate.cost.vision.encoder import Media
from foveate.errors import BudgetError, InputError
from foveate.measure.run.measure import measure
from foveate.measure.run.runner import Amount
from foveate.planner.measured import Measured, of_task, pareto, read_measured
from foveate.planner.reduction import plan_reduction
from foveate.planner.suggestion import Suggestion
from foveate.records.intervals import Difference

LAYERS, N = 8, 60
# accuracy is a count of six questions in turn that are answered right
RIGHT = {
    ("unreduced", 1.0): 6, ("fovea", 0.25): 5, ("aim", 0.25): 3, ("fastv", 0.5): 4,
    ("divprune", 0.0625): 1, ("resize", 0.25): 2, ("resize", 0.0625): 0,
}  # fmt: skip


def write_run(path, right=RIGHT, tasks=("reasoning", "ocr"), layers=LAYERS, **more):
    """A file as `foveate measure` writes it."""
    start = {
        "kind": "run", "model": "foveate-mini", "family": "llava_onevision", "layers": layers,
        "weights": "abc", "dtype": "float32", "device": "cpu", "gpu": None, "threads": 1,
        "tasks": [{"name": task} for task in tasks], "conditions": {},
    }  # fmt: skip
    rows = [start]
    for name, share in right:
        made = foveate.Reduction()
        if name not in ("unreduced", "resize"):
            made = foveate.methods()[name].build.for_share(share, LAYERS)
            made = foveate.reduction.as_reduction(made)
        row = {"kind": "setting", "method": name, "budget": share, "knobs": repr(made)}
        row["role"] = "baseline" if name == "resize" else "method"
        row["reduction"] = None if name == "resize" else made.to_dict()
        rows.append(row | more)
    for task in tasks:
        for (name, share), count in right.items():
            cell = {"kind": "answer", "task": task, "method": name, "budget": share}
            took = dict.fromkeys(
                ("visual_tokens_in", "visual_tokens_to_llm", "llm_flops", "llm_flops_unreduced", "flops",
                 "kv_bytes", "kv_bytes_unreduced"), 1)  # fmt: skip
            rows += [
                {**cell, **took, "index": i, "score": float(i % 6 < count - (task == "ocr"))}
                for i in range(N)
            ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_the_most_accurate_method_that_fits_is_chosen(tmp_path):
    file = write_run(tmp_path / "x.jsonl")
    whole = plan_reduction("foveate-mini", 1.0, measured=file)
    assert (whole.method, whole.accuracy) == ("unreduced", 1.0)
    assert whole.reduction.is_off
    plan = plan_reduction("foveate-mini", 0.45, measured=file)
    assert plan.reduction == foveate.Fovea.for_share(0.25, LAYERS)
    assert (plan.method, plan.accuracy) == ("fovea", pytest.approx(5 / 6))
    assert plan.difference.mean == pytest.approx(-1 / 6)
    assert plan.difference.low < plan.difference.mean < plan.difference.high < 0
    assert plan.flops_share <= 0.45
    assert plan.beats_resizing
    assert "better than resizing the picture to 0.25 (+50.0 points" in plan.why
    assert "the most accurate of 3 settings that fit, of 5 measured on reasoning" in plan.why
    assert plan.questions == N
    shown = "83.3% of 60 questions right (-16.7 points, "
    assert all(shown in text for text in (plan.summary, repr(plan), plan._repr_html_()))
    reading = plan_reduction("foveate-mini", 0.45, task="ocr", measured=str(file))
    assert reading.accuracy == pytest.approx(4 / 6)
    with pytest.raises(BudgetError, match=r"the cheapest is foveate\.DivPrune\(keep=0\.0625\) at"):
        plan_reduction("foveate-mini", 0.01, measured=file)


def test_what_does_not_pay_is_not_chosen(tmp_path):
    file = write_run(tmp_path / "x.jsonl")
    host = Calibration("host", 0.0, 0.0, 0.0, 1.0, None, {})  # each operation costs a launch
    plan = plan_reduction("foveate-mini", 1.0, measured=file, machine=host)
    assert plan.reduction.is_off
    assert "(4 that fit but are slower than unreduced left out)" in plan.why
    with pytest.raises(BudgetError, match=r"no plan that fits 45\.0% .* pays on host: foveate\."):
        plan_reduction("foveate-mini", 0.45, measured=file, machine=host)


def test_a_budget_with_encoder_is_held_against_what_was_measured(tmp_path):
    file = write_run(tmp_path / "x.jsonl")
    plans = [
        plan_reduction("foveate-mini", budget, Media(frames=8), measured=file)
        for budget in (0.45, "70% with encoder", "80% with encoder")
    ]
    assert [plan.method for plan in plans] == ["fovea", "divprune", "fovea"]
    assert all(plan.request_share > plan.flops_share for plan in plans)


def test_it_is_said_when_nothing_beats_resizing(tmp_path):
    right = {**RIGHT, ("resize", 0.25): 5}
    plan = plan_reduction("foveate-mini", 0.45, measured=write_run(tmp_path / "x.jsonl", right))
    assert plan.beats_resizing is False
    assert "nothing that fits beats resizing the picture to 0.25 (+0.0 points" in plan.why
    assert plan.method == "fovea"  # the best that is a reduction
    without = {key: count for key, count in RIGHT.items() if key[0] != "resize"}
    plan = plan_reduction("foveate-mini", 0.45, measured=write_run(tmp_path / "y.jsonl", without))
    assert plan.beats_resizing is None
    assert "no resizing that fits was measured" in plan.why


def test_the_task_decides_which_answers_count(tmp_path):
    rows = read_measured(write_run(tmp_path / "x.jsonl"))
    assert {row.task for row in rows} == {"reasoning", "ocr", "mean"}
    assert {row.task for row in of_task(rows, "mean")} == {"mean"}
    with pytest.raises(InputError, match=r"nothing was measured on 'video'; .* on ocr, reasoning"):
        of_task(rows, "video")
    with pytest.raises(InputError, match="there are answers on no task"):
        of_task([], "ocr")
    own = write_run(tmp_path / "own.jsonl", tasks=("papers", "signs"))
    plan = plan_reduction("foveate-mini", 0.45, measured=own)
    assert "measured on the mean of the tasks" in plan.why
    assert plan.accuracy == pytest.approx(5 / 6)
    assert plan_reduction("foveate-mini", 0.45, task="signs", measured=own).why.count("on signs")
    only = write_run(tmp_path / "only.jsonl", tasks=("ocr",))
    with pytest.raises(InputError, match="nothing was measured on 'reasoning'"):
        plan_reduction("foveate-mini", 0.45, measured=only)


def test_a_file_of_another_model_or_of_other_knobs_is_refused(tmp_path):
    with pytest.raises(
        InputError, match="of a model of layers 28, this one has 8; measure this one"
    ):
        plan_reduction("foveate-mini", 0.45, measured=write_run(tmp_path / "x.jsonl", layers=28))
    # an older file holds no reduction: it is made again from its share, and must be the same
    old = write_run(tmp_path / "old.jsonl", reduction=None)
    assert plan_reduction("foveate-mini", 0.45, measured=old).method == "fovea"
    other = write_run(tmp_path / "other.jsonl", reduction=None, knobs="AIM(keep=0.9)")
    with pytest.warns(
        UserWarning, match="fovea at 0.25 is left out: .* measure it again"
    ) as warned:
        assert plan_reduction("foveate-mini", 1.0, measured=other).method == "unreduced"
    assert len(warned) == 4
    for name, value, message in (
        ("model", "other/mini", "is of other/mini, not of foveate-mini"),
        ("family", "qwen2_vl", "of a model of family qwen2_vl, this one has llava_onevision"),
    ):
        lines = (tmp_path / "old.jsonl").read_text().splitlines()
        lines[0] = json.dumps({**json.loads(lines[0]), name: value})
        (tmp_path / "theirs.jsonl").write_text("\n".join(lines))
        with pytest.raises(InputError, match=message):
            plan_reduction("foveate-mini", 0.45, measured=tmp_path / "theirs.jsonl")
    with pytest.raises(InputError, match="no such file of records"):
        plan_reduction("foveate-mini", 0.45, measured=tmp_path / "none.jsonl")
    (tmp_path / "report.json").write_text('{"rows": []}')
    with pytest.raises(InputError, match="is not a file of `foveate measure`"):
        plan_reduction("foveate-mini", 0.45, measured=tmp_path / "report.json")


def test_a_method_that_is_not_known_here_is_left_out(tmp_path):
    file = write_run(tmp_path / "x.jsonl")
    file.write_text(file.read_text().replace('"fovea"', '"mine"'))
    with pytest.warns(UserWarning, match="mine at 0.25 is left out: unknown method 'mine'"):
        plan = plan_reduction("foveate-mini", 0.45, measured=file)
    assert plan.method == "aim"


def test_a_run_under_way_hides_no_finished_task_and_luck_is_not_merit(tmp_path):
    file = write_run(tmp_path / "x.jsonl", tasks=("reasoning",))
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    begun = next(row for row in rows if row["kind"] == "answer") | {"task": "ocr"}
    lucky = foveate.Reduction(inside=foveate.VTW(2))
    setting = rows[1] | {"method": "vtw", "budget": 0.3, "knobs": "", "reduction": lucky.to_dict()}
    one = begun | {"task": "reasoning", "method": "vtw", "budget": 0.3, "score": 1.0, "index": 0}
    file.write_text("\n".join(map(json.dumps, [*rows, begun, setting, one])))
    plan = plan_reduction("foveate-mini", 0.45, measured=file)
    assert plan.method == "fovea"
    assert "(1 with too few answers left out)" in plan.why


def test_a_plain_baseline_may_be_best(tmp_path):
    right = {
        ("unreduced", 1.0): 6,
        ("aim", 0.25): 3,
        ("resize-grid", 0.25): 5,
        ("resize-grid", 0.0625): 5,
    }
    plan = plan_reduction("foveate-mini", 0.45, measured=write_run(tmp_path / "x.jsonl", right))
    assert (plan.method, plan.beats_resizing) == ("resize-grid", False)
    assert "no other method that fits does better than resampled features to 0.0625" in plan.why


def test_resizing_alone_is_no_reduction():
    rows = [Measured("reasoning", "resize", 0.5, foveate.Reduction(), 0.9)]
    with pytest.raises(InputError, match="nothing but resizing was measured on 'reasoning'"):
        plan_reduction("foveate-mini", 0.5, measured=rows)


def test_what_a_plan_rests_on_is_one_thing():
    rows = [Measured("reasoning", "aim", 0.5, foveate.AIM(0.5, None), 0.9)]
    with pytest.raises(InputError, match="measured= or on analysis=, got both"):
        plan_reduction("foveate-mini", 0.5, measured=rows, analysis=Suggestion(8, 0.5, (2, 4)))


def test_resizing_costs_as_fewer_tokens_do():
    request = Request.of(foveate.load().model.config, Media(), 9)
    smaller = Measured("t", "resize", 0.25, foveate.Reduction(), 0.5).cost(request)
    assert smaller.visual_tokens_to_llm == request.resized(0.25).visual_tokens
    assert smaller.prefill_flops < request.cost().prefill_flops


def test_rows_by_hand_and_the_front():
    difference, worse = Difference(-0.1, -0.2, 0.0), Difference(-0.4, -0.5, -0.3)
    rows = [
        Measured("reasoning", "aim", keep, foveate.AIM(keep, None), right, found)
        for keep, right, found in ((0.5, 0.91, difference), (0.25, 0.6, worse))
    ]
    plan = plan_reduction("llava-onevision-7b", 0.9, Media(frames=32), measured=rows)
    assert (plan.accuracy, plan.difference) == (0.91, difference)
    pairs = [(2.0, rows[0]), (1.0, rows[1]), (3.0, rows[0])]
    assert [cost for cost, _ in pareto(pairs)] == [1, 2]


def test_measure_plan_reduce(tmp_path):
    file = measure(
        "foveate-mini", tmp_path / "x.jsonl", ["fovea", "fastv", "visionzip", "resize"], [0.5, 0.25],
        ["reasoning"], Amount(samples=6, rounds=0),
    )  # fmt: skip
    vlm = foveate.load("foveate-mini")
    picture = foveate.example("picture")
    inputs = vlm.inputs(picture, "how many digits are there?")
    width, height = read(picture).size
    shown = Media(height=height, width=width)
    for budget in ("70%", "40%"):
        told = run(
            "plan", "foveate-mini", "--budget", budget, "--picture", str(picture), "--text", "30",
            "--measured", str(file), "--json",
        )  # fmt: skip
        plan = foveate.plan("foveate-mini", budget, shown, 30, measured=file)
        assert json.loads(told.stdout) == {
            "task": "reasoning",
            **json.loads(json.dumps(plan.to_dict())),
        }
        assert plan.method in ("fovea", "fastv", "visionzip")
        assert foveate.Reduction.from_dict(plan.to_dict()["reduction"]) == plan.reduction
        with torch.no_grad(), foveate.reduce(vlm.model, plan.reduction) as done:
            vlm.model.generate(**inputs, max_new_tokens=1)
        report = done.report
        cost = Request.of(vlm.model.config, shown, report.text_tokens[0]).cost(plan.reduction)
        assert list(cost.visual_tokens_by_layer) == report.visual_tokens_by_layer[0]
        assert cost.prefill_flops == pytest.approx(report.prefill_flops, rel=0.01)
    # at the door of a prompt only what needs nothing of the encoder can be chosen
    with torch.no_grad(), foveate.reduce(vlm.model, budget="70%", measured=file) as done:
        vlm.model.generate(**inputs, max_new_tokens=1)
    assert done.report.fired
    late = [row for row in read_measured(file) if row.method == "visionzip"]
    with (
        pytest.raises(InputError, match="need something of the encoder: visionzip"),
        foveate.reduce(vlm.model, budget="70%", measured=late),
    ):
        pass
