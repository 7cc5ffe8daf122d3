"""What the LLM is called with once merged rows are taken out."""

from collections.abc import Mapping
from typing import Any

from foveate.runtime.llm_arguments import of_rows
from foveate.runtime.prefill import Prefill
from foveate.runtime.refusals import refuse_unmasked
from foveate.runtime.rows import gather_rows
from foveate.runtime.splice import Spliced
from foveate.runtime.target import Target


def without_merged(
    call: Mapping[str, Any], prefill: Prefill, spliced: Spliced, target: Target
) -> dict[str, Any]:
    """The LLM's arguments for the rows that stay, and the prefill told of it.

    Args:
        call: the arguments for all rows.
        prefill: under way.
        spliced: which rows stay, and what is in them.
        target: the model.

    Raises:
        UnsupportedError: rows are padded, and the attention implementation is handed no mask.
    """
    index = prefill.compressed(spliced)
    rows, positions = prefill.rows, call.get("position_ids")
    if target.family.grid_positions and positions is not None:
        # the places on the grid alone: a fourth row only tells packed sequences apart
        positions = positions if positions.dim() == 2 else positions[-3:]
    else:
        positions = prefill.mask_inputs.positions
        prefill.offset = (~spliced.stays & prefill.prompt.valid).sum(1)
    positions = positions.gather(-1, index.expand(*positions.shape[:-1], -1))
    refuse_unmasked(target.llm.config, rows.mask)
    mask = rows.mask if prefill.history is None else None  # there each layer is handed its own
    if prefill.cache is None and mask is None and bool((positions.diff(dim=-1) != 1).any()):
        # without a cache and a mask transformers takes a gap for the seam of two documents
        mask = rows.valid
    others = {name: of_rows(value, index, spliced.stays.shape[1]) for name, value in call.items()}
    return others | {
        "position_ids": positions,
        "inputs_embeds": gather_rows(spliced.embeds, index),
        "attention_mask": mask,
    }
