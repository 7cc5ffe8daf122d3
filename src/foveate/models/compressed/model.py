"""The model: stock LLaVA-OneVision but for what its projector gets."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import LlavaOnevisionForConditionalGeneration, LlavaOnevisionModel
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.llava_onevision.modeling_llava_onevision import image_size_to_num_patches

from foveate.compress.learned import LearnedCompressor
from foveate.compress.learned.described import build_compressor
from foveate.errors import InputError
from foveate.models.compressed.config import CompressedConfig
from foveate.models.compressed.question import QuestionCache
from foveate.models.family import EXTRA_FLOPS

# transformers' classes are Any here, as its models are in all of this package
_Model: Any = LlavaOnevisionModel
_WithHead: Any = LlavaOnevisionForConditionalGeneration


class CompressedModel(_Model):
    """Tower, compressor, projector and LLM, without the head.

    Attributes:
        compressor: what stands between tower and projector.
    """

    config_class = CompressedConfig

    def __init__(self, config: CompressedConfig) -> None:
        super().__init__(config)
        self.compressor = build_compressor(config)
        self.questions = QuestionCache()
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, LearnedCompressor):
            module.reset_parameters()
        else:
            super()._init_weights(module)

    def _initialize_weights(self, module: nn.Module, *custom: Any, **how: Any) -> None:
        # as custom code, a module without parameters of its own is passed over: compressors have none
        if isinstance(module, LearnedCompressor):
            custom, how = (), {}
        super()._initialize_weights(module, *custom, **how)

    def forward(
        self,
        input_ids: Tensor | None = None,
        *,
        inputs_embeds: Tensor | None = None,
        pixel_values: Tensor | None = None,
        image_sizes: Tensor | None = None,
        pixel_values_videos: Tensor | None = None,
        batch_num_images: Tensor | None = None,
        query_ids: Tensor | None = None,
        query_mask: Tensor | None = None,
        image_sample: Tensor | None = None,
        video_sample: Tensor | None = None,
        visual_tokens: Tensor | None = None,
        mm_encoder_outputs: dict[str, Any] | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """As LLaVA-OneVision's, with the question of each sample; see `get_image_features`."""
        encoded = dict(mm_encoder_outputs or {})
        question = {
            "query_ids": query_ids, "query_mask": query_mask, "visual_tokens": visual_tokens
        }  # fmt: skip
        if pixel_values is not None:
            encoded["image"] = self.get_image_features(
                pixel_values, image_sizes, batch_num_images, image_sample=image_sample, **question
            )
        if pixel_values_videos is not None:
            encoded["video"] = self.get_video_features(
                pixel_values_videos, video_sample=video_sample, **question
            )
        embeds = self.get_input_embeddings()(input_ids) if inputs_embeds is None else inputs_embeds
        for modality, output in encoded.items():
            visual = torch.cat(list(output.pooler_output)).to(embeds)
            masks = self.get_placeholder_mask(input_ids, embeds, **{f"{modality}_features": visual})
            embeds = embeds.masked_scatter(masks[modality == "video"], visual)
        return super().forward(
            inputs_embeds=embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            **kwargs,
        )

    def get_image_features(
        self,
        pixel_values: Tensor,
        image_sizes: Tensor | None = None,
        batch_num_images: Tensor | None = None,
        query_ids: Tensor | None = None,
        query_mask: Tensor | None = None,
        image_sample: Tensor | None = None,
        visual_tokens: Tensor | None = None,
        **_: Any,
    ) -> BaseModelOutputWithPooling:
        """Visual tokens of each image: its base view's, then each tile's where views are "all".

        Args:
            pixel_values: (images, views, 3, H, W), as the processor makes them, or (views, 3, H, W).
            image_sizes: (images, 2), height and width before cutting into tiles.
            batch_num_images: images of each sample; those of several have their base view only.
            query_ids: (B, Q), the question's tokens, for a compressor that looks at it.
            query_mask: (B, Q), 1 at its tokens.
            image_sample: for each image the sample that it belongs to; default the one of its number.
            visual_tokens: tokens a view, the same for all, for a compressor that leaves the choice.

        Returns:
            `pooler_output`: one (n, hidden) tensor an image.
        """
        if pixel_values.dim() == 4:
            pixel_values = pixel_values[:, None]
        views = self.views(image_sizes, batch_num_images, len(pixel_values))
        pixels = torch.cat([one[:count] for one, count in zip(pixel_values, views, strict=True)])
        return self._tokens(pixels, views, image_sample, query_ids, query_mask, visual_tokens)

    def get_video_features(
        self,
        pixel_values_videos: Tensor,
        query_ids: Tensor | None = None,
        query_mask: Tensor | None = None,
        video_sample: Tensor | None = None,
        visual_tokens: Tensor | None = None,
        **_: Any,
    ) -> BaseModelOutputWithPooling:
        """Visual tokens of each clip, frame by frame; arguments as of `get_image_features`.

        Returns:
            `pooler_output`: (clips, n, hidden).
        """
        clips, frames = pixel_values_videos.shape[:2]
        output: Any = self._tokens(
            pixel_values_videos.flatten(0, 1),
            [frames] * clips,
            video_sample,
            query_ids,
            query_mask,
            visual_tokens,
        )
        output.pooler_output = torch.stack(list(output.pooler_output))
        return output

    def views(self, sizes: Any, counts: Any, images: int) -> list[int]:
        """Views of each image that are compressed, as of `views_of`."""
        return views_of(self.config, sizes, counts, images)

    def compress(
        self,
        states: Sequence[Float[Tensor, "V N D"] | None],
        question: Float[Tensor, "V q T"] | None = None,
        tokens: int | None = None,
    ) -> Float[Tensor, "V n H"]:
        """Visual tokens of V views as the LLM gets them.

        Args:
            states: hidden states of the tower by layer; those that are not looked at may be None.
            question: its vector, one a view, or several, each of which gets n tokens.
            tokens: a view, where the compressor leaves the choice.
        """
        config, needs = self.config, self.compressor.needs
        patches = states[config.vision_feature_layer]
        assert patches is not None
        levels = None
        if "multi_level" in needs:
            looked_at = [states[layer] for layer in config.multi_level_layers or ()]
            levels = torch.cat([level for level in looked_at if level is not None], dim=-1)
        text = question.to(patches.dtype) if question is not None else None
        wanted = tokens or config.visual_tokens
        return self.multi_modal_projector(self.compressor(patches, levels, text, tokens=wanted))

    def _tokens(
        self,
        pixels: Float[Tensor, "V 3 H W"],
        views: list[int],
        sample: Int[Tensor, " _"] | None,
        query_ids: Tensor | None,
        query_mask: Tensor | None,
        wanted: Tensor | None,
    ) -> BaseModelOutputWithPooling:
        """Tokens of pictures of `views` views each, with the FLOPs of the question noted."""
        config = self.config
        states = self.vision_tower(pixels, output_hidden_states=True).hidden_states
        looked_at = (config.vision_feature_layer, *(config.multi_level_layers or ()))
        looked_at = {layer % len(states) for layer in looked_at}
        first = int(config.vision_feature_select_strategy == "default")  # behind [CLS]
        states = [s[:, first:] if n in looked_at else None for n, s in enumerate(states)]
        question, flops = self._question(query_ids, query_mask, sample, len(views))
        if question is not None:
            each = torch.tensor(views, device=question.device)
            question = question.repeat_interleave(each, dim=0)[:, None]
        tokens = None if wanted is None else int(wanted.flatten()[0])
        made = self.compress(states, question, tokens)
        parts = [part.flatten(0, 1) for part in made.split(views)]
        output: Any = BaseModelOutputWithPooling(pooler_output=parts)  # type: ignore[arg-type]
        setattr(output, EXTRA_FLOPS, flops)
        return output

    def _question(
        self, ids: Tensor | None, mask: Tensor | None, sample: Tensor | None, pictures: int
    ) -> tuple[Tensor | None, list[int]]:
        """A vector of the question for each picture, and the FLOPs that each question took."""
        if "text" not in self.compressor.needs:
            return None, []
        if ids is None:
            raise InputError(
                "this model's compressor looks at the question, and none was given: take the processor's "
                "apply_chat_template, or hand the processor question=..."
            )
        mask = torch.ones_like(ids) if mask is None else mask
        if sample is None and len(ids) != pictures:
            raise InputError(
                f"{pictures} pictures and {len(ids)} questions: image_sample and video_sample must say "
                "which sample each picture belongs to; the processor makes them"
            )
        made, flops = self.questions.vectors(
            self.language_model, self.config.query_encoding, ids, mask
        )
        return (made if sample is None else made[sample]), flops


