"""InternVL: joined patches go through the projector one by one."""

from typing import Any

from foveate.models.family import Family, register_family


@register_family
class InternVL(Family):
    """`InternVLForConditionalGeneration`; its processor lays clips out as images."""

    model_type = "internvl"
    model_class = "InternVLForConditionalGeneration"
    merge_at = ("llm", "encoder")

    def projector(self, core: Any) -> Any:
        """`multi_modal_projector`."""
        return core.multi_modal_projector
