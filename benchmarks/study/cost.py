"""What an answer of a cell costs up to its first token: encoder, compressor or merging, and the LLM."""

from functools import cache
from typing import Any

import foveate
from benchmarks.compressors.cell import RIVALS, Rival
from benchmarks.study.cells import TRAINING_FREE, Cell
from benchmarks.study.pictures import PATCHES
from benchmarks.study.sizes import SIZES, fresh
from foveate.cost.request import request_cost
from foveate.cost.vision.encoder import Media
from foveate.models.compressed.config import CompressedConfig
from foveate.models.compressed.question import question_flops
from foveate.registry import method

QUERY_TOKENS = 15  # a question of the study with its chat marks


def rival_of(cell: Cell) -> Rival:
    """How a cell's compressor is made; at all patches there is none."""
    return RIVALS["average-pool" if cell.tokens == PATCHES else cell.compressor]


def request_flops(cell: Cell) -> int:
    """Of a picture, or of the frames that a cell sees, and a question; nothing of it is cached."""
    free = cell.compressor in TRAINING_FREE
    config = _config(cell.source if free else cell)
    media = Media(images=1) if cell.frames is None else Media(frames=cell.frames)
    merge = method(cell.compressor).build(keep=cell.tokens / PATCHES) if free else None
    cost = request_cost(config, media, QUERY_TOKENS, merge, answer_tokens=1)
    if config.query_encoding == "none":
        return cost.flops
    return cost.flops + question_flops(config.text_config, config.query_encoding, QUERY_TOKENS)


def _config(cell: Cell) -> CompressedConfig:
    described = _stock(cell.size) | rival_of(cell).settings(cell.tokens)
    return CompressedConfig(**described)


@cache
def _stock(size: str) -> dict[str, Any]:
    """The configuration of a size without a compressor."""
    mini = foveate.load("foveate-mini")
    described = fresh(SIZES[size], mini, seed=0).config.to_dict()
    return {k: v for k, v in described.items() if k not in ("model_type", "architectures")}
