"""Vision towers: where their layers are."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from foveate.errors import UnsupportedError


def layer_of_state(layers: nn.ModuleList, chosen: int | Sequence[int]) -> Any:
    """The layer whose output is the chosen hidden state; of several, the last.

    Raises:
        UnsupportedError: the state is the embeddings', which no layer made.
    """
    state = chosen if isinstance(chosen, int) else chosen[-1]
    index = state - 1 if state >= 0 else len(layers) + state
    if not 0 <= index < len(layers):
        raise UnsupportedError(
            f"no vision layer makes hidden state {state}, so it has no attention"
        )
    return layers[index]


def vision_encoder(core: Any) -> Any:
    """The stack of layers of a CLIP or SigLIP tower.

    Raises:
        UnsupportedError: another tower.
    """
    tower = getattr(core.vision_tower, "vision_model", core.vision_tower)
    if not hasattr(tower, "encoder"):
        raise UnsupportedError(f"cannot watch a {type(tower).__name__}; works: CLIP, SigLIP")
    return tower.encoder
