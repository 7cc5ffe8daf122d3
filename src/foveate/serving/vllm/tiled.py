"""Pictures of any resolution, as LLaVA-NeXT and LLaVA-OneVision pack them: base view, tiles, newlines."""

from types import MethodType, SimpleNamespace
from typing import Any

from torch import Tensor

from foveate.models.anyres import image_grids, image_groups
from foveate.serving.vllm.layout import Layout


def picture_layout(config: Any, model: type, size: Tensor) -> Layout:
    """The layout of one picture.

    Args:
        config: of the model.
        model: transformers' model without its head, whose packing says what falls where.
        size: rows and columns of the picture's pixels.
    """
    has_config = SimpleNamespace(config=config)
    pack = MethodType(vars(model)["pack_image_features"], has_config)
    core = SimpleNamespace(config=config, pack_image_features=pack)
    (group,) = image_groups(core, {"image_sizes": size[None]})
    return Layout(group, image_grids(group))
