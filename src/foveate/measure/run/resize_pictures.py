"""The plain baseline `resize`: the pictures themselves are made smaller, before the processor sees them.

It is not in the registry, because a method sees tensors and this comes before them. Where the number of
visual tokens follows the picture's size (Qwen-VL, Pixtral, tiles) it saves tokens and encoding; where
every picture is resized to one size it saves nothing, and is refused.
"""

from dataclasses import dataclass

import torch
from PIL import Image

from foveate.ask.media import Clip
from foveate.ask.vlm import VLM
from foveate.errors import UnsupportedError
from foveate.keep import check_keep, kept_count
from foveate.measure.run.answering import Shown

LEAST = 32  # pixels of the shortest side; some processors refuse less
STEPS = 10  # steps of the bisection: sides are found to a 1024th
Prompt = tuple[Shown, str]


@dataclass(frozen=True)
class Smaller:
    """Pictures and frames made smaller, all sides of a prompt by one factor.

    Attributes:
        share: share of its visual tokens that a prompt may still have, in (0, 1).

    Raises:
        InputError: not a share.
    """

    share: float | int

    def __post_init__(self) -> None:
        check_keep(self.share)

    def __call__(self, vlm: VLM, prompt: Prompt) -> Prompt:
        """Resize to the largest pictures that have at most `share` of a prompt's visual tokens.

        Raises:
            UnsupportedError: the smallest pictures that the family takes have more.
        """
        shown, question = prompt
        whole, _ = counts(vlm, prompt)
        allowed = kept_count(self.share, whole)
        low, high = min(1.0, LEAST / shortest_side(shown)), 1.0
        smaller = scaled(shown, low), question
        least, _ = counts(vlm, smaller)
        if least > allowed:
            raise UnsupportedError(
                f"{vlm.family.model_type} makes {least} visual tokens of this even at {LEAST} pixels "
                f"a side; {allowed} of {whole} were wanted"
            )
        for _ in range(STEPS):
            middle = (low + high) / 2
            tried = scaled(shown, middle), question
            if counts(vlm, tried)[0] <= allowed:
                smaller, low = tried, middle
            else:
                high = middle
        return smaller


def scaled(shown: Shown, scale: float) -> Shown:
    """Pictures and clips with all sides times `scale`, antialiased."""
    return tuple(
        Clip([_resized(frame, scale) for frame in picture.frames])
        if isinstance(picture, Clip)
        else _resized(picture, scale)
        for picture in shown
    )


def shortest_side(shown: Shown) -> int:
    """In pixels, of all pictures and frames."""
    firsts = [picture.frames[0] if isinstance(picture, Clip) else picture for picture in shown]
    return min(side for first in firsts for side in first.size)


def counts(vlm: VLM, prompt: Prompt) -> tuple[int, int]:
    """Visual and other tokens of a prompt."""
    ids = vlm.batch([prompt])["input_ids"]
    placeholders = torch.tensor(
        list(vlm.family.placeholders(vlm.model.config).values()), device=ids.device
    )
    visual = int(torch.isin(ids, placeholders).sum())
    return visual, ids.numel() - visual


def _resized(picture: Image.Image, scale: float) -> Image.Image:
    width, height = (max(1, round(scale * side)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BICUBIC)
