"""The processor of a served model: chats of `transformers serve` are read as `vlm.ask` reads them."""

from typing import Any

from jinja2 import TemplateError
from PIL import Image
from transformers import BatchFeature

from foveate.ask.chat import Turn, chat_tensors, described_turn
from foveate.ask.media import Clip, Sampling, read, read_picture
from foveate.ask.vlm import VLM
from foveate.errors import InputError
from foveate.serving.guard.fields import TEMPLATE
from foveate.serving.guard.media import contents


class ChatProcessor:
    """A model's processor whose chat template also makes the tensors, as those of `vlm.ask`.

    Pictures are shown as a viewer shows them, of clips the frames that `sampling` says, and a text that
    holds a picture's placeholder is refused. Nothing is read but data URLs.

    Args:
        vlm: the model and its processor.
        sampling: which frames of a clip are taken.
    """

    def __init__(self, vlm: VLM, sampling: Sampling) -> None:
        self._vlm, self._sampling = vlm, sampling

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vlm.processor, name)

    def apply_chat_template(
        self, messages: list[dict[str, Any]], tools: Any = None, **options: Any
    ) -> BatchFeature:
        """The tensors of a conversation, up to where the answer begins.

        Args:
            messages: with `role`, and `content` in parts, their pictures and clips by `url`.
            tools: that the model may call.
            **options: of the template; others are those that stock's processors take, not needed here.

        Raises:
            InputError: no message, a picture that cannot be read, a clip for a model of images only, a
                text that holds a picture's placeholder, or what the template cannot take.
        """
        turns = [self._turn(message) for message in messages]
        if not any(turn["content"] for turn in turns):
            raise InputError("the messages hold neither a text nor a picture")
        wanted = {name: options[name] for name in TEMPLATE if name in options}
        text = self._prompt(turns, tools=tools, **wanted)
        return BatchFeature(chat_tensors(self._vlm, [text], [turns]))

    def _prompt(self, turns: list[Turn], **wanted: Any) -> str:
        try:
            return self._vlm.processor.apply_chat_template(
                [described_turn(turn) for turn in turns], add_generation_prompt=True, **wanted
            )
        except (TemplateError, AttributeError, KeyError, TypeError) as error:
            # the template is a program, and what it reads is the client's
            raise InputError(
                f"the model's chat template cannot take this request: {error}"
            ) from None

    def _turn(self, message: dict[str, Any]) -> Turn:
        return {**message, "content": [self._part(part) for part in message["content"]]}

    def _part(self, part: dict[str, Any]) -> str | Image.Image | Clip:
        if part["type"] == "text":
            return part["text"]
        if part["type"] == "image":
            return read_picture(contents(part["url"], "picture"))
        return read(contents(part["url"], "clip"), self._sampling)
