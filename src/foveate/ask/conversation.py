"""`foveate.Conversation`: turns that go on from one cache, with a budget for what is kept of pictures."""

from collections.abc import Sequence
from os import PathLike
from typing import Any

import torch

from foveate.apply import reduce
from foveate.ask.chat import Turn, chat_tensors, chat_text, described_turn
from foveate.ask.memory import Memory
from foveate.ask.vlm import VLM, Answer, Source
from foveate.defaults import MAX_NEW_TOKENS
from foveate.errors import InputError
from foveate.reduction import Given, Reduction, as_reduction
from foveate.report import Report


class Conversation:
    """A conversation with a model: each turn reads its own part alone, and all that was said is cached.

    A turn's own part is what the chat template's text of the whole conversation has behind that of the
    turns before and their answers, so a system prompt and the ends of turns are where the template puts
    them; a template that writes earlier turns otherwise once others follow gets the turn written alone.
    A turn's pictures are shown as if they were the first: some models cut a picture into tiles only where
    it is alone in a prompt. No picture is encoded twice, and answers are greedy, without the penalties
    that a `generation_config` may name.

    Args:
        vlm: what `foveate.load` returns.
        reduction: of every turn's pictures, as in `vlm.ask`; None for none.
        most_visual_tokens: how many visual tokens each layer's cache may hold once a turn's pictures have
            been read; the oldest turn's pictures give up theirs first, down to none, evenly over what
            they have left. What is dropped is gone, for good. None for no limit.

    Raises:
        InputError: a limit below 1.
        UnsupportedError: a model to which a picture of a later turn cannot be shown (Gemma, PaliGemma).
    """

    def __init__(
        self, vlm: VLM, reduction: Given | None = None, most_visual_tokens: int | None = None
    ) -> None:
        if most_visual_tokens is not None and most_visual_tokens < 1:
            raise InputError(f"most_visual_tokens must be at least 1, got {most_visual_tokens}")
        self.vlm = vlm
        self.reduction = as_reduction(Reduction() if reduction is None else reduction)
        self._memory = Memory(vlm.model, most_visual_tokens)
        self._turns: list[Turn] = []  # pictures only named
        self._text = ""  # of all turns that were read, without the last answer
        self._is_whole = True  # whether the last turn came to its end

    def ask(
        self,
        media: Source | Sequence[Source] | None,
        question: str,
        max_new_tokens: int = MAX_NEW_TOKENS,
        frames: int | None = None,
        fps: int | float | None = None,
    ) -> Answer:
        """Answer the next turn.

        Args:
            media: what it shows, as in `vlm.ask`; None or nothing for a turn of text alone.
            question: in words.
            max_new_tokens: longest answer, in tokens.
            frames: as in `vlm.ask`.
            fps: as in `vlm.ask`.

        Returns:
            The answer, and the report of what this turn added; without samples for a turn of text alone.

        Raises:
            InputError: as in `vlm.ask`, or the turn before failed halfway.
        """
        if max_new_tokens < 1:
            raise InputError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
        if not question.strip():
            raise InputError("the question is empty")
        if not self._is_whole:
            raise InputError(
                "the turn before failed halfway, so the cache holds a part of it; start a new "
                "conversation, or load one that was saved"
            )
        several: Source | Sequence[Source] = [] if media is None else media
        is_text = isinstance(several, Sequence) and not several
        shown = [] if is_text else self.vlm.pictures(several, frames, fps)
        turn: Turn = {"role": "user", "content": [*shown, question]}
        text, inputs = self._read(turn)
        self._is_whole = False
        with reduce(self.vlm.model, self.reduction) as run:
            tokens = self._memory.answer(inputs, max_new_tokens)
        written = self.vlm.processor.decode(tokens, skip_special_tokens=True)
        answer: Turn = {"role": "assistant", "content": [written]}
        self._turns += [described_turn(turn), described_turn(answer)]
        self._text, self._is_whole = text, True
        report = run.reports[-1] if run.reports else Report([], {}, fired=False)
        return Answer(written.strip(), report)

    def _read(self, turn: Turn) -> tuple[str, dict[str, Any]]:
        """The conversation's text up to a new turn's answer, and the tensors of what that turn adds."""
        text = chat_text(self.vlm.processor, [*self._turns, turn])
        if not self._turns:
            return text, chat_tensors(self.vlm, [text], [[turn]])
        part = _behind(text, self._text, self._turns[-1]["content"][0]["text"].strip())
        if part is None:
            part = chat_text(self.vlm.processor, [turn])
        return text, chat_tensors(self.vlm, [part], [[turn]], add_special_tokens=False)

    @property
    def visual_tokens(self) -> list[int]:
        """Visual tokens of all turns that each layer's cache holds, of the layers that hold any rows."""
        return self._memory.visual_tokens()

    @property
    def kv_bytes(self) -> int:
        """Bytes of the keys and values of all turns."""
        return self._memory.kv_bytes()

    def save(self, path: str | PathLike[str]) -> None:
        """Write the conversation to a file of plain tensors, texts and numbers; pictures are not in it.

        Raises:
            InputError: the turn before failed halfway, or a reduction that cannot be written down.
        """
        if not self._is_whole:
            raise InputError("the turn before failed halfway, so there is nothing whole to save")
        saved = {
            "model_type": self.vlm.family.model_type, "reduction": self.reduction.to_json(),
            "most_visual_tokens": self._memory.most, "turns": self._turns, "text": self._text,
            "memory": self._memory.to_dict(),
        }  # fmt: skip
        torch.save(saved, path)

    @classmethod
    def load(cls, vlm: VLM, path: str | PathLike[str]) -> "Conversation":
        """A conversation that was saved, which goes on as it would have; only tensors are read, no code.

        Args:
            vlm: the same model.
            path: of the file.

        Raises:
            InputError: a file that is none of these, or of another kind of model.
        """
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
            kind = saved["model_type"]
        except Exception as error:  # any kind: torch has several for what is no file of its own
            raise InputError(f"no conversation can be read from {str(path)!r}: {error}") from error
        if kind != vlm.family.model_type:
            raise InputError(
                f"{str(path)!r} is of {kind}, and the model is {vlm.family.model_type}"
            )
        talk = cls(vlm, Reduction.from_json(saved["reduction"]), saved["most_visual_tokens"])
        talk._turns, talk._text = saved["turns"], saved["text"]
        talk._memory.fill(saved["memory"])
        return talk


def _behind(text: str, before: str, answer: str) -> str | None:
    """What a conversation's text has behind that of earlier turns and the last answer.

    Returns:
        None where it begins otherwise.
    """
    if not text.startswith(before):
        return None
    space, _, part = (
        text[len(before) :].partition(answer) if answer else ("", "", text[len(before) :])
    )
    return None if space.strip() else part
