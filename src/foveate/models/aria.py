"""Aria: learned queries read the patches, so that no token is a patch."""

from foveate.models.family import Family, register_family


@register_family
class Aria(Family):
    """`AriaForConditionalGeneration`."""

    model_type = "aria"
    model_class = "AriaForConditionalGeneration"
    has_cost = False
    unwatched = "which vision layer to watch: none in aria, whose tokens are queries"
