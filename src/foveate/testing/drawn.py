"""Prompts with pictures of noise for a model that nobody has drawn any for: its encoder is asked."""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from foveate.errors import UnsupportedError
from foveate.models.anyres import grid_of
from foveate.models.family import Family, family_of
from foveate.models.groups import pixels_of
from foveate.models.tiny import Picture, noise, stacked
from foveate.models.tiny.pictures import tiles_of_sample
from foveate.models.towers import TOWERS

FRAMES, EDGE = 4, 56
BREAK = 8  # the text token between the groups of a clip


class Drawn(Family):
    """The family of a model, with pictures that its encoder takes; all pictures have one size."""

    def __init__(self, model: Any, family: Family) -> None:
        super().__init__(**{name: getattr(family, name) for name in Family.__annotations__})
        self.model, self.family = model, family
        self._is_of_tiles = False  # an entry of the pixels is a sample
        self.breaks_clips = self.grid_positions  # text stands between the groups of a clip
        self._drawn: dict[tuple[str, int], tuple[dict[str, Tensor], list[int]]] = {}

    def tiny_picture(self, config: Any, modality: str, size: int) -> Picture:
        """The first layout of pixels that the encoder takes, and as many placeholders as it asks for."""
        placeholder = self.placeholders(config)[modality]
        if (modality, size) not in self._drawn:
            self._drawn[modality, size] = self._tensors(modality, size)
        tensors, counts = self._drawn[modality, size]
        runs = [[placeholder] * count for count in counts]
        if modality == "video" and self.breaks_clips:
            return Picture([token for run in runs for token in (BREAK, *run)], tensors)
        return Picture([token for run in runs for token in run], tensors)

    def tiny_collate(self, samples: Sequence[Sequence[Picture]]) -> dict[str, Tensor]:
        """One after another, or tiles by sample."""
        return tiles_of_sample(samples) if self._is_of_tiles else stacked(samples)

    @torch.no_grad()
    def _tensors(self, modality: str, size: int) -> tuple[dict[str, Tensor], list[int]]:
        """What the encoder is given, and the tokens of each group that it makes."""
        core, faults = self.model.model, []
        encode = getattr(core, f"get_{modality}_features")
        for tensors in _layouts(core, modality, inspect.signature(encode).parameters, size):
            try:
                pooled = encode(**tensors).pooler_output
                groups = self.family.groups(core, modality, tensors, pooled)
            except (TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
                faults.append(str(error).splitlines()[0])
                continue
            pixels = tensors[pixels_of(modality)]
            if modality == "image" and pixels.dim() == 5 and "image_sizes" not in tensors:
                self._is_of_tiles = True
                tensors = {**tensors, "pixel_values": pixels[0]}
            return tensors, [int(n) for entry in groups for n in torch.bincount(entry)]
        raise UnsupportedError(
            f"no {modality} can be drawn for {type(self.model).__name__}: its encoder refused "
            f"{len(faults)} layouts ({'; '.join(faults)})"
        )


def _layouts(core: Any, modality: str, taken: Any, size: int) -> Iterator[dict[str, Tensor]]:
    """Tensors as processors make them, by the names of what an encoder takes; the likeliest first."""
    config, vision = core.config, core.config.vision_config
    pixels, grid = pixels_of(modality), f"{modality}_grid_thw"
    if grid in taken:
        yield from _on_grid(vision, modality, taken, size)
    elif modality == "image" and "spatial_shapes" in taken:
        yield _shaped(vision, size)
    elif modality == "image" and "image_sizes" in taken and hasattr(config, "image_grid_pinpoints"):
        side = _side(vision)
        height, width = config.image_grid_pinpoints[0]
        rows, columns = grid_of(config, (height, width))
        views = noise(1, 1 + rows * columns, 3, side, side, seed=size)
        yield {pixels: views, "image_sizes": torch.tensor([[height, width]])}
    elif modality == "image":
        sized, side = _sized(config, size), _side(vision)
        known = TOWERS.get(getattr(vision, "model_type", ""))
        if "image_sizes" in taken and known and known.packs_sizes:
            yield sized
        yield {pixels: noise(1, 3, side, side, seed=size)}
        yield {pixels: noise(1, 1, 3, side, side, seed=size)}
        if "image_sizes" in taken:
            yield sized
    else:
        side = _side(vision)
        yield {pixels: noise(1, FRAMES, 3, side, side, seed=size)}


def _sized(config: Any, size: int) -> dict[str, Tensor]:
    """A picture of 3 x 4 tokens, with its size."""
    step = _side_of_patch(config.vision_config) * getattr(config, "spatial_merge_size", 2)
    shape = (3 * step, 4 * step)
    return {
        "pixel_values": noise(1, 3, *shape, seed=size),
        "image_sizes": torch.tensor([shape]),
    }


def _shaped(vision: Any, size: int) -> dict[str, Tensor]:
    """Patches as rows of numbers, of a picture of 4 x 6 patches, none of them padding."""
    width = getattr(vision, "num_channels", 3) * _side_of_patch(vision) ** 2
    return {
        "pixel_values": noise(1, 24, width, seed=size),
        "spatial_shapes": torch.tensor([[4, 6]]),
        "pixel_attention_mask": torch.ones(1, 24, dtype=torch.long),
    }


def _on_grid(vision: Any, modality: str, taken: Any, size: int) -> Iterator[dict[str, Tensor]]:
    """Patches of 3 x 4 tokens, as rows of numbers or as small pictures."""
    merge = getattr(vision, "spatial_merge_size", 2)
    steps = 1 if modality == "image" else FRAMES
    rows, columns, side = 3 * merge, 4 * merge, _side_of_patch(vision)
    channels = getattr(vision, "in_channels", getattr(vision, "num_channels", 3))
    frames = getattr(vision, "temporal_patch_size", getattr(vision, "patch_temporal", 1))
    count = steps * rows * columns
    more = {f"{modality}_grid_thw": torch.tensor([[steps, rows, columns]])}
    if f"{modality}_merge_sizes" in taken:
        more[f"{modality}_merge_sizes"] = torch.tensor([merge])
    for shape in ((channels * frames * side**2,), (channels, side, side)):
        yield {pixels_of(modality): noise(count, *shape, seed=size), **more}


def _side(vision: Any) -> int:
    size = getattr(vision, "image_size", EDGE)
    return size if isinstance(size, int) else size[0]


def _side_of_patch(vision: Any) -> int:
    size = getattr(vision, "patch_size", 14)
    return size if isinstance(size, int) else size[0]


@torch.no_grad()
def draw_for(copies: Iterator[Any]) -> Drawn:
    """What draws pictures for the first of some models that runs a prompt with one; else for the last.

    Args:
        copies: of one model, the smallest first.
    """
    drawn = None
    for model in copies:
        drawn = Drawn(model, family_of(model))
        if _runs(drawn, "image"):
            if "video" in drawn.modalities and drawn.breaks_clips:
                drawn.breaks_clips = _runs(drawn, "video")
            return drawn
    assert drawn is not None, "there is no copy"
    return drawn


def _runs(drawn: Drawn, modality: str) -> bool:
    """Whether the model itself runs a prompt with one picture."""
    with suppress(Exception):  # of any kind: there may be another copy, or another way to draw
        drawn.model(**drawn.tiny_inputs(drawn.model.config, [[(modality, 0)]]))
        return True
    return False
