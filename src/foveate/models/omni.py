"""Qwen Omni: the thinker reads pictures, clips and sound, and says text; a talker may read it aloud."""

from collections.abc import Mapping
from typing import Any

from foveate.errors import UnsupportedError
from foveate.models.family import Family, register_family
from foveate.models.rules import DEEPSTACK


@register_family
class Qwen2_5Omni(Family):
    """`Qwen2_5OmniThinkerForConditionalGeneration`, alone or with its talker; sound is left alone."""

    model_type = "qwen2_5_omni_thinker"
    model_class = "Qwen2_5OmniThinkerForConditionalGeneration"
    modalities = ("image", "video")
    grid_positions = True
    since = "5.24"  # before, the parts of the model stood elsewhere

    def refuse(self, call: Mapping[str, Any]) -> None:
        """Refuse to hand out hidden states, which the talker lines up with the prompt's tokens.

        Raises:
            UnsupportedError: they are asked for.
        """
        if call.get("output_hidden_states"):
            raise UnsupportedError(
                f"the talker of {self.model_type} reads hidden states of all rows of the prompt, and a "
                "reduction removes some: speech and output_hidden_states are not to be had; works: "
                "generate(generation_mode='text'), or speech outside of the reduce()"
            )


@register_family
class Qwen3OmniMoe(Qwen2_5Omni):
    """`Qwen3OmniMoeThinkerForConditionalGeneration`, likewise."""

    model_type = "qwen3_omni_moe_thinker"
    model_class = "Qwen3OmniMoeThinkerForConditionalGeneration"
    llm_arguments = DEEPSTACK
