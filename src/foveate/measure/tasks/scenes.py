"""The scenes of `foveate.scenes` as tasks: reasoning, ocr and video, on a held-out split."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from foveate.errors import InputError
from foveate.measure.tasks import Item, Task, register_task

NAMES = ("reasoning", "ocr", "video")
SPLITS = ("test", "val")


class Scenes(Task):
    """One question about each scene of a split, endlessly many.

    Args:
        name: "reasoning", "ocr" or "video".
        split: "test" or "val"; the training split is not offered.

    Raises:
        InputError: another name or split.
    """

    answer_tokens: ClassVar[int] = 12
    reads_files: ClassVar[bool] = False

    def __init__(self, name: str, split: str = "test") -> None:
        for what, value, allowed in (("task", name, NAMES), ("split", split, SPLITS)):
            if value not in allowed:
                raise InputError(f"{what} must be one of {', '.join(allowed)}; got {value!r}")
        self.name, self.split = name, split

    def item(self, index: int) -> Item:
        """The question that `scenes.questions` asks about scene `index`."""
        from foveate.ask.media import Clip
        from foveate.scenes import make, one_question

        scene = make(self.name, self.split, index)
        question = one_question(scene)
        images = scene.images()
        media = (Clip(images),) if scene.is_video else tuple(images)
        return Item(media, question.text, (question.answer,), question.family)

    def identity(self) -> dict[str, Any]:
        """Name and split."""
        return {"name": self.name, "split": self.split}


for _name in NAMES:
    _makers: Callable[[], Task] = partial(Scenes, _name)
    register_task(_name, _makers)
