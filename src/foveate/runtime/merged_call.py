"""What an LLM is called with once the merged rows are taken out of a prompt."""

from collections.abc import Mapping
from typing import Any

from foveate.runtime.llm_arguments import of_rows
from foveate.runtime.prefill import Prefill
from foveate.runtime.refusals import refuse_unmasked
from foveate.runtime.rows import gather_rows
from foveate.runtime.splice import Spliced


def without_merged(
    prefill: Prefill, spliced: Spliced, call: Mapping[str, Any], cache: Any, *, on_grid: bool
) -> dict[str, Any]:
    """The LLM's arguments for the rows that are left; the prefill is told which.

    Args:
        prefill: the prefill under way.
        spliced: the prompt after compression.
        call: the LLM's arguments for the whole prompt.
        cache: the KV cache that it will fill, if any.
        on_grid: whether merged tokens keep their places on a grid; else what is left is renumbered.

    Raises:
        UnsupportedError: rows are padded now, and the attention implementation is handed no mask.
    """
    index = prefill.compressed(spliced)
    rows, positions = prefill.rows, call.get("position_ids")
    if on_grid and positions is not None:
        # the places on the grid alone: a fourth row only tells packed sequences apart
        positions = positions if positions.dim() == 2 else positions[-3:]
    else:
        positions = prefill.mask_inputs.positions
        prefill.offset = (~spliced.stays & prefill.prompt.valid).sum(1)
    positions = positions.gather(-1, index.expand(*positions.shape[:-1], -1))
    refuse_unmasked(prefill.config, rows.mask)
    mask = rows.mask
    if cache is None and mask is None and bool((positions.diff(dim=-1) != 1).any()):
        # without a cache and a mask transformers takes a gap for the seam of two documents
        mask = rows.valid
    others = {name: of_rows(value, index, spliced.stays.shape[1]) for name, value in call.items()}
    return others | {
        "position_ids": positions,
        "inputs_embeds": gather_rows(spliced.embeds, index),
        "attention_mask": mask,
    }
