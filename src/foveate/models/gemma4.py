"""Gemma 4: pictures of any shape; in the larger models their tokens see each other in sliding layers."""

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from foveate.cost.layers import SLIDING
from foveate.models.family import Family, register_family
from foveate.models.tiny import (
    TINY_END,
    TINY_IMAGE,
    TINY_LLM,
    TINY_START,
    TINY_VIDEO,
    Picture,
    noise,
    stacked,
)

STAMP = 9  # stands for a timestamp's text


@register_family
class Gemma4(Family):
    """`Gemma4ForConditionalGeneration`: images, clips, and mixes."""

    model_type = "gemma4"
    model_class = "Gemma4ForConditionalGeneration"
    modalities = ("image", "video")
    token_types = "mm_token_type_ids"
    refuses = "E2B, E4B: pruning from the first layer on whose keys others read"

    def placeholders(self, config: Any) -> dict[str, int]:
        """Images and videos; sound is left alone."""
        return {"image": config.image_token_id, "video": config.video_token_id}

    def groups(
        self,
        core: Any,
        modality: str,
        arguments: Mapping[str, Any],
        pooled: Tensor | Sequence[Tensor],
    ) -> list[Int[Tensor, " _"]]:
        """An image is a group, and so is each frame of a clip: of as many tokens as it has places."""
        if modality == "image":
            return super().groups(core, modality, arguments, pooled)
        places = arguments["video_position_ids"]
        sizes = _frame_sizes(core, places)
        if places.dim() == 4:  # in older transformers a clip is a row, all with as many frames
            frames = sizes.view(places.shape[:2]).unbind()
        else:
            frames = sizes.split(arguments["num_frames_per_video"].tolist())
        return [torch.arange(len(entry)).repeat_interleave(entry) for entry in frames]

    def grids(
        self,
        core: Any,
        modality: str,
        arguments: Mapping[str, Any],
        groups: Sequence[Int[Tensor, " _"]],
    ) -> list[list[tuple[int, int]]]:
        """By the places of the patches, which are given as columns and rows."""
        side = core.config.vision_config.pooling_kernel_size
        places = arguments[f"{modality}_position_ids"].flatten(0, -3)
        sizes = ((places[_frame_sizes(core, places) > 0].amax(1) + 1) // side).tolist()
        each = iter((rows, columns) for columns, rows in sizes)
        return [[next(each) for _ in entry.unique()] for entry in groups]

    def blocks(self, inputs: Mapping[str, Any]) -> Int[Tensor, "B N"] | None:
        """Each run of visual tokens is a block, where the model is told the token types."""
        from transformers.models.gemma4.modeling_gemma4 import get_block_sequence_ids_for_mask

        kinds = inputs.get("mm_token_type_ids")
        if kinds is None:
            return None
        return get_block_sequence_ids_for_mask(kinds, device=kinds.device).long()

    def both_ways_in(self, config: Any, kind: str) -> bool:
        """In sliding layers, and not in the small models."""
        return kind == SLIDING and config.text_config.use_bidirectional_attention == "vision"

    def vision_layer(self, core: Any) -> Any:
        """The last layer."""
        return core.vision_tower.encoder.layers[-1]

    def pool_patches_to_tokens(
        self,
        core: Any,
        modality: str,
        arguments: Mapping[str, Any],
        patches: Float[Tensor, "I P C"],
        groups: Sequence[Int[Tensor, " _"]],
    ) -> Float[Tensor, "V C"]:
        """A token is a square of patches, by their places; padding has none."""
        side = core.config.vision_config.pooling_kernel_size
        means = []
        for values, places in zip(
            patches, arguments[f"{modality}_position_ids"].flatten(0, -3), strict=True
        ):
            real = (places >= 0).all(-1)
            if real.any():
                column, row = (places[real] // side).unbind(-1)
                square = row * (column.max() + 1) + column
                sums = values.new_zeros(int(square.max()) + 1, values.shape[1])
                means.append(sums.index_add_(0, square, values[real]) / side**2)
        return torch.cat(means)

    def tiny(self) -> Any:
        """6 layers of width 64, every third sees everything with wider heads, the others 24 tokens."""
        from transformers import Gemma4Config, Gemma4ForConditionalGeneration

        text = {
            **TINY_LLM, "head_dim": 16, "global_head_dim": 32, "num_global_key_value_heads": 1,
            "attention_k_eq_v": True, "sliding_window": 24, "hidden_size_per_layer_input": 0,
            "layer_types": (["sliding_attention"] * 2 + ["full_attention"]) * 2,
            "use_bidirectional_attention": "vision", "initializer_range": 0.05,
        }  # fmt: skip
        vision = {
            "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16, "patch_size": 4,
            "pooling_kernel_size": 2, "position_embedding_size": 64,
        }  # fmt: skip
        ids: dict[str, Any] = {
            "image_token_id": TINY_IMAGE,
            "video_token_id": TINY_VIDEO,
            "audio_token_id": 124,
        }
        model = Gemma4ForConditionalGeneration(
            Gemma4Config(vision_config=vision, text_config=text, audio_config=None, **ids)
        )
        # so that it says no placeholder, which transformers would take for padding
        with torch.no_grad():
            model.lm_head.weight[list(ids.values())] = 0
        return model.eval()

    def tiny_picture(self, config: Any, modality: str, size: int) -> Picture:
        """Images of three shapes; clips of 4 and 6 frames, where a batch may hold clips of both."""
        rows, columns = ((6, 8), (4, 5), (7, 4))[size % 3]
        frames = 1 if modality == "image" else (4, 6 if _frames_are_flat() else 4)[size % 2]
        side, patch = config.vision_config.pooling_kernel_size, config.vision_config.patch_size
        places = torch.cartesian_prod(torch.arange(side * rows), torch.arange(side * columns))
        pixels = noise(frames, len(places), 3 * patch**2, seed=size)
        where = places.flip(-1)[None].repeat(frames, 1, 1)
        step = [TINY_START, *[self.placeholders(config)[modality]] * (rows * columns), TINY_END]
        if modality == "image":
            return Picture(step, {"pixel_values": pixels, "image_position_ids": where})
        tensors = {"pixel_values_videos": pixels[None], "video_position_ids": where[None]}
        if _frames_are_flat():
            tensors = {name: value[0] for name, value in tensors.items()}
            tensors["num_frames_per_video"] = torch.tensor([frames])
        return Picture([STAMP, *step] * frames, tensors)

    def tiny_collate(self, samples: Sequence[Sequence[Picture]]) -> dict[str, Tensor]:
        """Patches behind those of a smaller picture have no place: -1."""
        shifted = [
            [Picture(p.ids, _shifted(p.tensors, 1)) for p in pictures] for pictures in samples
        ]
        of_clips = (1,) if _frames_are_flat() else (1, 2)
        pads = {"pixel_values": (1,), "image_position_ids": (1,)}
        pads |= {"pixel_values_videos": of_clips, "video_position_ids": of_clips}
        return _shifted(stacked(shifted, pads), -1)


def _frame_sizes(core: Any, places: Tensor) -> Int[Tensor, " frames"]:
    """Visual tokens of each image or frame: squares of patches that have a place."""
    real = (places != -1).all(-1).sum(-1).flatten()
    return (real // core.config.vision_config.pooling_kernel_size**2).cpu()


def _frames_are_flat() -> bool:
    """Whether this transformers takes the frames of all clips one behind the other."""
    from transformers import Gemma4ForConditionalGeneration

    return "num_frames_per_video" in signature(Gemma4ForConditionalGeneration.forward).parameters


def _shifted(tensors: Mapping[str, Tensor], by: int) -> dict[str, Tensor]:
    """Places counted from 1, so that padding is 0, and back."""
    return {
        name: value + by if name.endswith("position_ids") else value
        for name, value in tensors.items()
    }
