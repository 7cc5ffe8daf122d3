"""A report is made of its samples: what they take adds up, and its JSON is as its page says."""

import copy
import json
import pickle
import re
from dataclasses import fields
from pathlib import Path

import pytest
import torch

import foveate
from foveate.ask.vlm import Answer
from foveate.compress.aim import AIMMerge
from foveate.cost.llm import kv_elements_per_row, prefill_cost
from foveate.models.family import families
from foveate.prune.aim import AIMPrune
from foveate.records.read import PARTS
from foveate.report import STAGES, Report, SampleReport, Totals, divide
from foveate.runtime.seams import cache_in
from foveate.testing import tiny

PAGE = (Path(__file__).parent.parent / "docs" / "report.md").read_text()
MERGE, PRUNE = AIMMerge(0.5), AIMPrune((1, 3))
BOTH = foveate.Reduction(before=MERGE, inside=PRUNE)


def prefill(model, samples, reduction, padding="left"):
    """A ragged batch of images: its inputs, its report, and its KV cache."""
    modality = next(iter(families()[model.config.model_type].placeholders(model.config)))
    pictures = [[(modality, size) for size in sizes] for sizes in samples]
    inputs = families()[model.config.model_type].tiny_inputs(model.config, pictures, padding)
    with torch.no_grad(), foveate.reduce(model, reduction) as run:
        out = model(**inputs, use_cache=True)
    return inputs, run.report, cache_in(out)


RAGGED = [[0], [], [2, 1], [3]]


@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_vl", "gemma3"])
def test_bytes_of_the_cache_are_the_samples_and_the_padding(family, padding):
    model, _ = tiny(family)
    for reduction in (BOTH, foveate.Reduction()):
        inputs, report, cache = prefill(model, RAGGED, reduction, padding)
        own, padded = [0] * len(RAGGED), 0
        for number, layer in enumerate(cache.layers):
            computed = [s.visual_tokens_by_layer[number] + s.text_tokens for s in report.samples]
            held, longest = layer.keys.shape[2], max(computed)
            row_bytes = 2 * layer.keys[0, :, 0].nbytes
            for sample, rows in enumerate(computed):
                # the cache keeps the last rows of the padded batch
                lost = longest - held if padding == "right" else max(rows - held, 0)
                mine = max(rows - lost, 0)
                own[sample] += mine * row_bytes
                padded += (held - mine) * row_bytes
        assert [sample.kv_bytes for sample in report.samples] == own
        assert report.kv_padding_bytes == padded > 0
        assert report.kv_bytes == sum(l.keys.nbytes + l.values.nbytes for l in cache.layers)
        assert report.kv_bytes == sum(own) + padded
    # the last was off: all of the prompt that a cache held then is what the first was compared with
    first = prefill(model, RAGGED, BOTH, padding)[1]
    assert [s.kv_bytes_unreduced for s in first.samples] == own
    assert first.kv_padding_bytes_unreduced == padded
    assert inputs["attention_mask"].sum(1).tolist() == [
        s.visual_tokens_in + s.text_tokens for s in report.samples
    ]


def test_a_sliding_layer_holds_a_row_less_than_its_window():
    model, _ = tiny("gemma3")
    window = model.config.text_config.sliding_window
    _, report, cache = prefill(model, [[0, 1]], foveate.Reduction())
    (sample,) = report.samples
    rows = sample.visual_tokens_in + sample.text_tokens
    assert rows > window
    sliding = [layer.is_sliding for layer in cache.layers]
    assert 0 < sum(sliding) < len(sliding)
    held = sum(window - 1 if slides else rows for slides in sliding)
    assert sample.kv_bytes == 4 * held * kv_elements_per_row(model.config)
    assert sample.kv_bytes == 4 * prefill_cost(model.config, [sample.visual_tokens_in] * 6,
                                               sample.text_tokens).kv_elements  # fmt: skip
    assert report.kv_padding_bytes == 0


