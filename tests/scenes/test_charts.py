"""Charts: what is drawn is as high as the plan says, by its pixels, and labels are inside the picture."""

import numpy as np
import pytest

from foveate.scenes import axes, draw
from foveate.scenes.charts import WORDINGS
from foveate.scenes.sample import COLOURS


def near(pixels, colour):
    """Where pixels are of a colour."""
    return np.abs(pixels.astype(int) - COLOURS[colour]).max(axis=-1) < 12


def drawn_charts(kind, size, count=30):
    charts = (draw("charts", "test", index, size=size) for index in range(count))
    return [chart for chart in charts if chart.plan.kind == kind]


def is_at(chart, seen, place, value):
    """Whether a pixel is seen, at a label's place and at a value of the axis."""
    point = (value, place) if chart.plan.lies else (place, value)
    x, up = axes._figure(chart.size).axes.transData.transform(point)
    return seen[chart.size - 1 - int(up), int(x)]


@pytest.mark.parametrize("size", [144, 448])
def test_bars_are_as_long_as_their_values(size):
    charts = drawn_charts("bars", size)
    assert len(charts) > 8
    for chart in charts:
        seen = near(chart.frame(0), chart.plan.colours[0])
        for place, value in enumerate(chart.plan.values[0]):
            for level in range(10):
                assert is_at(chart, seen, place, level + 0.4) == (level < value), chart.plan


@pytest.mark.parametrize("size", [144, 448])
def test_lines_go_through_their_points(size):
    charts = drawn_charts("lines", size)
    assert len(charts) > 8
    for chart in charts:
        pixels = chart.frame(0)
        for colour, values in zip(chart.plan.colours, chart.plan.values, strict=True):
            seen = near(pixels, colour)
            for place, value in enumerate(values):
                for level in range(1, 10):
                    assert is_at(chart, seen, place, level) == (level == value), chart.plan


@pytest.mark.parametrize("size", [144, 448, 1344])
def test_labels_are_inside_and_apart(size):
    for index in range(12):
        draw("charts", "train", index, size=size).frame(0)
        figure = axes._figure(size)
        for axis in (figure.axes.xaxis, figure.axes.yaxis):
            boxes = [text.get_window_extent() for text in axis.get_ticklabels()]
            for number, box in enumerate(boxes):
                assert min(box.x0, box.y0) >= 0
                assert max(box.x1, box.y1) <= size
                assert not any(box.overlaps(other) for other in boxes[:number])


def test_every_family_is_asked_and_bars_may_lie_where_words_fit():
    charts = [draw("charts", "val", index, size=448) for index in range(80)]
    asked = {q.family for chart in charts for q in chart.ask(np.random.default_rng(chart.index))}
    assert asked == set(WORDINGS)
    assert any(chart.plan.lies for chart in charts)
    assert not any(draw("charts", "val", index, size=144).plan.lies for index in range(80))
