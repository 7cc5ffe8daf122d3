import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import foveate
from foveate.cli import app
from foveate.measure.analyze.analysis import (
    KEEPS,
    Trials,
    Tried,
    analyze,
    attention_masses,
    milder,
    suggest,
)
from foveate.measure.analyze.figure import draw
from foveate.measure.analyze.hiding import _covered, agreement
from foveate.measure.analyze.probes import DropAfter, Similarity, attention_received
from foveate.measure.tasks import task
from foveate.records.intervals import Difference
from foveate.reduction import Reduction


@pytest.mark.parametrize("block", [3, 512])
def test_attention_received_is_that_of_the_whole_matrix(block):
    torch.manual_seed(0)
    query, key = torch.randn(2, 4, 11, 8), torch.randn(2, 2, 11, 8)
    visual = torch.zeros(2, 11, dtype=torch.bool)
    visual[0, 2:6] = visual[1, 4:5] = True
    found = attention_received(query, key, visual, block=block)
    for sample in range(2):
        rows = []
        for row in range(int(visual[sample].nonzero().min()), 11):
            if visual[sample, row]:
                continue
            for head in range(4):
                logits = key[sample, head // 2, : row + 1] @ query[sample, head, row] * 8**-0.5
                rows.append(torch.cat([logits.softmax(0), torch.zeros(10 - row)]))
        torch.testing.assert_close(found[sample], torch.stack(rows).mean(0))


def test_attention_masses_are_those_of_eager_attention():
    vlm = foveate.load("foveate-mini")
    item = task("reasoning").item(0)
    inputs = vlm.batch([(item.media, item.question)])
    found = attention_masses(vlm, [inputs])
    vlm.model.set_attn_implementation("eager")
    with torch.no_grad():
        maps = vlm.model(**inputs, output_attentions=True).attentions
    visual = inputs["input_ids"][0] == vlm.model.config.image_token_id
    behind = ~visual & (visual.cumsum(0) > 0)
    received = [layer[0][:, behind].mean((0, 1)) for layer in maps]
    seen = [float(layer[visual].sum()) for layer in received]
    assert found["visual"] == pytest.approx(seen, abs=1e-4)
    assert found["first"] == pytest.approx([float(layer[0]) for layer in received], abs=1e-4)
    peaks = [float(layer[visual].max()) for layer in received]
    assert found["peak"] == pytest.approx(
        [peak / total for peak, total in zip(peaks, seen, strict=True)], abs=1e-3
    )


def test_similarity_by_hand():
    probe = Similarity()
    one, two = [1.0, 0.0], [0.0, 1.0]
    probe(torch.tensor([[one, one, two, one]]))
    assert probe.neighbours == pytest.approx([1 / 3])  # alike, then twice not
    assert probe.merged == pytest.approx([0.5])  # the first even token has a twin, the other none


def test_hiding_pictures_is_dropping_them():
    vlm = foveate.load("foveate-mini")
    prompts = []
    for index in range(3):
        item = task("reasoning").item(index)
        prompts.append(vlm.batch([(item.media, item.question)]))
    found = agreement(vlm, prompts, hide="visual")
    for layer in range(7):
        same = 0
        for inputs in prompts:
            with torch.no_grad():
                whole = vlm.model(**inputs).logits[0, -1].argmax()
                with foveate.reduce(vlm.model, Reduction(inside=DropAfter(layer))):
                    dropped = vlm.model(**inputs).logits[0, -1].argmax()
            same += bool(whole == dropped)
        assert found[layer] == same / 3
    assert found[7] == 1
    assert agreement(vlm, prompts, hide="text")[7] == 1


@pytest.mark.parametrize("kind", [None, torch.bool, torch.float32])
def test_hidden_tokens_are_seen_by_themselves_alone(kind):
    causal = torch.ones(1, 1, 3, 3, dtype=torch.bool).tril()
    mask = {
        None: None,
        torch.bool: causal,
        torch.float32: torch.zeros(1, 1, 3, 3).masked_fill(~causal, -1e30),
    }[kind]
    found = _covered(mask, torch.tensor([[True, False, False]]))
    seen = found if found.dtype == torch.bool else found > -1e29
    assert seen[0, 0].tolist() == [
        [True, False, False],
        [False, True, False],
        [False, True, True],
    ]


def tried(what, lows):
    return [
        Tried(what, value, 0.5, Difference(0.0, float(low), 0.0)) for value, low in lows.items()
    ]


@pytest.mark.parametrize(
    ("drops", "prune"),
    [
        ([-0.5, -0.1, -0.01, 0, 0, 0, 0], (1, 3)),
        ([0, -0.1, 0, -0.03, 0, 0, 0], (3, 5)),
        ([0] * 7, (0, 1)),
        ([-0.5] * 7, None),
    ],
)
def test_suggestion(drops, prune):
    rows = tried("drop after", dict(enumerate(drops)))
    for lows, keep in (([0, 0, -0.1, 0], 0.25), ([-0.1, 0, 0, 0], 1.0), ([0] * 4, 0.0625)):
        found = suggest([*rows, *tried("keep", dict(zip(KEEPS, lows, strict=True)))], 8)
        assert found == (prune, keep)


def test_milder_schedules_end_at_none():
    assert list(milder((3, 5), 0.25, 8)) == [
        ((3, 5), 0.25), ((4, 6), 0.25), ((4, 6), 0.5), ((5, 7), 0.5), ((5, 7), 1.0), ((6, 8), 1.0),
        (None, 1.0),
    ]  # fmt: skip
    assert list(milder(None, 0.5, 8)) == [(None, 0.5), (None, 1.0)]
    assert list(milder(None, 1.0, 8)) == [(None, 1.0)]


@pytest.mark.parametrize(
    ("bearable", "prune", "keep"),
    [
        (lambda start, keep: True, (0, 1), 0.0625),
        (lambda start, keep: start >= 2 and keep >= 0.25, (2, 3), 0.25),
        (lambda start, keep: False, None, 1.0),
    ],
)
def test_a_schedule_of_free_parts_is_run_as_a_whole(monkeypatch, bearable, prune, keep):
    def scores(trials, reduction):
        trials.passed(1)
        whole = isinstance(reduction, foveate.AIM) and not reduction.is_off
        start = reduction.prune[0] if whole and reduction.prune else 7
        lost = whole and not bearable(start, reduction.keep)
        return [0.0 if lost and index == 0 else 1.0 for index in range(len(trials.questions))]

    monkeypatch.setattr(Trials, "scores", scores)
    seen = []
    vlm = foveate.load("foveate-mini")
    found = analyze(vlm, [task("reasoning")], 3, progress=lambda *step: seen.append(step))
    assert (found.prune, found.keep) == (prune, keep)
    joint = [row for row in found.tried if row.what == "joint"]
    assert joint[0].value == "keep=0.0625, prune=(0, 1)"
    assert joint[-1].value == f"keep={keep:g}, prune={prune}"
    assert [row.accuracy for row in joint] == [pytest.approx(2 / 3)] * (len(joint) - 1) + [1.0]
    assert joint[-1].difference == Difference(0.0, 0.0, 0.0)
    assert found.unseen == pytest.approx(1 - 0.05 ** (1 / 3))
    assert seen[-1][0] == seen[-1][1]


def test_an_analysis_of_the_small_model(tmp_path):
    seen = []
    vlm = foveate.load("foveate-mini")
    found = analyze(vlm, [task("reasoning")], 3, progress=lambda *step: seen.append(step))
    assert found.questions == {"reasoning": 3}
    assert len(found.visual_mass) == found.layers == 8
    both = zip(found.visual_mass, found.first_mass, strict=True)
    assert all(visual > 0 and first > 0 and visual + first < 1 for visual, first in both)
    assert all(0 < share < 1 for share in found.peak_mass)
    values = [row.value for row in found.tried]
    assert values[: 7 + len(KEEPS)] == [*range(7), *KEEPS]
    assert found.tried[0].accuracy < found.accuracy  # nothing was read yet
    # each picture is two grids and their row ends
    assert len(found.merged["reasoning"]) == 3 * 3
    alike = (found.merged["reasoning"], found.neighbours["reasoning"])
    assert all(merged >= neighbours - 1e-4 for merged, neighbours in zip(*alike, strict=True))
    assert [row.value for row in found.tried if row.what == "score"] == ["aim", "attention"]
    assert len(found.without_text) == len(found.without_visual) == 8
    assert seen[-1][0] == seen[-1][1]
    draw(found, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    plan = foveate.plan(vlm, 1.0, analysis=found)
    assert (plan.keep, plan.prune) == (found.keep, found.prune)


def test_the_file_of_an_analysis_is_where_a_plan_starts(tmp_path):
    file, figure = str(tmp_path / "a.json"), str(tmp_path / "a.png")
    data = ["reasoning", "--samples", "1", "--figure", figure]
    done = CliRunner().invoke(app, ["analyze", "foveate-mini", *data, "--out", file, "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document == json.loads(Path(file).read_text())
    assert document["conditions"]["torch"]
    planning = ["plan", "foveate-mini", "--budget", "100%", "--analysis", file, "--json"]
    plan = json.loads(CliRunner().invoke(app, planning).stdout)
    assert (plan["keep"], plan["prune"]) == (document["keep"], document["prune"])
    vlm = foveate.load("foveate-mini")
    with foveate.reduce(vlm.model, budget="100%", analysis=Path(file)) as run:
        vlm.model.generate(**vlm.inputs(foveate.example("picture"), "what?"), max_new_tokens=1)
    (came,) = run.report.visual_tokens_in
    assert run.report.visual_tokens_to_llm[0] <= came * document["keep"] + 3  # rounded up, a group
