"""The scenes of `foveate.scenes` as tasks, on a held-out split."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from foveate.errors import InputError
from foveate.measure.tasks import Item, Task, register_task

NAMES = ("reasoning", "ocr", "video", "documents", "charts", "screens", "texture")
SPLITS = ("test", "val")


class Scenes(Task):
    """One question about each scene of a split, endlessly many; the answer may be a word or its sentence.

    Args:
        name: one of `NAMES`.
        split: "test" or "val"; the training split is not offered.
        side: of the pictures in pixels, see `foveate.scenes.scene`; None for the task's own.

    Raises:
        InputError: another name or split.
    """

    reads_files: ClassVar[bool] = False

    def __init__(self, name: str, split: str = "test", side: int | None = None) -> None:
        for what, value, allowed in (("task", name, NAMES), ("split", split, SPLITS)):
            if value not in allowed:
                raise InputError(f"{what} must be one of {', '.join(allowed)}; got {value!r}")
        self.name, self.split, self.side = name, split, side

    def item(self, index: int) -> Item:
        """The question that `scenes.questions` asks about scene `index`.

        Raises:
            InputError: pictures of a side that the task has not.
        """
        from foveate.ask.media import Clip
        from foveate.scenes import one_question, scene

        shown = scene(self.name, self.split, index, size=self.side)
        question, images = one_question(shown), shown.images()
        media = (Clip(images),) if shown.is_video else tuple(images)
        right = dict.fromkeys((question.answer, question.sentence or question.answer))
        return Item(media, question.text, tuple(right), question.family)

    def identity(self) -> dict[str, Any]:
        """Name and split, and the side where it was asked for."""
        side = {"side": self.side} if self.side else {}
        return {"name": self.name, "split": self.split, **side}


for _name in NAMES:
    _makers: Callable[[], Task] = partial(Scenes, _name)
    register_task(_name, _makers)
