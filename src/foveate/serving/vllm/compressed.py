"""LLaVA-OneVision with a learned compressor, as `foveate train` writes it: QueCC and others."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from vllm.model_executor.models import (  # pyright: ignore[reportMissingImports]
    llava_onevision as stock,
)
from vllm.model_executor.models.utils import WeightsMapper  # pyright: ignore[reportMissingImports]
from vllm.multimodal import MULTIMODAL_REGISTRY  # pyright: ignore[reportMissingImports]
from vllm.multimodal.parse import EmbeddingItems  # pyright: ignore[reportMissingImports]

from foveate.compress.learned.described import build_compressor
from foveate.errors import InputError, UnsupportedError
from foveate.models.compressed.model import CompressedModel, views_of
from foveate.models.compressed.question import question_vectors
from foveate.serving.field import KEY
from foveate.serving.vllm.budget import Switch, question_of, unpacked
from foveate.serving.vllm.compressor import counts_of, read_asked, switch_of, tokens_of, written
from foveate.serving.vllm.llava_onevision import layout_of
from foveate.serving.vllm.model import PIXELS, FoveateModel, chunks
from foveate.serving.vllm.processor import (
    MODALITIES,
    PROFILE,
    FoveateProcessor,
    field,
    placeholders,
    refuse_nested,
)
from foveate.serving.vllm.question import around, question_in

TOWER = re.compile(r"^model\.vision_tower\.(?!vision_model\.)")  # transformers 5 drops a part
PROFILED = {"question": "what is it?"}  # of the pictures that memory is measured for
OUTSIDE = (
    "this checkpoint's compressor reads the LLM's hidden state of the question, which vLLM has not "
    "computed when it encodes a picture: make image embeddings outside (foveate.serving.embeddings) and "
    "send these"
)


class CompressedServing(FoveateProcessor, stock.LlavaOnevisionMultiModalProcessor):
    """LLaVA-OneVision's own processor; a view has as many placeholders as the compressor makes tokens."""

    layout_of = staticmethod(layout_of)

    def __init__(self, info: Any, dummy_inputs: Any) -> None:
        super().__init__(info, dummy_inputs)
        self.config = info.ctx.get_hf_config()
        self.counts = counts_of(self.config)
        if not info.ctx.get_mm_config().enable_mm_embeds:
            self._refuse_hidden_state(": start the engine with --enable-mm-embeds")

    def switch(self, config: Any) -> Switch:
        """How many tokens a view the operator of the engine allows."""
        return switch_of(config)

    def asked(self, inputs: Any) -> str:
        """How many tokens a view are asked for, and about which question, as one text.

        Raises:
            InputError: not what may be asked for, or a question that the compressor needs and that is not
                found.
        """
        given, items = inputs.hf_processor_mm_kwargs, inputs.mm_data_items
        refuse_nested(given)
        is_profile = given.get(KEY) is PROFILE
        row = PROFILED if is_profile else given.get(KEY)
        tokens, question = read_asked(row, self.counts, tokens_of(self.foveate.default))
        if all(isinstance(part, EmbeddingItems) for part in items.values() if len(part)):
            return ""
        if not is_profile:
            self._refuse_hidden_state()
        if self.config.query_encoding == "none":
            return written(tokens, ())
        tokenizer = self.info.get_tokenizer()
        if question is None:
            media = placeholders(self.config)
            prompt = tokenizer.decode([token for token in inputs.prompt if token not in media])
            question = question_in(prompt, *self._around)
        return written(tokens, tokenizer(question)["input_ids"])

    @cached_property
    def _around(self) -> tuple[str, str]:
        processor = self.info.get_hf_processor()

        def render(conversation: Sequence[dict[str, Any]]) -> str:
            return processor.apply_chat_template(
                list(conversation), tokenize=False, add_generation_prompt=True
            )

        return around(render)

    def _refuse_hidden_state(self, more: str = "") -> None:
        if self.config.query_encoding == "llm":
            raise InputError(OUTSIDE + more)

    def smaller(self, update: Any, text: str, out_mm_kwargs: Any) -> Any:
        """The same update with the compressor's tokens."""
        modality = update.modality
        token = getattr(self.config, f"{modality}_token_index")

        def replacement(item: int) -> list[int]:
            data = out_mm_kwargs[modality][item].get_data()
            return [token] * (views(self.config, modality, data) * tokens_of(text))

        return replace(update, replacement=replacement)