def test_a_sample_pays_for_its_own_groups_and_an_equal_part_of_scoring():
    model, _ = tiny("qwen2_vl")  # a picture is a group
    text = model.config.text_config
    _, report, _ = prefill(model, RAGGED, BOTH)
    alone = [
        prefill(model, [[size]], foveate.Reduction())[1].visual_tokens_in[0]
        for size in range(1 + max(map(max, filter(None, RAGGED))))
    ]
    rows = [
        max(s.visual_tokens_by_layer[layer] + s.text_tokens for s in report.samples)
        for layer, kept in PRUNE.schedule(6).items()
        if kept  # where all go none is rated
    ]
    heads = text.num_attention_heads
    scoring = sum(PRUNE.flops(n, heads, text.hidden_size // heads) for n in rows)
    for sizes, sample in zip(RAGGED, report.samples, strict=True):
        merging = sum(MERGE.flops(alone[size], text.hidden_size) for size in sizes)
        llm = prefill_cost(text, sample.visual_tokens_by_layer, sample.text_tokens).flops
        assert sample.prefill_flops == llm + merging + scoring
        full = [sample.visual_tokens_in] * len(sample.visual_tokens_by_layer)
        assert sample.prefill_flops_unreduced == prefill_cost(text, full, sample.text_tokens).flops
    assert report.prefill_flops == sum(sample.prefill_flops for sample in report.samples)


@pytest.mark.parametrize("family", ["llava_next", "qwen2_vl", "mistral3"])
def test_a_sample_pays_for_what_its_pictures_took_of_the_encoder(family):
    """Attention received in a vision layer: in a batch of pictures, or all packed in a sequence."""
    model, _ = tiny(family)
    model.eval()
    method = foveate.create("visionzip", keep=0.3)
    samples = [[0], [], [1, 0], [1]]
    _, report, _ = prefill(model, samples, method)
    packed = family != "llava_next"
    for sizes, sample in zip(samples, report.samples, strict=True):
        mine = sample.prefill_flops
        if not sizes:
            assert mine == sample.prefill_flops_unreduced
            continue
        alone = prefill(model, [sizes], method)[1].prefill_flops
        # tiles of all pictures are one batch: that goes by visual tokens
        assert mine == (alone if packed else pytest.approx(alone, rel=0.02))
    assert report.prefill_flops == sum(sample.prefill_flops for sample in report.samples)


def test_beams_share_what_was_computed_once():
    model, inputs = tiny("llava_onevision")
    with torch.no_grad(), foveate.reduce(model, foveate.AIM(0.5, (1, 3))) as run:
        model(**inputs)
        model.generate(**inputs, max_new_tokens=2, num_beams=2, do_sample=False)
    one, two = run.reports
    assert [s.visual_tokens_in for s in two.samples] == 2 * one.visual_tokens_in
    assert abs(two.samples[0].prefill_flops - two.samples[1].prefill_flops) <= 1


def test_a_whole_is_divided_to_the_last():
    assert divide(10, [1, 1, 1]) == [3, 3, 4]
    assert divide(6, [1, 0, 2]) == [2, 0, 4]
    assert divide(0, [0, 0]) == [0, 0]
    assert divide(7, []) == []
    weights = [3, 1, 4, 1, 5, 9]
    assert divide(sum(weights), weights) == weights
    for whole in range(40):
        parts = divide(whole, weights)
        assert sum(parts) == whole
        for part, weight in zip(parts, weights, strict=True):
            assert abs(part - whole * weight / sum(weights)) < 1


# --- words ----------------------------------------------------------------------------------------


def sample_report(**changed) -> SampleReport:
    known = {
        "visual_tokens_in": 196, "visual_tokens_to_llm": 49, "visual_tokens_by_layer": [49, 20],
        "text_tokens": 7, "prefill_flops": 31_000, "prefill_flops_unreduced": 100_000,
        "kv_bytes": 40, "kv_bytes_unreduced": 100, "merged_into": [0] * 196,
        "pruned_after": [None] * 49,
    }  # fmt: skip
    return SampleReport(**{**known, **changed})


SECONDS = {"encode": 0.25, "compress": 0.5, "score": 4.0, "prefill": 1.0, "decode": 8.0}


def report_of(*samples: SampleReport, **more) -> Report:
    return Report(list(samples or [sample_report()]), dict(SECONDS), True, **more)


def test_an_answer_is_one_line():
    line = "196 visual tokens, 49 to the LLM, 31% of the prefill FLOPs, 40% of the KV cache"
    report = report_of()
    assert report.summary == line
    assert repr(report) == f"Report({line})"
    assert repr(Answer("it's 3", report)) == f"""Answer("it's 3", {line})"""
    batch = report_of(sample_report(), sample_report(visual_tokens_in=4, kv_bytes=0))
    assert batch.summary.startswith("2 samples, 200 visual tokens, 98 to the LLM, 31% ")
    assert batch.summary.endswith("20% of the KV cache")
    assert Answer("3", report) == Answer("3", report_of())
    assert Answer("3", report) != Answer("3", report_of(sample_report(text_tokens=8)))


def test_a_notebook_shows_a_table_of_escaped_text():
    shown = Answer("<script>1 & 2</script>", report_of())._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;1 &amp; 2" in shown
    assert shown.endswith(report_of()._repr_html_())
    cells = re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", report_of()._repr_html_())
    assert cells[:4] == ["", "unreduced", "this run", "share"]
    assert {"196", "49", "31%", "40%", "1,750"} < set(cells)
    assert shown.count("<tr>") == shown.count("</tr>") == 6
    assert (shown.count('<th scope="col">'), shown.count('<th scope="row">')) == (4, 5)


def test_totals_are_of_many_prefills():
    sums = Totals()
    assert str(sums) == "no visual token was seen"
    sums.add(report_of())
    sums.add(report_of(sample_report(prefill_flops=70_000), sample_report(), kv_padding_bytes=20))
    assert (sums.samples, sums.visual_tokens_in, sums.visual_tokens_to_llm) == (3, 588, 147)
    assert sums.flops_share == pytest.approx(0.44)
    assert sums.kv_share == pytest.approx(140 / 300)
    assert str(sums).startswith("3 samples, 588 visual tokens")


def test_where_nothing_was_seen_there_is_no_share():
    nothing = Report([], {}, False)
    assert (nothing.totals.flops_share, nothing.totals.kv_share) == (None, None)
    cells = re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", nothing._repr_html_())[4:]
    assert cells == ["samples", "", "0", "", "visual tokens to the LLM", "0", "0", "",
                     "prefill, GFLOP", "0", "0", "-", "KV cache, MB", "0", "0", "-",
                     "to the first token, ms", "", "0", ""]  # fmt: skip
    assert Answer("", nothing)._repr_html_().endswith(nothing._repr_html_())
    uncached = report_of(sample_report(kv_bytes=0, kv_bytes_unreduced=0))
    assert uncached.summary.endswith("31% of the prefill FLOPs, - of the KV cache")


def test_stages_have_one_vocabulary():
    model, inputs = tiny("llava_onevision")
    with torch.no_grad(), foveate.reduce(model, BOTH) as run:
        model(**inputs)
    assert tuple(run.report.seconds) == STAGES
    assert tuple(f"{stage}_ms" for stage in STAGES) == PARTS
    assert report_of().first_token_seconds == 1.75  # score is part of prefill


# --- its page -------------------------------------------------------------------------------------


def section(title: str) -> str:
    return re.split(r"^## ", PAGE.split(f"## {title}\n")[1], flags=re.MULTILINE)[0]


def keys_of_table(title: str) -> list[str]:
    return re.findall(r"^\| `(\w+)` \|", section(title), re.MULTILINE)


def test_the_page_names_every_key_and_no_other():
    told = json.loads(report_of().to_json())
    assert sorted(keys_of_table("Of the batch")) == sorted(told)
    assert keys_of_table("Stages") == list(STAGES)
    own = set(told["samples"][0])
    assert own == {part.name for part in fields(SampleReport)}
    listed = section("Of each sample").split("FLOPs of the samples")[0]
    assert set(re.findall(r"`(\w+)`", listed)) == own | {"samples"}


def test_the_example_on_the_page_is_true(capsys):
    example = json.loads(re.findall(r"```json\n(.*?)```", PAGE, re.S)[0])
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    exec(compile(code, "docs/report.md", "exec"), {})
    told = json.loads(capsys.readouterr().out)
    assert list(told) == list(example)
    # which token goes where is a near tie that another torch may decide otherwise; times are times
    apart = {"merged_into", "pruned_after", "seconds", "samples"}
    assert {k: v for k, v in told.items() if k not in apart} == {
        k: v for k, v in example.items() if k not in apart
    }
    assert list(told["seconds"]) == list(example["seconds"])
    for mine, shown in zip(told["samples"], example["samples"], strict=True):
        assert list(mine) == list(shown)
        assert {k: v for k, v in mine.items() if k not in apart} == {
            k: v for k, v in shown.items() if k not in apart
        }
    assert [len(places) for places in example["merged_into"]] == example["visual_tokens_in"]


def test_a_dictionary_is_a_copy():
    report = report_of()
    told = report.to_dict()
    told["merged_into"][0].clear()
    told["samples"][0]["pruned_after"].clear()
    told["seconds"].clear()
    assert report == report_of()


def test_a_report_is_copied_and_pickled_as_what_it_says():
    model, inputs = tiny("llava")
    with torch.no_grad(), foveate.reduce(model, BOTH) as run:
        model(**inputs)
    for other in (copy.deepcopy(run.report), pickle.loads(pickle.dumps(run.report))):
        assert other.to_dict() == run.report.to_dict()
        assert type(other) is Report
