"""What `foveate.reduce` must know of a compressed model: each view or frame is a group."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from jaxtyping import Int
from torch import Tensor

from foveate.models.family import Family, register_family
from foveate.models.groups import equal_groups


@register_family
class Compressed(Family):
    """`CompressedForConditionalGeneration`: images, several images, videos, and mixes."""

    model_type = "foveate_compressed"
    model_class = "CompressedForConditionalGeneration"
    modalities = ("image", "video")
    unwatched = (
        "foveate_compressed does not say which vision layer to watch: its tokens are learned, "
        "and none is a patch"
    )

    def groups(
        self,
        core: Any,
        modality: str,
        arguments: Mapping[str, Any],
        pooled: Tensor | Sequence[Tensor],
    ) -> list[Int[Tensor, " _"]]:
        """Each view of an image, each frame of a clip."""
        if modality == "video":
            return super().groups(core, modality, arguments, pooled)
        sizes, counts = arguments.get("image_sizes"), arguments.get("batch_num_images")
        views = core.views(sizes, counts, len(pooled))
        return [equal_groups(len(n), count) for n, count in zip(pooled, views, strict=True)]

    def question_flops(self, config: Any, inputs: Mapping[str, Any]) -> list[int]:
        """For a compressor that looks at the question; none for others."""
        if config.query_encoding == "none":
            return super().question_flops(config, inputs)
        from foveate.models.compressed.question import question_flops

        lengths = inputs["query_mask"].sum(1).tolist()
        return [question_flops(config.text_config, config.query_encoding, n) for n in lengths]

    def tiny(self) -> Any:
        """As the table has it: 6 layers of width 64; MQT, 16 visual tokens a view or frame."""
        import_module("foveate.models.compressed")  # makes itself known to the Auto classes
        return super().tiny()
