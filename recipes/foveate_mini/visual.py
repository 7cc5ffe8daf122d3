"""The visual tokens of training: the same as the stock model's, whole or some of them."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import LlavaOnevisionForConditionalGeneration

from foveate.scenes.sample import GRID, Sample


def visual_tokens(
    model: LlavaOnevisionForConditionalGeneration,
    features: Float[Tensor, "frames N D"],
    clips: int,
    *,
    is_video: bool,
) -> Float[Tensor, "B V D"]:
    """Tower features as the stock model hands them to its language model.

    A picture is the base view and one tile; both are the same 144x144 pixels, so they are encoded
    once and laid out twice, the tile's rows each closed by a newline. A clip's frames are pooled
    two by two, with one newline at the end.

    Args:
        model: the model whose projector and newline are used.
        features: of every frame of every clip, clip by clip.
        clips: how many pictures or clips, B.
        is_video: whether they are clips.
    """
    projected = model.model.multi_modal_projector(features)
    newline = model.model.image_newline
    if is_video:
        pooled = model.model.apply_pooling(projected).reshape(clips, -1, projected.shape[-1])
        return torch.cat([pooled, newline.expand(clips, 1, -1)], dim=1)
    rows = projected.unflatten(1, (GRID, GRID))
    tile = torch.cat([rows, newline.expand(clips, GRID, 1, -1)], dim=2).flatten(1, 2)
    return torch.cat([projected, tile], dim=1)


def shown(samples: list[Sample]) -> Bool[Tensor, "B V"]:
    """Which visual tokens of each sample show a part of a character; all samples of one shape."""
    frames = len(samples[0].marks)
    labels = [[one.labels(number)["character"] for number in range(frames)] for one in samples]
    grid = torch.from_numpy(np.array(labels) > 0).unflatten(2, (GRID, GRID))
    if samples[0].is_video:
        halves = grid.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
        pooled = halves.any(dim=5).any(dim=3).flatten(1)
        return nn.functional.pad(pooled, (0, 1))
    picture = grid[:, 0]
    return torch.cat([picture.flatten(1), nn.functional.pad(picture, (0, 1)).flatten(1)], dim=1)


def choose(
    shape: tuple[int, int],
    keep: float,
    generator: torch.Generator,
    always: Bool[Tensor, "B V"] | None = None,
) -> Int[Tensor, "B K"]:
    """Which visual tokens of each picture are kept: a random share, in their order.

    Args:
        shape: B and V.
        keep: share to keep; of those not in `always`, if that is given.
        generator: of the lottery.
        always: tokens that stay in any case. K is one for the batch, so a picture with fewer of
            them keeps more others.
    """
    lottery = torch.rand(shape, generator=generator)
    sure = 0
    if always is not None:
        lottery, sure = lottery + always, int(always.sum(dim=1).max())
    kept = max(1, sure + round(keep * (shape[1] - sure)))
    return lottery.topk(kept, dim=1).indices.sort(dim=1).values
