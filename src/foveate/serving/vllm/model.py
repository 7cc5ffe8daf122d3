"""The engine's half: pictures are encoded as by the stock model, and reduced right behind it."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from vllm.model_executor.models.interfaces import (  # pyright: ignore[reportMissingImports]
    SupportsMultiModal,
)

from foveate.errors import UnsupportedError
from foveate.reduction import Reuser
from foveate.serving.vllm.budget import Switch, encoding_of, method_of, question_of, unpacked
from foveate.serving.vllm.encoder import encoding
from foveate.serving.vllm.layout import Layout, Shrunk, shrink
from foveate.serving.vllm.processor import MODALITIES, LayoutOf, field

PIXELS = {"image": "pixel_values", "video": "pixel_values_videos"}


class FoveateModel(SupportsMultiModal):
    """Goes before a stock model in the bases of a class.

    Attributes:
        layout_of: the layout of a picture or clip, as its processor has it.
        item_fields: the arguments that `layout_of` reads, one entry a picture or clip.
        may_prune: whether its LLM may prune, see `foveate.serving.vllm.inside`.
    """

    layout_of: LayoutOf
    item_fields: tuple[str, ...] = ()
    may_prune: bool = False

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        self.foveate = self.switch(vllm_config.model_config.hf_config)
        if self.foveate.is_on:
            self.check_engine(vllm_config)
            if self.foveate.inside is not None and not self.may_prune:
                raise UnsupportedError(
                    f"{type(self).__name__} cannot prune inside the LLM, as its positions are on a grid: "
                    'leave "experimental" out, or take a LLaVA or InternVL'
                )
            self.most_encoded = vllm_config.scheduler_config.max_num_encoder_input_tokens

    @property
    def method_width(self) -> int | None:
        """Columns of the features that a method sees; None for all."""
        return None

    def switch(self, config: Any) -> Switch:
        """What the operator of the engine said.

        Args:
            config: of the model.
        """
        return Switch.of(config)

    def check_engine(self, vllm_config: Any) -> None:
        """Refuse what an engine cannot do with reduced pictures.

        Args:
            vllm_config: of the engine.

        Raises:
            UnsupportedError: LoRA in the tower or the connector.
        """
        lora = vllm_config.lora_config
        if lora is not None and lora.enable_tower_connector_lora:
            raise UnsupportedError(
                "LoRA in the tower or connector is told token counts of reduced pictures by vLLM: leave "
                "--enable-tower-connector-lora out, or foveate"
            )

    def embed_multimodal(self, **kwargs: Any) -> Any:
        """Encode pictures or clips, of one modality, and reduce those that have a budget."""
        budgets = {modality: kwargs.pop(field(modality), None) for modality in MODALITIES}
        modality = next((name for name in MODALITIES if budgets[name] is not None), None)
        if modality is None:
            made = kwargs.get("image_embeds")
            if not isinstance(made, list):
                made = super().embed_multimodal(**kwargs)
            # some stock models end the engine for embeddings or clips of several lengths
            return made if isinstance(made, Tensor) else [flat(each) for each in made]
        texts = [unpacked(letters) for letters in budgets[modality]]
        items = [
            {name: kwargs[name][n] for name in self.item_fields if name in kwargs}
            for n in range(len(texts))
        ]
        layouts = [type(self).layout_of(self.config, modality, item) for item in items]
        shrunk: list[Shrunk] = []
        for begin, end in self._chunks(layouts, texts):
            part = self._part(kwargs, modality, items, begin, end)
            with encoding(self, encoding_of(texts[begin]), modality, part):
                encoded = super().embed_multimodal(**part)
            shrunk += self._reduced(encoded, layouts[begin:end], texts[begin:end])
        return [self.carried(modality, *each) for each in zip(shrunk, layouts, items, strict=True)]

    def _chunks(self, layouts: Sequence[Layout], texts: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Parts of a batch that are encoded at once: with the same method in the encoder, if any."""
        done = 0
        for method, alike in groupby(texts, encoding_of):
            sizes = [len(layout.group) for layout in layouts[done : done + len(list(alike))]]
            # one that reuses would lend patches of one request to another
            most = 0 if isinstance(method, Reuser) else self.most_encoded
            yield from ((done + begin, done + end) for begin, end in chunks(sizes, most))
            done += len(sizes)

    def _reduced(
        self, encoded: Any, layouts: Sequence[Layout], texts: Sequence[str]
    ) -> list[Shrunk]:
        found = []
        for features, layout, text in zip(encoded, layouts, texts, strict=True):
            rows = flat(features)
            method, question = method_of(text), question_of(text)
            if method is None:
                found.append(Shrunk(rows, torch.arange(len(rows), device=rows.device)))
                continue
            read = (
                self.embed_input_ids(torch.tensor(question, device=rows.device))
                if question
                else None
            )
            found.append(shrink(rows, layout, method, width=self.method_width, question=read))
        return found

    def carried(
        self, modality: str, shrunk: Shrunk, layout: Layout, item: Mapping[str, Any]
    ) -> Float[Tensor, "k D"]:
        """What vLLM stores of a reduced picture or clip.

        Args:
            modality: "image" or "video".
            shrunk: what is left of it.
            layout: of the whole.
            item: its `item_fields`.
        """
        return shrunk.features

    def pixel_rows(self, modality: str, item: Mapping[str, Any]) -> int:
        """Rows of the pixels of one item; more than one where vLLM stacks those of all items.

        Args:
            modality: "image" or "video".
            item: its `item_fields`.
        """
        return 1

    def _part(
        self, kwargs: Mapping[str, Any], modality: str, items: Sequence[Any], begin: int, end: int
    ) -> dict[str, Any]:
        """The arguments of some items of a batch."""
        if (begin, end) == (0, len(items)):
            return dict(kwargs)
        rows = [self.pixel_rows(modality, item) for item in items]
        part = {}
        for name, value in kwargs.items():
            first, last = begin, end
            if name == PIXELS[modality]:
                first, last = sum(rows[:begin]), sum(rows[:end])
            is_shared = isinstance(value, Tensor) and value.ndim == 0
            part[name] = value if is_shared else value[first:last]
        return part


def flat(features: Float[Tensor, "*one n D"]) -> Float[Tensor, "n D"]:
    """Features of one picture or clip; of LLaVA-OneVision's clips some come as (1, n, D)."""
    return features.flatten(0, -2)


def chunks(sizes: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Parts of a batch, of at most so many tokens before reduction, or of one item: first, one past last.

    vLLM's scheduler counts reduced tokens, so it hands over more pictures at once than memory was
    profiled for.

    Args:
        sizes: tokens of each item.
        most: tokens that may be encoded at once.
    """
    begin, held = 0, 0
    for number, size in enumerate(sizes):
        if number > begin and held + size > most:
            yield begin, number
            begin, held = number, 0
        held += size
    yield begin, len(sizes)
