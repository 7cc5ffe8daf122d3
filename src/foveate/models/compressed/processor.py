"""The processor: as many placeholders as there are visual tokens, and the question with every prompt."""

from collections.abc import Sequence
from typing import Any, no_type_check

import torch
from transformers import LlavaOnevisionProcessor
from transformers.models.llava_onevision.modeling_llava_onevision import image_size_to_num_patches

from foveate.compress.learned.described import build_compressor
from foveate.errors import InputError
from foveate.models.compressed.config import CompressedConfig

_Processor: Any = LlavaOnevisionProcessor  # transformers' classes are Any here


class Prompt(str):
    """A rendered prompt that still knows the question it was made from.

    Attributes:
        question: text of the last user message.
    """

    question: str

    def __new__(cls, text: str, question: str) -> "Prompt":
        made = super().__new__(cls, text)
        made.question = question
        return made


class CompressedProcessor(_Processor):
    """LLaVA-OneVision's processor for a compressed model.

    The question is the text of the last user message, as `apply_chat_template` gets it; the prompt that
    it returns carries it along. A prompt written by hand goes with `question=...`.

    Attributes:
        counts: tokens a view that the compressor can make, the default first.
        views: "base", or "all" with tiles.
        asks: whether the compressor looks at the question.
    """

    @no_type_check  # transformers reads the names off the function itself
    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        video_processor: Any = None,
        num_image_tokens: int | None = None,
        vision_feature_select_strategy: str | None = None,
        chat_template: str | None = None,
        image_token: str = "<image>",
        video_token: str = "<video>",
        vision_aspect_ratio: str = "anyres_max_9",
        counts: Sequence[int] = (1,),
        views: str = "base",
        asks: bool = False,  # noqa: FBT001 - transformers asks for all of them by position
        **kwargs: Any,
    ) -> None:
        self.counts, self.views, self.asks = list(counts), views, asks
        self.made = self.counts[0]
        super().__init__(
            image_processor,
            tokenizer,
            video_processor,
            num_image_tokens,
            vision_feature_select_strategy,
            chat_template,
            image_token,
            video_token,
            vision_aspect_ratio,
            **kwargs,
        )

    @classmethod
    def of(cls, stock: Any, config: CompressedConfig) -> "CompressedProcessor":
        """The processor for a compressed model, from the stock model's."""
        compressor = build_compressor(config)
        default = compressor.count(tokens=config.visual_tokens)
        return cls(
            stock.image_processor,
            stock.tokenizer,
            stock.video_processor,
            stock.num_image_tokens,
            stock.vision_feature_select_strategy,
            stock.chat_template,
            vision_aspect_ratio=stock.vision_aspect_ratio,
            counts=sorted(compressor.counts(), key=lambda count: count != default),
            views=config.views,
            asks="text" in compressor.needs,
        )

    def apply_chat_template(self, conversation: Any, *args: Any, **kwargs: Any) -> Any:
        """As the stock one; a rendered prompt remembers its question, a tokenized one brings it along."""
        batched = not isinstance(conversation[0], dict)
        talks = conversation if batched else [conversation]
        questions = [current_question(talk) for talk in talks]
        if kwargs.get("tokenize"):
            more = dict(kwargs.get("processor_kwargs") or {}) | {"question": questions}
            return super().apply_chat_template(
                conversation, *args, **(kwargs | {"processor_kwargs": more})
            )
        made = super().apply_chat_template(conversation, *args, **kwargs)
        rendered = made if batched else [made]
        prompts = [
            Prompt(text, question) for text, question in zip(rendered, questions, strict=True)
        ]
        return prompts if batched else prompts[0]

    def __call__(
        self,
        images: Any = None,
        text: Any = None,
        videos: Any = None,
        question: str | Sequence[str] | None = None,
        visual_tokens: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Tensors of a batch of prompts.

        Args:
            images: as LLaVA-OneVision's processor takes them.
            text: prompts; those of `apply_chat_template` bring their question.
            videos: as LLaVA-OneVision's processor takes them.
            question: of each prompt, where they were written by hand.
            visual_tokens: tokens a view, where the compressor leaves the choice.
            **kwargs: of LLaVA-OneVision's processor.

        Raises:
            InputError: a prompt without the question that the compressor needs; a count it cannot make.
        """
        if visual_tokens is not None and visual_tokens not in self.counts:
            shown = ", ".join(map(str, sorted(self.counts)[:12]))
            raise InputError(f"visual_tokens must be one of {shown}, got {visual_tokens}")
        prompts = [text] if isinstance(text, str) else list(text)
        questions = self._questions(prompts, question) if self.asks else None
        self.made = visual_tokens or self.counts[0]
        try:
            inputs = super().__call__(images=images, text=text, videos=videos, **kwargs)
        finally:
            self.made = self.counts[0]
        if visual_tokens is not None:
            inputs["visual_tokens"] = torch.full((len(prompts),), visual_tokens)
        if questions is not None:
            inputs.update(self._question_tensors(prompts, questions))
        return inputs

    def _questions(self, prompts: list[str], given: str | Sequence[str] | None) -> list[str]:
        questions = [given] if isinstance(given, str) else given
        if questions is None:
            questions = [getattr(prompt, "question", "") for prompt in prompts]
        if len(questions) != len(prompts) or not all(one.strip() for one in questions):
            raise InputError(
                f"this model's compressor looks at the question: {len(prompts)} prompts need as many, "
                f"none empty; got {list(questions)}. Prompts of apply_chat_template bring theirs; else "
                "give question=..."
            )
        return list(questions)

    def _question_tensors(
        self, prompts: list[str], questions: list[str]
    ) -> dict[str, torch.Tensor]:
        """The question's tokens, and which sample each picture belongs to."""
        tokens = self.tokenizer(questions, padding=True, return_tensors="pt")
        tensors = {"query_ids": tokens["input_ids"], "query_mask": tokens["attention_mask"]}
        for name, token in (("image_sample", self.image_token), ("video_sample", self.video_token)):
            counts = torch.tensor([prompt.count(token) for prompt in prompts])
            if counts.any():
                tensors[name] = torch.arange(len(prompts)).repeat_interleave(counts)
        return tensors

    def replace_image_token(self, image_inputs: Any, image_idx: int, **kwargs: Any) -> str:
        """The placeholders of one image."""
        views = 1
        counts = image_inputs["batch_num_images"]
        alone = [int(count) == 1 for count in counts for _ in range(int(count))]
        if self.views == "all" and alone[image_idx]:
            size = image_inputs["image_sizes"][image_idx]
            pixels = image_inputs["pixel_values"][image_idx]
            views = image_size_to_num_patches(
                torch.as_tensor(size).tolist(),
                self.image_processor.image_grid_pinpoints,
                pixels[0].shape[-1],
            )
        return self.image_token * (views * self.made)

    def replace_video_token(self, video_inputs: Any, video_idx: int, **kwargs: Any) -> str:
        """The placeholders of one clip."""
        return self.video_token * (len(video_inputs["pixel_values_videos"][video_idx]) * self.made)


def current_question(conversation: Sequence[dict[str, Any]]) -> str:
    """Text of the last user message; empty where there is none."""
    for message in reversed(conversation):
        if message["role"] == "user":
            content = message["content"]
            if isinstance(content, str):
                return content
            return "\n".join(part["text"] for part in content if part["type"] == "text")
    return ""
