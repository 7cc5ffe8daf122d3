"""What a request takes by the cost model, at each share of its visual tokens that it may keep."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from foveate.cost.hardware import Machine
from foveate.cost.request import Request
from foveate.cost.vision.encoder import Media
from foveate.errors import FoveateError
from foveate.reduction import Reduction
from foveate.serving.budget.body import Asked
from foveate.serving.budget.sizes import Size

CHARACTERS = 4  # of a text token, about
TEMPLATE_TOKENS = 20  # that a chat template adds, about
MOST = 16  # pictures that are looked at; further ones are taken to be like these
STEP = 16  # tokens to which the length of a prompt is rounded up
CLIP_FRAMES = 32  # of a video, whose first bytes do not tell; vLLM samples as many


@dataclass(frozen=True)
class Work:
    """A request under one reduction.

    Attributes:
        ms: up to its first token, alone on the machine.
        visual_tokens: at the LLM's input.
    """

    ms: float
    visual_tokens: int


class Estimator:
    """Times and visual tokens of requests to a model on a machine.

    Args:
        config: of the model.
        machine: whose times are given.
        max_pixels: the image processor's limit, where the family has one and it was changed.

    Raises:
        UnsupportedError: a family whose visual tokens cannot be told from its config.
        InputError: a field of the config is missing.
    """

    def __init__(self, config: Any, machine: Machine, max_pixels: int | None = None) -> None:
        self.config, self.machine, self.max_pixels = config, machine, max_pixels
        self.text = Request.of(config, 0, 0)
        self._shown = lru_cache(4096)(self._cost_of_media)
        self._prefill_ms = lru_cache(4096)(self._cost_of_rows)
        self._shown(Media(), Reduction())  # refuses a family that it does not know at once

    def work(self, asked: Asked, reduction: Reduction) -> Work:
        """What a request takes under a reduction before the LLM."""
        images = min(len(asked.sizes), 2)  # some families cut a lone picture into tiles
        looked_at = asked.sizes[:MOST]
        scale = len(asked.sizes) / max(len(looked_at), 1)
        shown = [(scale, self._picture(size, images, reduction)) for size in looked_at]
        if asked.clips:
            shown.append((asked.clips, self._clip(reduction)))
        encode_ms = sum(times * ms for times, (ms, _) in shown)
        visual = sum(times * tokens for times, (_, tokens) in shown)
        rows = visual + asked.characters / CHARACTERS + TEMPLATE_TOKENS
        prefill = self._prefill_ms(math.ceil(rows / STEP) * STEP)
        return Work(encode_ms + prefill, round(visual))

    def works(self, asked: Asked, reductions: Sequence[Reduction]) -> list[Work]:
        """The same under each of several reductions."""
        return [self.work(asked, reduction) for reduction in reductions]

    def _picture(self, size: Size | None, images: int, reduction: Reduction) -> tuple[float, float]:
        height, width = size or (None, None)
        try:
            return self._shown(Media(images, 0, height, width, self.max_pixels), reduction)
        except (FoveateError, ArithmeticError):  # too long and thin, or a method of unknown cost
            return self._shown(Media(images), Reduction())

    def _clip(self, reduction: Reduction) -> tuple[float, float]:
        try:
            return self._shown(Media(frames=CLIP_FRAMES, max_pixels=self.max_pixels), reduction)
        except (FoveateError, ArithmeticError, AttributeError):  # a family without videos
            return 0.0, 0.0

    def _cost_of_media(self, media: Media, reduction: Reduction) -> tuple[float, float]:
        """Milliseconds of encoding and compressing one picture (or the clip), and its tokens."""
        cost = Request.of(self.config, media, 0).cost(reduction)
        parts = [cost.parts[name] for name in ("encode", "compress") if name in cost.parts]
        ms = sum(part.ms(self.machine) for part in parts)
        return ms / media.images, cost.visual_tokens_to_llm / media.images

    def _cost_of_rows(self, rows: int) -> float:
        llm = self.text.llm
        return Request(llm, (0,), rows).cost().parts["prefill"].ms(self.machine)
