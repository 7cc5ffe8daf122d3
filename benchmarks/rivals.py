"""Plain rivals of a shorter encoder: fewer frames of a clip, and pictures of fewer pixels."""

from dataclasses import dataclass

from foveate.ask.media import Clip, spread
from foveate.ask.vlm import VLM
from foveate.measure.run.resize_pictures import Prompt, scaled


@dataclass(frozen=True)
class FewerFrames:
    """Clips of fewer frames, evenly spread, first and last included; pictures stay as they are.

    Attributes:
        keep: share of the frames.
    """

    keep: float

    def __call__(self, vlm: VLM, prompt: Prompt) -> Prompt:
        """A prompt with shorter clips."""
        shown, question = prompt
        return tuple(
            self._shorter(one) if isinstance(one, Clip) else one for one in shown
        ), question

    def _shorter(self, clip: Clip) -> Clip:
        count = max(1, round(self.keep * len(clip.frames)))
        return Clip([clip.frames[n] for n in spread(len(clip.frames), count)])


@dataclass(frozen=True)
class FewerPixels:
    """Pictures and frames of fewer pixels, which the processor enlarges again where it has one size.

    There it tells what is left to be seen, and saves nothing: a tower of that size would be needed.

    Attributes:
        keep: share of the pixels.
    """

    keep: float

    def __call__(self, vlm: VLM, prompt: Prompt) -> Prompt:
        """A prompt with smaller pictures."""
        shown, question = prompt
        return scaled(shown, self.keep**0.5), question