def views_of(config: Any, sizes: Any, counts: Any, images: int) -> list[int]:
    """Views of each image that are compressed: 1, or 1 and its tiles.

    Args:
        config: of the model.
        sizes: height and width of each image before cutting into tiles, if known.
        counts: images of each sample; those of several have their base view only. None for all alone.
        images: how many there are.
    """
    if config.views == "base" or sizes is None:
        return [1] * images
    alone = [True] * images
    if counts is not None:
        alone = [int(count) == 1 for count in counts for _ in range(int(count))]
    pinpoints, side = config.image_grid_pinpoints, config.vision_config.image_size
    return [
        image_size_to_num_patches(size, pinpoints, side) if tiled else 1
        for size, tiled in zip(sizes, alone, strict=True)
    ]


class CompressedForConditionalGeneration(_WithHead):
    """A compressed LLaVA-OneVision with its language modelling head: `generate`, loss, checkpoints."""

    config_class = CompressedConfig

    def __init__(self, config: CompressedConfig) -> None:
        super().__init__(config)
        self.model = CompressedModel(config)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, LearnedCompressor):
            module.reset_parameters()
        else:
            super()._init_weights(module)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As LLaVA-OneVision's, with the arguments of `CompressedModel.forward`."""
        return super().forward(*args, **kwargs)

    def get_image_features(self, **kwargs: Any) -> Any:
        """See `CompressedModel.get_image_features`."""
        return self.model.get_image_features(**kwargs)

    def get_video_features(self, **kwargs: Any) -> Any:
        """See `CompressedModel.get_video_features`."""
        return self.model.get_video_features(**kwargs)


