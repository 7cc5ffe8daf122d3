"""What a digit's part in its scene is, patch by patch, as one word of the language model.

A help for stage B: halfway up the language model, a visual token should read as the part its digit
plays: the way it moved, that it came first or last, that it is at the top or the bottom. Questions
then find that part written where they look. Of a clip only what has been seen so far counts, for
attention is causal.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerFast

from foveate.scenes.sample import GRID, PATCH, Mark, Sample
from recipes.foveate_mini.packing import IGNORED

ROLES = ("left", "right", "up", "down", " first", " last", " top", " bottom")


def clip_roles(frames: tuple[tuple[Mark, ...], ...]) -> list[list[str | None]]:
    """The role of each mark of each frame, from that frame and those before it."""
    home: dict[str, Mark] = {}
    arrived: dict[str, int] = {}
    roles = []
    for number, frame in enumerate(frames):
        for mark in frame:
            home.setdefault(mark.character, mark)
            arrived.setdefault(mark.character, number)
        roles.append([_clip_role(mark, home[mark.character], arrived) for mark in frame])
    return roles


def _clip_role(mark: Mark, home: Mark, arrived: dict[str, int]) -> str | None:
    across, down = mark.column - home.column, mark.row - home.row
    if across or down:
        return (("left", "right")[across > 0]) if across else (("up", "down")[down > 0])
    mine = arrived[mark.character]
    others = [number for character, number in arrived.items() if character != mark.character]
    if all(mine < number for number in others):
        return " first"
    return " last" if all(mine > number for number in others) else None


def picture_roles(marks: tuple[Mark, ...]) -> list[str | None]:
    """The highest mark is at the top, the lowest at the bottom; lines of text have no roles."""
    if len(marks) < 2 or marks[0].rank_y is None:
        return [None] * len(marks)
    ends = {0: " top", len(marks) - 1: " bottom"}
    return [None if mark.rank_y is None else ends.get(mark.rank_y) for mark in marks]


def role_targets(samples: list[Sample], tokenizer: PreTrainedTokenizerFast) -> Int[Tensor, "B V"]:
    """The token each visual token should read as; IGNORED where there is no role."""
    ids = {role: tokenizer(role, add_special_tokens=False)["input_ids"][0] for role in ROLES}
    rows = []
    for sample in samples:
        video = sample.is_video
        roles = clip_roles(sample.marks) if video else [picture_roles(sample.marks[0])]
        planes = np.full((len(roles), GRID, GRID), IGNORED)
        for plane, marks, parts in zip(planes, sample.marks, roles, strict=True):
            for mark, part in zip(marks, parts, strict=True):
                if part is not None:
                    height, width = (side // PATCH for side in mark.ink.shape)
                    plane[mark.row : mark.row + height, mark.column : mark.column + width] = ids[
                        part
                    ]
        if video:
            # A pooled token has the role of any of its four patches; IGNORED is below every id.
            pooled = planes.reshape(len(roles), GRID // 2, 2, GRID // 2, 2).max(axis=(2, 4))
            rows.append(np.append(pooled.reshape(-1), IGNORED))
        else:
            tile = np.pad(planes[0], ((0, 0), (0, 1)), constant_values=IGNORED)
            rows.append(np.concatenate([planes[0].reshape(-1), tile.reshape(-1)]))
    return torch.from_numpy(np.stack(rows))


def role_loss(
    model: LlavaOnevisionForConditionalGeneration,
    states: Float[Tensor, "B V D"],
    targets: Int[Tensor, "B V"],
) -> Float[Tensor, ""]:
    """Cross entropy of the roles read from the states halfway up; 0 where a batch has none."""
    given = targets != IGNORED
    if not given.any():
        return states.new_zeros(())
    read = model.lm_head(model.model.language_model.norm(states[given]))
    return nn.functional.cross_entropy(read, targets[given])
