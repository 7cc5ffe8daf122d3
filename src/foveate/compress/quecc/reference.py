"""Weights of the published QueCC, under our names."""

from collections.abc import Mapping

from torch import Tensor

from foveate.errors import InputError

OURS = {
    "text_projection.": "text.",
    "q_proj.": "query.",
    "q_downsample.": "pool.",
    "k_proj.": "find.key.",
    "v_proj.": "find.value.",
    "clip_attn.": "find.attention.",
}


def convert_reference_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `QueCC.load_state_dict` takes, from a state dict of the authors' module.

    Args:
        state: their weights, alone or within a whole checkpoint: whatever precedes the module's own
            names is cut off, and what is not the module's is left out.

    Raises:
        InputError: a part of the module is missing.
    """
    anchor = "q_downsample.weight"
    prefixes = {name.removesuffix(anchor) for name in state if name.endswith(anchor)}
    if len(prefixes) != 1:
        raise InputError(
            f"a state of the published QueCC has one tensor named {anchor}, got {len(prefixes)} "
            f"among {len(state)} tensors"
        )
    (prefix,) = prefixes
    found: dict[str, Tensor] = {}
    for theirs, ours in OURS.items():
        start = prefix + theirs
        part = {ours + k.removeprefix(start): v for k, v in state.items() if k.startswith(start)}
        if not part:
            raise InputError(f"the state has no weights of {theirs.rstrip('.')}")
        found |= part
    return found
