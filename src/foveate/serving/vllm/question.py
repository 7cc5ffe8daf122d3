"""The question in a prompt, for compressors that look at it; this needs no vLLM.

A compressor is trained to be told the text of the last user message. vLLM hands its processors a prompt
in which that message is rendered already, so it is found between what the checkpoint's chat template
writes before a user's message and what it writes behind the last.
"""

from collections.abc import Callable, Sequence
from typing import Any

from foveate.errors import InputError

MARK = "QUESTION"
Render = Callable[[Sequence[dict[str, Any]]], str]  # a conversation as a prompt


def around(render: Render) -> tuple[str, str]:
    """What stands before and behind the last user message of a prompt.

    Args:
        render: of a checkpoint's chat template, up to where the answer begins.
    """
    said = {
        role: {"role": role, "content": [{"type": "text", "text": text}]}
        for role, text in (("user", MARK), ("assistant", "ANSWER"))
    }
    first, _, closing = render([said["user"]]).partition(MARK)
    later = render([said["user"], said["assistant"], said["user"]]).rpartition(MARK)[0]
    alike = 0
    while alike < len(first) and first[len(first) - alike - 1 :] == later[len(later) - alike - 1 :]:
        alike += 1
    return first[len(first) - alike :], closing


def question_in(prompt: str, opening: str, closing: str) -> str:
    """The text of the last user message, without white space around it.

    Args:
        prompt: rendered, without placeholders of pictures.
        opening: of `around`.
        closing: of `around`.

    Raises:
        InputError: it is not there.
    """
    if opening and closing and prompt.endswith(closing):
        _, begins, question = prompt.removesuffix(closing).rpartition(opening)
        if begins and question.strip():
            return question.strip()
    raise InputError(
        "this checkpoint's compressor looks at the question, which is not found in a prompt that its "
        'chat template did not write: give it as mm_processor_kwargs={"foveate": {"question": ...}}'
    )
