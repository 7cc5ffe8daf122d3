"""Long clips of the scenes, shown whole or thinned to fewer frames: the same questions either way.

The claim to be tested (AIM, arXiv 2412.03248, appendix, table A): at the same cost of the LLM, many
reduced frames answer more than a few whole ones. `long-video` shows all 16, `long-video-8` and
`long-video-4` some.
"""

from functools import partial
from typing import Any, ClassVar

from foveate.errors import InputError
from foveate.measure.tasks import Item, Task, register_task
from foveate.measure.tasks.scenes import SPLITS

LENGTH = 16  # frames of a clip, the most that scenes have
SHOWN = (LENGTH, 8, 4)


class LongVideo(Task):
    """One question about each clip of 16 frames of a split, endlessly many.

    Args:
        frames: how many are shown, evenly spread, the first and the last among them.
        split: "test" or "val".

    Raises:
        InputError: another number of frames, or another split.
    """

    answer_tokens: ClassVar[int] = 12
    reads_files: ClassVar[bool] = False

    def __init__(self, frames: int = LENGTH, split: str = "test") -> None:
        for what, value, allowed in (("frames", frames, SHOWN), ("split", split, SPLITS)):
            if value not in allowed:
                listed = ", ".join(map(str, allowed))
                raise InputError(f"{what} must be one of {listed}; got {value!r}")
        self.name = "long-video" if frames == LENGTH else f"long-video-{frames}"
        self.frames, self.split = frames, split

    def item(self, index: int) -> Item:
        """The question that `scenes.one_question` asks about clip `index`."""
        from foveate.ask.media import Clip, spread
        from foveate.scenes import make, one_question

        scene = make("video", self.split, index, length=LENGTH)
        question, images = one_question(scene), scene.images()
        clip = Clip([images[frame] for frame in spread(LENGTH, self.frames)])
        return Item((clip,), question.text, (question.answer,), question.family)

    def identity(self) -> dict[str, Any]:
        """Name, split, and frames shown of how many."""
        return {"name": self.name, "split": self.split, "frames": self.frames, "of": LENGTH}


for _frames in SHOWN:
    register_task(LongVideo(_frames).name, partial(LongVideo, _frames))
