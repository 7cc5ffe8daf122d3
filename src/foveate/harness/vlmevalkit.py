"""foveate in VLMEvalKit: it has no plug-in hook, so a model is entered into its table before it runs.

from foveate.harness.vlmevalkit import enter
enter("LLaVA-OneVision-7B-AIM", pretrained="llava-hf/llava-onevision-qwen2-7b-ov-hf",
reduction="aim", keep=0.25)
# then VLMEvalKit's own run.py, in the same process: runpy.run_path("run.py", run_name="__main__")
"""

from functools import partial
from typing import Any

from foveate.errors import InputError
from foveate.harness.asking import Asker

IGNORED = {"use_vllm", "use_lmdeploy"}  # arguments that its runner adds for other engines


def enter(name: str, **arguments: Any) -> None:
    """Put a model into `vlmeval.config.supported_VLM`.

    Args:
        name: its name for `--model`.
        **arguments: of `Asker.of`: pretrained, reduction, knobs, share, budget, frames, device.

    Raises:
        InputError: VLMEvalKit is not installed, or the name is taken.
    """
    try:
        from vlmeval.config import supported_VLM  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise InputError(
            "VLMEvalKit is not installed: pip install -e . in a checkout of open-compass/VLMEvalKit"
        ) from None
    if name in supported_VLM:
        raise InputError(f"VLMEvalKit already has a model {name!r}; choose another name")
    supported_VLM[name] = partial(model_class(), **arguments)


def model_class() -> type:
    """The class that VLMEvalKit makes and asks, derived from its own base."""
    from vlmeval.vlm.base import BaseModel  # pyright: ignore[reportMissingImports]

    class Foveate(BaseModel):
        """Any supported model under any reduction; text, pictures and clips in their order."""

        INTERLEAVE = True
        VIDEO_LLM = True
        allowed_types = ("text", "image", "video")

        def __init__(self, max_new_tokens: int = 512, **arguments: Any) -> None:
            super().__init__()
            self.max_new_tokens = max_new_tokens
            kept = {key: value for key, value in arguments.items() if key not in IGNORED}
            self.asker = Asker.of(**kept)

        def generate_inner(self, message: list[dict[str, Any]], dataset: str | None = None) -> str:
            """Answer one message, greedily."""
            content = [
                part["value"] if part["type"] == "text" else self.asker.shown(part["value"])
                for part in message
            ]
            chat = [{"role": "user", "content": content}]
            text, _ = self.asker.answer(chat, max_new_tokens=self.max_new_tokens, do_sample=False)
            return text

    return Foveate
