"""LFM2-VL: two layers in three are short convolutions; pictures are padded with empty patches."""

from foveate.models.family import Family, register_family


@register_family
class Lfm2Vl(Family):
    """`Lfm2VlForConditionalGeneration`; its processor lays each tile out as an image."""

    model_type = "lfm2_vl"
    model_class = "Lfm2VlForConditionalGeneration"
    unwatched = "which vision layer to watch: none in lfm2_vl, whose attention sees empty patches"
    refuses = "in the encoder: pictures with empty patches, as most have"
