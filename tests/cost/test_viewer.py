"""The llm-viewer convention against the printed tables of AIM (arXiv 2412.03248): TFLOPs and A100 ms."""

import pytest

from foveate.cost.configs import read_config
from foveate.cost.hardware import hardware
from foveate.cost.request import request_cost
from foveate.prune.aim import AIMPrune

ONEVISION, LLAVA, QWEN = "llava-onevision-7b", "llava-1.5-7b", "qwen2-vl-7b"
VIDEO, IMAGE = 100, 40  # text tokens that the tables assume
# model, visual tokens at the LLM, text, (l1, l2), TFLOPs, ms
PRINTED = [
    (ONEVISION, 32 * 196, VIDEO, None, 99.63, 439.58),
    (ONEVISION, 32 * 49, VIDEO, (14, 22), 14.76, 55.03),
    (ONEVISION, 32 * 49, VIDEO, None, 22.90, 83.94),
    (ONEVISION, 192 * 49, VIDEO, (14, 22), 99.27, 471.20),
    (ONEVISION, 32 * 74, VIDEO, (14, 22), 22.06, 84.36),
    (LLAVA, 576, IMAGE, None, 8.18, 29.30),
    (LLAVA, 252, IMAGE, (13, 21), 2.22, 10.92),
    (LLAVA, 72, IMAGE, (13, 21), 1.00, 8.98),
    (QWEN, 4096, VIDEO, None, 61.90, 252.88),
]
SCHEDULES = [  # 32 frames merged to 49 tokens each
    ((28, 29), 22.90, 83.94), ((21, 29), 20.15, 73.61), ((14, 29), 17.41, 63.34), ((7, 29), 14.66, 53.08),
    ((21, 22), 17.50, 65.35), ((14, 22), 14.76, 55.03), ((7, 22), 12.01, 44.75), ((14, 15), 12.10, 46.77),
    ((7, 15), 9.36, 36.44), ((7, 8), 6.71, 28.18),
]  # fmt: skip
SCHEDULES = [(ONEVISION, 32 * 49, VIDEO, prune, *figures) for prune, *figures in SCHEDULES]


@pytest.mark.parametrize(("model", "visual", "text", "prune", "tflops", "ms"), PRINTED + SCHEDULES)
def test_printed_figures(model, visual, text, prune, tflops, ms):
    aim = prune and AIMPrune(prune)
    cost = request_cost(read_config(model), visual, text, aim, convention="llm-viewer")
    # half a unit of the last printed digit
    assert cost.flops / 1e12 == pytest.approx(tflops, abs=0.005)
    assert cost.first_token_ms(hardware("a100")) == pytest.approx(ms, abs=0.005)


def test_what_the_convention_leaves_out():
    config = read_config(ONEVISION)
    viewer = request_cost(config, 1568, 100, AIMPrune((14, 22)), convention="llm-viewer")
    exact = request_cost(config, 1568, 100, AIMPrune((14, 22)))
    assert set(viewer.parts) == {"prefill"}
    assert viewer.visual_tokens_by_layer[14] < exact.visual_tokens_by_layer[14] == 1568
    assert viewer.flops < exact.parts["prefill"].flops  # a layer's pruning is charged to that layer