def _signature() -> inspect.Signature:
    """The stock signature with ours: transformers reads off it what a model takes."""
    stock = inspect.signature(LlavaOnevisionForConditionalGeneration.forward)
    names = dict(stock.parameters)
    rest = names.pop("kwargs")
    ours = inspect.signature(CompressedModel.forward).parameters
    more = {name: part for name, part in ours.items() if name not in names and name != "kwargs"}
    return stock.replace(parameters=[*names.values(), *more.values(), rest])


CompressedForConditionalGeneration.forward.__signature__ = _signature()


def with_compressor(
    stock: LlavaOnevisionForConditionalGeneration, **settings: Any
) -> CompressedForConditionalGeneration:
    """A stock model with a compressor put in; the compressor's weights are new, the rest is kept.

    Args:
        stock: a LLaVA-OneVision, which stays as it is; the copy is on its device.
        **settings: of `CompressedConfig`: `compressor`, `multi_level_layers`, `query_encoding`, `views`,
            `visual_tokens`.

    Raises:
        InputError: settings that do not fit the model or each other.
    """
    described = stock.config.to_dict() | settings
    described.pop("model_type", None)
    described.pop("architectures", None)
    model = CompressedForConditionalGeneration(CompressedConfig(**described))
    missing, unexpected = model.load_state_dict(stock.state_dict(), strict=False)
    foreign = [name for name in missing if not name.startswith("model.compressor.")]
    if unexpected or foreign:
        raise InputError(f"not a LLaVA-OneVision: {foreign + unexpected} do not fit")
    model.generation_config = stock.generation_config
    return model.to(stock.device, stock.dtype)
