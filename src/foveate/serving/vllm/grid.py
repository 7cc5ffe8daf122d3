"""Models whose visual tokens have positions on a grid: Qwen2.5-VL, Qwen3-VL."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from foveate.errors import UnsupportedError
from foveate.serving.vllm.layout import Layout, Shrunk
from foveate.serving.vllm.model import FoveateModel
from foveate.serving.vllm.positions import (
    Block,
    grid_offsets,
    offsets_of,
    prompt_positions,
    runs,
    with_offsets,
)
from foveate.serving.vllm.processor import field


def layout_of(config: Any, modality: str, item: Mapping[str, Any]) -> Layout:
    """Each time step of patches on a grid is a group; a picture has one."""
    steps, rows, columns = item[f"{modality}_grid_thw"].tolist()
    joined = config.vision_config.spatial_merge_size
    return Layout.even([(rows // joined, columns // joined)] * steps, is_clip=modality == "video")


class GridModel(FoveateModel):
    """`FoveateModel` that keeps positions; a class says how its clips stand in a prompt.

    Attributes:
        frames_apart: whether text stands between the frames of a clip, each with a position of its own.
    """

    layout_of = staticmethod(layout_of)
    item_fields = ("image_grid_thw", "video_grid_thw", "second_per_grid_ts")
    frames_apart: bool = False

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        self.ahead: tuple[Tensor, Tensor] | None = None  # rows of a step, and their offsets

    @property
    def feature_width(self) -> int:
        """Columns of a token's features, without offsets."""
        raise NotImplementedError

    def check_engine(self, vllm_config: Any) -> None:
        """Refuse what an engine cannot do with reduced pictures, and what would miss their positions.

        Raises:
            UnsupportedError: the message says what.
        """
        super().check_engine(vllm_config)
        if refused := list(_misses_positions(vllm_config)):
            raise UnsupportedError(
                "foveate keeps positions on a grid in the model's own forward, which "
                f"{refused[0]} leaves out: do without it, or without foveate"
            )

    def get_encoder_cudagraph_config(self) -> Any:
        """None are captured where pictures may be reduced: they would go round `embed_multimodal`."""
        config = super().get_encoder_cudagraph_config()
        return replace(config, modalities=[]) if self.foveate.is_on else config

    def pixel_rows(self, modality: str, item: Mapping[str, Any]) -> int:
        """Patches: those of all items stand one under the other."""
        return int(item[f"{modality}_grid_thw"].prod())

    def offsets(self, modality: str, layout: Layout, item: Mapping[str, Any]) -> Int[Tensor, "n 3"]:
        """Time, row and column of each token of a picture or clip, from its first position on.

        Args:
            modality: "image" or "video".
            layout: of its tokens.
            item: its `item_fields`.
        """
        if self.frames_apart or modality == "image":
            return grid_offsets(layout, 0.0)
        seconds = item.get("second_per_grid_ts")
        rate = getattr(self.config.vision_config, "tokens_per_second", 1.0)
        return grid_offsets(layout, (1.0 if seconds is None else float(seconds)) * rate)

    def carried(
        self, modality: str, shrunk: Shrunk, layout: Layout, item: Mapping[str, Any]
    ) -> Float[Tensor, "k E"]:
        """Features, and how far each token stands from the item's first position."""
        whole = self.offsets(modality, layout, item)
        return with_offsets(shrunk.features, whole.to(shrunk.rows.device)[shrunk.rows])

    def get_mrope_input_positions(self, input_tokens: list[int], mm_features: list[Any]) -> Any:
        """Positions of a prompt: the stock ones, unless one of its pictures is reduced."""
        if not any(field(each.modality) in each.data for each in mm_features):
            return super().get_mrope_input_positions(input_tokens, mm_features)
        return prompt_positions(len(input_tokens), self._blocks(input_tokens, mm_features))

    def _blocks(self, tokens: Sequence[int], features: Sequence[Any]) -> Iterator[Block]:
        for each in sorted(features, key=lambda feature: feature.mm_position.offset):
            item, modality = each.data.get_data(), each.modality
            layout = type(self).layout_of(self.config, modality, item)
            offsets = self.offsets(modality, layout, item)
            token = getattr(self.config, f"{modality}_token_id")
            start = each.mm_position.offset
            own = runs(tokens, token, start, start + each.mm_position.length)
            parts = offsets.split(layout.sizes) if self.frames_apart else [offsets]
            for (first, length), part in zip(own, parts, strict=True):
                yield Block(first, length, part, field(modality) in item)

    def embed_input_ids(
        self, input_ids: Tensor, multimodal_embeddings: Any = None, *, is_multimodal: Any = None
    ) -> Tensor:
        """The LLM's input; offsets are taken off the features and kept for `forward`."""
        self.ahead = None
        given = [] if multimodal_embeddings is None else list(multimodal_embeddings)
        width = self.feature_width
        if any(part.shape[1] > width for part in given):
            offsets = [
                offsets_of(part) if part.shape[1] > width else part.new_zeros(len(part), 3).long()
                for part in given
            ]
            self.ahead = is_multimodal.nonzero()[:, 0], torch.cat(offsets)
            multimodal_embeddings = [part[:, :width] for part in given]
        return super().embed_input_ids(
            input_ids, multimodal_embeddings, is_multimodal=is_multimodal
        )

    def forward(self, input_ids: Any, positions: Tensor, *arguments: Any, **named: Any) -> Any:
        """The stock forward, with reduced tokens at their own positions."""
        if self.ahead is not None:
            rows, offsets = self.ahead
            self.ahead = None
            positions[:, rows.to(positions.device)] += offsets.T.to(positions)
        return super().forward(input_ids, positions, *arguments, **named)


def _misses_positions(vllm_config: Any) -> Iterator[str]:
    """What of an engine's configuration runs the LLM without the model's own forward before it."""
    parallel = vllm_config.parallel_config
    if parallel.pipeline_parallel_size > 1:
        yield "pipeline parallelism"
    if parallel.prefill_context_parallel_size > 1:
        yield "prefill context parallelism"
    if parallel.enable_dbo:
        yield "dual batch overlap"
    if vllm_config.speculative_config is not None:
        yield "a speculative drafter"
    if vllm_config.compilation_config.cudagraph_mode.has_full_cudagraphs():
        yield 'a full CUDA graph (take --compilation-config \'{"cudagraph_mode": "PIECEWISE"}\')'
