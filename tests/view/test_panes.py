"""What a pane shows is what the `Report` of its answer says, and what the plan said."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from statistics import fmean

import numpy as np
import pytest
from PIL import Image

import foveate
from foveate.ask.examples import FOLDER
from foveate.demo.drawing import draw_token_provenance
from foveate.view.html import document, link, message, render
from foveate.view.panes import regions
from foveate.view.state import State

PICTURE = State(methods=("planner", "fastv", "stride"), layer=7)
CLIP = State(
    example="video-3.webp", question="which digit moves?", methods=("aim", "planner"), layer=4,
    unit="tokens", budget=100,
)  # fmt: skip


@pytest.fixture(scope="module", params=[PICTURE, CLIP], ids=["picture", "clip"])
def asked(request, page):
    """What the page shows of a state."""
    return page.ask(None, request.param, None)


def test_a_pane_is_the_report_of_the_same_request(asked, viewer):
    state = asked.state
    for method, (pane, error) in zip(state.methods, asked.panes, strict=True):
        assert error is None
        assert pane.method == method
        again = viewer.vlm.ask(FOLDER / state.example, state.question, pane.plan.reduction)
        report, lines = again.report, {line.name: line for line in pane.lines}
        assert pane.answer.text == again.text
        assert lines["visual tokens to the LLM"].here == report.visual_tokens_to_llm[0]
        assert lines["visual tokens to the LLM"].unreduced == report.visual_tokens_in[0]
        assert lines["prefill, GFLOP"].here == report.prefill_flops / 1e9
        assert lines["prefill, GFLOP"].unreduced == report.prefill_flops_unreduced / 1e9
        assert lines["KV cache, kB"].here == report.kv_bytes / 1e3
        mean = lines["visual tokens a layer, mean"]
        assert mean.here == fmean(report.visual_tokens_by_layer[0])
        assert [layer.visual_tokens for layer in pane.layers] == report.visual_tokens_by_layer[0]
        assert sum(layer.kv_bytes for layer in pane.layers) == report.kv_bytes
        whole = viewer.vlm.ask(FOLDER / state.example, state.question)
        assert pane.unreduced.text == whole.text


def test_each_pane_keeps_within_the_budget(asked):
    for pane, _ in asked.panes:
        if asked.state.unit == "flops":
            assert pane.plan.request_share <= asked.state.budget / 100
        else:
            assert fmean(pane.answer.report.visual_tokens_by_layer[0]) <= asked.state.budget


def test_stages_are_the_reports(asked):
    for pane, _ in asked.panes:
        here = {line.name: line.here for line in pane.stages}
        seconds = pane.answer.report.seconds
        assert here["prefill, ms"] == 1e3 * seconds["prefill"]
        assert here["encode, ms"] == 1e3 * seconds["encode"]


def test_every_frame_is_drawn_and_told(asked):
    pane = asked.panes[0][0]
    drawn = pane.drawn(asked.state.layer)
    assert len(drawn) == (8 if asked.state.example.endswith(".webp") else 1)
    last = pane.drawn(pane.request.llm.layers - 1)
    report = pane.answer.report
    into, after = report.merged_into[0], report.pruned_after[0]
    for place, one in enumerate(last):
        _, _, start, (rows, columns) = pane.regions[place]
        mine = set(into[start : start + rows * columns]) - {None}
        left = sum(after[token] is None for token in mine)
        assert one.left.startswith(f"{left} of {len(mine)} tokens left")
        assert one.merged.startswith(f"{rows * columns} patches became {len(mine)} tokens")


def test_what_is_pruned_fades_by_layer():
    picture = Image.fromarray(np.full((4, 4, 3), 20, np.uint8))
    draw = [
        np.asarray(
            draw_token_provenance(picture, [0, 1, None, 3], [2, 4, None, None], (2, 2), n)[2]
        )
        for n in (1, 2, 4)
    ]
    bright = [
        [view[y : y + 140, x : x + 140].mean() for y in (2, 146) for x in (2, 146)] for view in draw
    ]
    faded = [[part > 100 for part in parts] for parts in bright]
    assert faded == [
        [False, False, True, False],
        [True, False, True, False],
        [True, True, True, False],
    ]


def test_tiles_that_are_not_known_are_not_drawn(viewer):
    prompt = viewer.prompt(str(foveate.example()), "what colour is the 0?")
    request, (picture,) = prompt.request, prompt.pictures
    assert [region.grid for region in regions(picture, request)] == [(12, 12)]

    grids = (12, 12), (12, 12)
    tiles = replace(request.encoded, groups=(144, 144), grids=grids)
    assert list(regions(picture, replace(request, groups=(144, 144), encoded=tiles))) == []


class Page(HTMLParser):
    """Tags with their attributes, and cells by the name that they carry."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.exact = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append((tag, found))
        if "data-exact" in found:
            self.exact.append((found["data-name"], float(found["data-exact"])))


def test_the_page_holds_the_numbers_and_texts_for_every_image(asked):
    page = Page(render(asked.panes, asked.state))
    lines = [line for pane, _ in asked.panes for line in (*pane.lines, *pane.stages)]
    assert page.exact == [(line.name, pytest.approx(line.here)) for line in lines]
    images = [found for tag, found in page.tags if tag == "img"]
    assert images
    assert all(found["alt"] and found["src"].startswith("data:image/png") for found in images)
    assert all(found.get("scope") for tag, found in page.tags if tag == "th")


def test_the_json_is_the_reports_document(asked):
    panes = [pane for pane, _ in asked.panes]
    written = json.loads(document(panes, asked.state))
    assert written["link"] == asked.state.query
    assert written["unreduced"]["report"] == panes[0].unreduced.report.to_dict()
    for pane, cell in zip(panes, written["panes"], strict=True):
        assert cell["report"] == pane.answer.report.to_dict()
        assert cell["plan"]["why"] == pane.plan.why


def test_a_text_is_no_markup():
    assert "<b>" not in message("<b>")
    own = link("http://127.0.0.1:1/", State(example=""))
    assert "cannot travel" in own
    assert 'href="http://127.0.0.1:1/?model=foveate-mini&amp;' in link(
        "http://127.0.0.1:1/", State()
    )
