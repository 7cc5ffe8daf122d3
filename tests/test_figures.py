"""What reports, answers and plans draw of themselves: their own numbers, and text as it is."""

import sys

import pytest
from PIL import Image

import foveate
from foveate.ask.vlm import Answer
from foveate.errors import InputError, MissingExtraError
from foveate.figures import COLOURS, blank, draw_pairs
from foveate.report import STAGES, Report, SampleReport

pytest.importorskip("matplotlib", reason="matplotlib is not installed (the extra plot)")


def sample(layers, whole=12, share=0.25):
    return SampleReport(whole, layers[0], layers, 5, int(4e9 * share), 4 * 10**9, 10**6, 2 * 10**6)


REPORT = Report([sample([6, 6, 2, 0]), sample([9, 3, 3, 3], whole=20)], {}, True, 0, 10**6)


def curves(axes):
    """Of each sample what is drawn by layer, and the height of its dashed line."""
    lines = [list(line.get_ydata()) for line in axes.lines]
    return lines[::2], [line[0] for line in lines[1::2]]


def lengths(axes):
    """The bars: unreduced, reduced."""
    return [[bar.get_width() for bar in bars] for bars in axes.containers]


def texts(axes):
    return [text.get_text() for text in axes.texts]


def png(figure):
    shown = figure._repr_png_()
    assert shown.startswith(b"\x89PNG")
    return shown


def test_a_report_draws_its_fields():
    figure = REPORT.plot()
    tokens, taken = figure.axes
    assert curves(tokens) == (REPORT.visual_tokens_by_layer, REPORT.visual_tokens_in)
    flops = 100 * REPORT.prefill_flops / REPORT.prefill_flops_unreduced
    cache = 100 * REPORT.kv_bytes / REPORT.kv_bytes_unreduced
    assert lengths(taken) == [[100, 100], pytest.approx([flops, cache])]
    assert (flops, cache) == (25, 40)
    assert texts(taken) == ["25%", "40%"]
    names = [text.get_text() for text in taken.get_yticklabels()]
    assert names == ["prefill\n2 of\n8 GFLOP", "KV cache\n2 of\n5 MB"]
    assert png(figure) == png(REPORT.plot())
    assert png(figure) != png(Report(REPORT.samples[:1], {}, True).plot())


def test_a_report_of_nothing_and_of_many_is_drawn():
    empty = Report([], {}, False).plot()
    assert texts(empty.axes[1]) == ["-", "-"]
    png(empty)
    many = Report([sample([place, 1]) for place in range(20)], {}, True).plot()
    assert curves(many.axes[0])[0] == [[place, 1] for place in range(len(COLOURS))]


def test_an_answer_draws_its_report_its_text_and_the_picture(tmp_path):
    text = "<b>$5 & $6_x^{</b>"  # what matplotlib would take for a formula
    answer = Answer(text, REPORT)
    figure = answer.plot()
    assert figure.get_suptitle() == text
    assert curves(figure.axes[0]) == curves(REPORT.plot().axes[0])
    png(figure)
    Image.new("RGB", (5, 3), "red").save(tmp_path / "red.png")
    shown = answer.plot(tmp_path / "red.png").axes[2].images[0].get_array()
    assert shown.shape == (3, 5, 3)
    assert (shown == (255, 0, 0)).all()
    clip = [Image.new("RGB", (4, 4), colour) for colour in ("blue", "red")]
    clip[0].save(tmp_path / "clip.gif", save_all=True, append_images=clip[1:])
    first = answer.plot(tmp_path / "clip.gif").axes[2].images[0].get_array()
    assert (first == (0, 0, 255)).all()
    with pytest.raises(InputError, match=r"no\.png"):
        answer.plot("no.png")


@pytest.mark.parametrize("budget", ["40%", "60% with encoder"])
def test_a_plan_draws_its_stages_before_and_after(budget):
    plan = foveate.plan("llava-onevision-7b", budget, answer_tokens=8)
    figure = plan.plot()
    assert figure.get_suptitle().startswith("foveate.")
    tokens, flops = figure.axes
    whole = plan.unreduced.visual_tokens_in
    assert curves(tokens) == ([list(plan.cost.visual_tokens_by_layer)], [whole])
    names = [text.get_text() for text in flops.get_yticklabels()]
    assert names == [name for name in STAGES if name in plan.cost.parts]
    assert {"encode", "prefill", "decode"} <= set(names)
    for drawn, cost in zip(lengths(flops), (plan.unreduced, plan.cost), strict=True):
        assert sum(drawn) == pytest.approx(cost.flops / 1e9)
        assert drawn[names.index("prefill")] == pytest.approx(cost.parts["prefill"].flops / 1e9)
    png(figure)


def test_a_plan_is_a_table_of_escaped_text():
    plan = foveate.plan("llava-onevision-7b", "40%")
    shown = type(plan)(plan.reduction, "<i>a & b</i>", plan.cost, plan.unreduced)._repr_html_()
    assert "<i>" not in shown
    assert "<td>&lt;i&gt;a &amp; b&lt;/i&gt;</td>" in shown
    assert f"<td>{plan.summary}</td>" in shown
    assert shown.count('<th scope="row">') == 3


def test_bars_without_an_unreduced_one_have_no_share():
    _, ((axes,),) = blank()
    draw_pairs(axes, {"a": (4.0, 1.0), "b": (0.0, 3.0)}, "both")
    assert texts(axes) == ["25%", "-"]


@pytest.mark.parametrize("missing", ["matplotlib", "matplotlib.figure"])
def test_without_matplotlib_one_line_says_what_to_install(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    plan = foveate.plan("llava-onevision-7b", "40%")
    for drawn in (REPORT, Answer("1", REPORT), plan):
        with pytest.raises(MissingExtraError, match=r'^Drawing needs .*install "foveate\[plot\]"$'):
            drawn.plot()
