"""What an answer's budget counts: the FLOPs of one prefill, with or without the vision encoder."""

import math
from dataclasses import dataclass
from typing import TypeVar

from foveate.errors import InputError
from foveate.laws.fitting import Array
from foveate.laws.points import Number

Place = TypeVar("Place", float, Array)


@dataclass(frozen=True)
class Axis:
    """FLOPs of F frames of V visual tokens, `F E + 2 N (Q + F V)`, N being the LLM's parameters.

    Without E, and of one picture, it is the axis of arXiv 2411.03312; 2505.18855 counts E.

    Attributes:
        text_tokens: Q, that are not cached; 0 is a cached prompt.
        encoder_flops: E, of vision tower and projector, a picture or frame.
    """

    text_tokens: Number
    encoder_flops: Number = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"{name} must be at least 0, got {value}")

    def flops(self, params_b: Place, visual_tokens: Place, frames: Place) -> Place:
        """FLOPs of a prefill by an LLM of so many billions of parameters."""
        return frames * self.encoder_flops + 2e9 * params_b * (
            self.text_tokens + frames * visual_tokens
        )

    def params_b(self, budget: Number, visual_tokens: Array, frames: Array) -> Array:
        """The size whose prefill takes the budget; below 0 where encoding takes more."""
        left = budget - frames * self.encoder_flops
        return left / (2e9 * (self.text_tokens + frames * visual_tokens))

    def visual_tokens(self, budget: Number, params_b: Array, frames: Array) -> Array:
        """The tokens a frame with which the prefill takes the budget; below 0 where there is no room."""
        left = budget - frames * self.encoder_flops
        return (left / (2e9 * params_b) - self.text_tokens) / frames

    def formula(self, *, frames: bool) -> str:
        """The FLOPs in letters, for a figure."""
        llm = f"2 N ({self.text_tokens:g} + {'F V' if frames else 'V'})"
        encoder = f"{'F ' if frames else ''}{self.encoder_flops:.3g} + "
        return f"{encoder if self.encoder_flops else ''}{llm}"
