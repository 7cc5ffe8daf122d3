"""Rules say of a model what was once written by hand of its family: `hand_written.json` keeps that."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from foveate.errors import UnsupportedError
from foveate.models.family import families
from foveate.runtime.watch_encoding import watch_encoding

# of the modules that knew placeholders, LLM, tower, groups, grids and packing by heart
OF_TILES = ("idefics3", "smolvlm")
RECORD = json.loads((Path(__file__).parent / "hand_written.json").read_text())


@pytest.mark.parametrize("name", RECORD)
def test_rules_agree_with_what_was_written_by_hand(name):
    found, recorded = said(families()[name]), RECORD[name]
    if name in OF_TILES and is_by_tile(found):
        found, recorded = by_tile(found), by_tile(recorded)
    assert found == recorded


def is_by_tile(found: dict[str, Any]) -> bool:
    """Whether an entry of the features is a tile, as in transformers 5.17; else it is a sample."""
    return all(len(entry) == 1 for entry in found["media"]["image"]["groups"])


def by_tile(found: dict[str, Any]) -> dict[str, Any]:
    """The same, with each tile of a sample as an entry."""
    image = found["media"]["image"]
    tiles = {
        "groups": [[[0, count]] for entry in image["groups"] for _, count in entry],
        "grids": [[grid] for entry in image["grids"] for grid in entry],
    }
    return {**found, "media": {"image": {**image, **tiles}}}


def said(family: Any) -> dict[str, Any]:
    """What a family says of its tiny model: as a whole, and of several pictures and clips."""
    torch.manual_seed(0)
    model = family.tiny()
    core = model.model
    paths = {id(module): name for name, module in core.named_modules()}

    def path(find: Any) -> str | None:
        try:
            return paths[id(find(core))]
        except UnsupportedError:
            return None

    return {
        "class": type(model).__name__,
        "placeholders": family.placeholders(model.config),
        "language_model": path(family.language_model),
        "grid_positions": family.grid_positions,
        "token_types": family.token_types,
        "llm_arguments": list(family.llm_arguments),
        "merge_at": list(family.merge_at),
        "projector": path(family.projector),
        "encoder_keys": path(family.encoder_keys),
        "vision_layer": path(family.vision_layer),
        "media": {kind: media(family, model, kind) for kind in family.placeholders(model.config)},
    }


def media(family: Any, model: Any, kind: str) -> dict[str, Any]:
    """Groups, grids and patches of each entry of a batch of two samples, and what that is."""
    core, seen = model.model, {}

    def noted(modality: str, encode: Any, arguments: dict[str, Any]) -> Any:
        output = encode()
        groups = family.groups(core, modality, arguments, output.pooler_output)
        grids = family.grids(core, modality, arguments, groups)
        seen["groups"] = [runs(entry) for entry in groups]
        seen["grids"] = [[list(grid) for grid in entry] for entry in grids]
        seen["packed"] = family.packed(core, modality, arguments)
        return output

    inputs = family.tiny_inputs(model.config, [[(kind, 0), (kind, 1)], [(kind, 2)]])
    with torch.no_grad(), watch_encoding(core, noted):
        model(**inputs)
    return {**seen, "inputs": {name: list(value.shape) for name, value in inputs.items()}}


def runs(labels: torch.Tensor) -> list[list[int]]:
    """Label and count of each run of one label."""
    found, counts = labels.unique_consecutive(return_counts=True)
    return [list(run) for run in zip(found.tolist(), counts.tolist(), strict=True)]
