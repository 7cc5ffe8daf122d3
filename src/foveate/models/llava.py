"""LLaVA-1.5: patches go through the projector one by one, and a layer behind them has keys."""

from typing import Any

from foveate.models.family import Family, register_family
from foveate.models.towers import chosen_state, layer_behind_state, tower_layers


@register_family
class Llava(Family):
    """`LlavaForConditionalGeneration` with a CLIP or SigLIP tower."""

    model_type = "llava"
    model_class = "LlavaForConditionalGeneration"
    merge_at = ("llm", "encoder", "encoder keys")

    def projector(self, core: Any) -> Any:
        """`multi_modal_projector`."""
        return core.multi_modal_projector

    def encoder_keys(self, core: Any) -> Any:
        """`k_proj` of the vision layer whose input is the chosen hidden state."""
        return layer_behind_state(tower_layers(core), chosen_state(core)).self_attn.k_proj
