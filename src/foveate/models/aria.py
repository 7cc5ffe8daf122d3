"""Aria: learned queries read the patches, so that no token is a patch."""

from typing import Any

from foveate.errors import UnsupportedError
from foveate.models.family import Family, register_family


@register_family
class Aria(Family):
    """`AriaForConditionalGeneration`."""

    model_type = "aria"
    model_class = "AriaForConditionalGeneration"
    has_cost = False

    def vision_layer(self, core: Any) -> Any:
        """None.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError(
            "which vision layer to watch: none in aria, whose tokens are queries"
        )
