"""How many frames a reduction makes room for."""

from dataclasses import dataclass
from typing import Any

from foveate.combine.aim import AIM
from foveate.cost.configs import config_of
from foveate.cost.llm import Convention
from foveate.cost.request import RequestCost, request_cost
from foveate.cost.vision.encoder import Media
from foveate.defaults import TEXT_TOKENS
from foveate.errors import InputError, UnsupportedError
from foveate.models.limits import Limits
from foveate.reduction import Given, as_reduction

MOST_FRAMES = 1 << 16


@dataclass(frozen=True)
class Frames:
    """How many frames a reduction makes room for.

    Attributes:
        frames: the most whose reduced cost is at most that of `of` unreduced ones.
        of: unreduced frames.
        cost: of the reduced clip.
        unreduced: of the unreduced one.
    """

    frames: int
    of: int
    cost: RequestCost
    unreduced: RequestCost


def plan_frames(
    model: Any,
    frames: int,
    text_tokens: int = TEXT_TOKENS,
    *,
    reduction: Given | None = None,
    size: tuple[int, int] | None = None,
    encoder: bool = False,
    convention: Convention = "exact",
) -> Frames:
    """How many frames, reduced, cost no more than `frames` unreduced ones.

    Args:
        model: as in `plan_reduction`.
        frames: unreduced.
        text_tokens: of the prompt.
        reduction: of the reduced clip, by default `foveate.AIM()`.
        size: height and width of a frame.
        encoder: whether vision tower and projector count; every frame goes through them whole, so that
            they soon are what costs.
        convention: "llm-viewer" counts what AIM's tables count.

    Raises:
        InputError: fewer than one frame, or layers that this LLM has not.
        UnsupportedError: a reduction that the model refuses.
    """
    if frames < 1:
        raise InputError(f"frames must be at least 1, got {frames}")
    config, wanted = config_of(model), AIM() if reduction is None else reduction
    if reason := Limits.of_config(config).refusal(as_reduction(wanted)):
        raise UnsupportedError(reason)

    def cost_of(count: int, reduction: Given | None) -> RequestCost:
        media = Media(frames=count, height=size and size[0], width=size and size[1])
        return request_cost(config, media, text_tokens, reduction, convention=convention)

    def spent(cost: RequestCost) -> int:
        return cost.flops if encoder else cost.prefill_flops

    unreduced = cost_of(frames, None)
    low, high = 0, frames
    while high < MOST_FRAMES and spent(cost_of(high, wanted)) <= spent(unreduced):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        fits = spent(cost_of(middle, wanted)) <= spent(unreduced)
        low, high = (middle, high) if fits else (low, middle)
    return Frames(low, frames, cost_of(max(low, 1), wanted), unreduced)
