"""Chats as a model takes them: its template's text, and the tensors of that and of the pictures."""

from collections.abc import Sequence
from itertools import product
from typing import Any

from PIL import Image

from foveate.ask.media import Clip
from foveate.errors import InputError
from foveate.pictures import to_rgb

Turn = dict[str, Any]


def chat_text(processor: Any, turns: Sequence[Turn]) -> str:
    """What a chat template makes of a conversation, up to where the answer begins.

    Args:
        processor: of the model.
        turns: with `role` and `content`: texts, pictures and clips in order.
    """
    described = [described_turn(turn) for turn in turns]
    return processor.apply_chat_template(described, add_generation_prompt=True)


def described_turn(turn: Turn) -> Turn:
    """A turn as a chat template takes it, its pictures only named."""
    return {**turn, "content": [_described(part) for part in turn["content"]]}


def _described(part: str | Image.Image | Clip | dict[str, str]) -> dict[str, str]:
    if isinstance(part, dict):
        return part
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "video" if isinstance(part, Clip) else "image"}


def chat_tensors(
    vlm: Any, prompts: Sequence[str], chats: Sequence[Sequence[Turn]], **options: Any
) -> dict[str, Any]:
    """The tensors of several prompts, padded on the left, on the model's device.

    Args:
        vlm: a `VLM`.
        prompts: of each the template's text, or a later part of it.
        chats: the turns that each text shows, for their pictures.
        **options: of the processor.

    Raises:
        InputError: a clip for a model of images only, or a text that holds a picture's placeholder.
    """
    taken, written = vlm.family.placeholders(vlm.model.config), _placeholders(vlm)
    images, clips = [], []
    for turns in chats:
        parts = [part for turn in turns for part in turn["content"]]
        images.append([to_rgb(part) for part in parts if isinstance(part, Image.Image)])
        clips += [part.array() for part in parts if isinstance(part, Clip)]
        texts = [part for part in parts if isinstance(part, str)]
        for token, text in product(written, texts):
            if token in text:
                raise InputError(
                    f"a text must not hold {token!r}, which stands for a picture, got {text!r}; "
                    "pictures and clips are given as media"
                )
        if clips and "video" not in taken:
            raise InputError(f"{vlm.family.model_type} takes {' and '.join(taken)}, got a video")
    # nested, so that the processor knows which sample each belongs to
    visual: dict[str, Any] = {"images": images} if any(images) else {}
    if clips:
        visual |= {"videos": clips, "do_sample_frames": False}
    padding = {"padding": True, "padding_side": "left"} if len(prompts) > 1 else {}
    given = {**visual, **padding, **options}
    inputs = vlm.processor(text=list(prompts), **given, return_tensors="pt")
    return dict(inputs.to(vlm.model.device, vlm.model.dtype))


def _placeholders(vlm: Any) -> list[str]:
    """The placeholders of pictures and clips in a prompt, before and after the processor."""
    ids = vlm.family.placeholders(vlm.model.config).values()
    named = ("image_token", "video_token", "boi_token")
    special = {getattr(vlm.processor, name, None) for name in named}
    return sorted({*vlm.processor.tokenizer.convert_ids_to_tokens(list(ids)), *special} - {None})
