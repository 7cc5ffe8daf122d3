"""What a cell's answer costs, against the operations that torch counts."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import foveate
from benchmarks.study.cells import Cell
from benchmarks.study.cost import QUERY_TOKENS, request_flops, rival_of
from benchmarks.study.sizes import SIZES, fresh
from foveate.models.compressed import with_compressor


def counted(cell: Cell) -> int:
    """Matrix products of the encoder, the compressor and the LLM that reads what they leave."""
    mini = foveate.load("foveate-mini")
    model = with_compressor(
        fresh(SIZES[cell.size], mini, seed=0), **rival_of(cell).settings(cell.tokens)
    ).eval()
    core, frames = model.model, cell.frames or 1
    core.language_model.config._attn_implementation = "eager"
    core.vision_tower.config._attn_implementation = "eager"
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        tower = core.vision_tower(torch.zeros(frames, 3, 144, 144), output_hidden_states=True)
        question = None
        if rival_of(cell).query != "none":
            question = torch.zeros(1, 1, core.config.text_config.hidden_size)
        visual = core.compress(list(tower.hidden_states), question, cell.tokens)
        rows = frames * cell.tokens + QUERY_TOKENS
        width = visual.shape[-1]
        states = core.language_model(inputs_embeds=torch.zeros(1, rows, width)).last_hidden_state
        model.lm_head(states[:, -1])
    return counter.get_total_flops()


@pytest.mark.parametrize(
    "cell",
    [
        Cell("40k", "tokenpacker", 144, 0),
        Cell("210k", "tokenpacker", 16, 0),
        Cell("1.3M", "quecc", 4, 0),
        Cell("210k", "tokenpacker", 4, 0, frames=4),
    ],
    ids=str,
)
def test_a_request_costs_what_torch_counts(cell: Cell) -> None:
    assert request_flops(cell) == pytest.approx(counted(cell), rel=0.03)


def test_merging_costs_less_than_compressing_and_more_than_drawing_lots() -> None:
    costs = {
        name: request_flops(Cell("90k", name, 4, 0))
        for name in ("random", "fovea-merge", "tokenpacker")
    }
    assert costs["random"] < costs["fovea-merge"] < costs["tokenpacker"]
