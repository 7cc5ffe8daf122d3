"""A model that was trained on all patches, asked with fewer of them by a method without training."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.compressors.cell import Trainee
from benchmarks.study.pictures import PATCHES
from foveate.registry import method
from foveate.scenes.sample import Question


class Merged(Trainee):
    """Reads what a method leaves of the tokens that another model reads whole.

    Args:
        whole: that model.
        name: of the method, which must need nothing but the tokens and their group's number.
    """

    def __init__(self, whole: Trainee, name: str) -> None:
        self.model, self.packer, self.query = whole.model, whole.packer, whole.query
        self.frames, self.name = whole.frames, name

    def visual(
        self, levels: list[Any], asked: list[list[Question]], tokens: int
    ) -> tuple[Float[Tensor, "R V D"], list[list[Question]]]:
        """As many tokens as are asked for, of each picture."""
        visual, asked = super().visual(levels, asked, PATCHES)
        merge = method(self.name).build(keep=tokens / PATCHES)
        told = {}
        if "number" in merge.needs:  # of the group in its picture, which has one
            told["number"] = torch.zeros(len(visual), dtype=torch.long)
        return merge(visual, **told).features, asked