def views(config: Any, modality: str, item: Mapping[str, Any]) -> int:
    """Views of a picture that are compressed, or frames of a clip.

    Args:
        config: of the model.
        modality: "image" or "video".
        item: its tensors.
    """
    if modality == "video":
        return len(item["pixel_values_videos"])
    return views_of(config, item["image_sizes"][None], None, 1)[0]


@MULTIMODAL_REGISTRY.register_processor(
    CompressedServing,
    info=stock.LlavaOnevisionProcessingInfo,
    dummy_inputs=stock.LlavaOnevisionDummyInputsBuilder,
)
class FoveateCompressed(FoveateModel, stock.LlavaOnevisionForConditionalGeneration):
    """`CompressedForConditionalGeneration`."""

    layout_of = staticmethod(layout_of)
    item_fields = ("image_sizes", "pixel_values_videos")
    hf_to_vllm_mapper = (
        stock.LlavaOnevisionForConditionalGeneration.hf_to_vllm_mapper
        | WeightsMapper(
            orig_to_new_regex={TOWER: "model.vision_tower.vision_model."},  # as on the hub
            orig_to_new_prefix={"model.compressor.": "compressor."},
        )
    )

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        config, depth = self.config, self.config.vision_config.num_hidden_layers
        looked_at = (config.vision_feature_layer, *(config.multi_level_layers or ()))
        self.levels = sorted({level if level >= 0 else depth + 1 + level for level in looked_at})
        self.states = depth + 1
        if self.levels[-1] > len(self.vision_tower.vision_model.encoder.layers):
            raise UnsupportedError(
                f"multi_level_layers {config.multi_level_layers} lie behind vision_feature_layer "
                f"{config.vision_feature_layer}, where vLLM loads no layers of the tower"
            )
        self.compressor = build_compressor(config)

    def switch(self, config: Any) -> Switch:
        """How many tokens a view the operator of the engine allows."""
        return switch_of(config)

    def embed_multimodal(self, **kwargs: Any) -> Any:
        """Encode and compress pictures or clips, of one modality; embeddings are taken as they are."""
        budgets = {modality: kwargs.pop(field(modality), None) for modality in MODALITIES}
        modality = next((name for name in MODALITIES if budgets[name] is not None), None)
        if modality is None:
            return super().embed_multimodal(**kwargs)
        texts = [unpacked(letters) for letters in budgets[modality]]
        pixels = []
        for number, own in enumerate(kwargs[PIXELS[modality]]):
            item = {name: kwargs[name][number] for name in self.item_fields if name in kwargs}
            pixels.append(own[: views(self.config, modality, item)])
        patches = self.compressor.config.grid[0] * self.compressor.config.grid[1]
        made: list[Tensor] = []
        for begin, end in chunks([len(each) * patches for each in pixels], self.most_encoded):
            states = self._states(torch.cat(pixels[begin:end])).split(
                [len(each) for each in pixels[begin:end]], dim=1
            )
            made += [self._compressed(*each) for each in zip(states, texts[begin:end], strict=True)]
        return made

    def _states(self, pixels: Float[Tensor, "V 3 H W"]) -> Float[Tensor, "L V N D"]:
        """The hidden states that are looked at."""
        found = self.vision_tower(
            pixels,
            select_layers=self.levels,
            feature_select_strategy=self.config.vision_feature_select_strategy,
        )
        return torch.stack(found.chunk(len(self.levels), dim=-1))

    def _compressed(self, looked_at: Float[Tensor, "L V N D"], text: str) -> Float[Tensor, "n H"]:
        """The tokens of one picture or clip."""
        states: list[Tensor | None] = [None] * self.states
        for level, state in zip(self.levels, looked_at, strict=True):
            states[level] = state
        asked = question_of(text)
        question = None
        if asked:
            ids = torch.tensor([asked], device=looked_at.device)
            llm = SimpleNamespace(get_input_embeddings=lambda: self.embed_input_ids)
            vector = question_vectors(llm, "embedding", ids, torch.ones_like(ids))
            question = vector[None].expand(looked_at.shape[1], -1, -1)
        return CompressedModel.compress(self, states, question, tokens_of(text)).flatten(0, 1)
