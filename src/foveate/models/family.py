"""What foveate must know of a model family, and the table of families.

A family is one module of this package that registers one `Family`; nothing else is edited. Stock models
are `Any` here: their attributes are transformers' and known to no type checker.
"""

import importlib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from foveate.errors import UnsupportedError
from foveate.models.tiny import Picture, prompt, stacked
from foveate.registry import decorated

EXTRA_FLOPS = (
    "foveate_extra_flops"  # on an encoding, for each question the FLOPs that reading it took
)


class Family(ABC):
    """One model family, as `model.config.model_type` names it.

    What it says of itself is known without a model; `foveate.testing.check_family_is_as_stated` sees that
    it is so. Transformers' modelling code is imported where it is used, for listing families needs none.

    Attributes:
        model_type: transformers' name of it.
        model_class: name of the transformers class.
        modalities: of `placeholders`.
        merge_at: where methods before the LLM can work: "llm"; "encoder" where there is a `projector`;
            "encoder keys" where there are `encoder_keys`.
        grid_positions: whether visual tokens have positions of their own on a grid (M-RoPE). They keep
            them when others are merged away; elsewhere merging renumbers the sequence.
        token_types: name of the input that tells text, image and video tokens apart, if it takes one.
        llm_arguments: what the LLM is handed beside what every LLM is.
    """

    model_type: ClassVar[str]
    model_class: ClassVar[str] = ""
    modalities: ClassVar[tuple[str, ...]] = ("image",)
    merge_at: ClassVar[tuple[str, ...]] = ("llm",)
    grid_positions: ClassVar[bool] = False
    token_types: ClassVar[str | None] = None
    llm_arguments: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def placeholders(self, config: Any) -> dict[str, int]:
        """Placeholder token of each modality ("image", "video") that the family takes."""

    @abstractmethod
    def tiny(self) -> Any:
        """A model of this family with random weights, small enough to test on."""

    @abstractmethod
    def tiny_picture(self, config: Any, modality: str, size: int) -> Picture:
        """A picture of noise for `tiny`.

        Args:
            config: of the tiny model.
            modality: one of `placeholders`.
            size: from 0; families that take pictures of several shapes give each another one.
        """

    def groups(
        self,
        core: Any,
        modality: str,
        arguments: Mapping[str, Any],
        pooled: Tensor | Sequence[Tensor],
    ) -> list[Int[Tensor, " _"]]:
        """For each entry of `pooled`, the tile or frame that each of its tokens belongs to, from 0.

        By default an entry is one group.

        Args:
            core: the model without its head (`model.model`).
            modality: "image" or "video".
            arguments: of the core's `get_image_features` or `get_video_features`.
            pooled: features that these returned, one entry (n, D) an image, clip or sample.
        """
        return [torch.zeros(len(entry), dtype=torch.long) for entry in pooled]

    def language_model(self, core: Any) -> Any:
        """The LLM, whose `layers` are its decoder layers."""
        return core.language_model

    def projector(self, core: Any) -> Any:
        """The module that takes encoder features (images, patches, D) to the LLM's width, one by one.

        Raises:
            UnsupportedError: this family has no such module: it joins, pools or packs patches on the way.
        """
        raise UnsupportedError(f"{self.model_type} merges at the LLM's input only; use at='llm'")

    def encoder_keys(self, core: Any) -> Any:
        """The module whose output is the keys of the vision layer that reads the chosen features.

        Raises:
            UnsupportedError: this family has no such single module.
        """
        raise UnsupportedError(f"{self.model_type} offers no encoder keys; use metric='features'")

    def vision_layer(self, core: Any) -> Any:
        """The encoder layer whose output is the chosen features; its queries and keys can be watched.

        Raises:
            UnsupportedError: this family has no such layer.
        """
        raise UnsupportedError(f"{self.model_type} does not say which vision layer to watch")

    def question_flops(self, config: Any, inputs: Mapping[str, Any]) -> list[int]:
        """For each sample what reading its question beforehand takes, if it is not known yet.

        Args:
            config: of the model.
            inputs: of the model.
        """
        return [0] * len(inputs["input_ids"])

    def packed(self, core: Any, modality: str, arguments: Mapping[str, Any]) -> list[int] | None:
        """Patches of each image, where the encoder computes all in one sequence; None where in a batch.

        Args:
            core: the model without its head.
            modality: "image" or "video".
            arguments: of the core's `get_image_features` or `get_video_features`.
        """
        return None

    def pool_patches_to_tokens(
        self,
        core: Any,
        modality: str,
        arguments: Mapping[str, Any],
        patches: Float[Tensor, "I P C"],
        groups: Sequence[Int[Tensor, " _"]],
    ) -> Float[Tensor, "V C"]:
        """What each visual token has of its patches' values: their mean, packed as features are.

        By default a token is one patch, or a square block of the image's square grid.

        Args:
            core: the model without its head.
            modality: "image" or "video".
            arguments: of the core's `get_image_features` or `get_video_features`.
            patches: as the encoder computes them, without [CLS].
            groups: of each image or clip, one number for each of its visual tokens.
        """
        images, count, width = patches.shape
        tokens = sum(len(entry) for entry in groups)
        side, block = math.isqrt(count), math.isqrt(images * count // tokens)
        if images * count == tokens:
            return patches.flatten(0, 1)
        picture = patches.mT.reshape(images, width, side, side)
        return F.avg_pool2d(picture, block).flatten(2).mT.flatten(0, 1)

    def grids(
        self,
        core: Any,
        modality: str,
        arguments: Mapping[str, Any],
        groups: Sequence[Int[Tensor, " _"]],
    ) -> list[list[tuple[int, int]]]:
        """Rows and columns of each group of each entry of `groups`; by default groups are squares.

        Raises:
            UnsupportedError: a group is no square.
        """
        sizes = [torch.bincount(entry).tolist() for entry in groups]
        for size in {size for entry in sizes for size in entry}:
            if math.isqrt(size) ** 2 != size:
                raise UnsupportedError(
                    f"{self.model_type}: a group of {size} tokens is no square grid"
                )
        return [[(math.isqrt(size), math.isqrt(size)) for size in entry] for entry in sizes]

    def blocks(self, inputs: Mapping[str, Any]) -> Int[Tensor, "B N"] | None:
        """Where attention runs both ways: the number of each token's block, -1 outside; None = nowhere.

        Args:
            inputs: keyword arguments of the core's forward.
        """
        return None

    def both_ways_in(self, config: Any, kind: str) -> bool:
        """Whether layers of a kind ("full_attention", "sliding_attention") let a block see both ways.

        Args:
            config: of the model.
            kind: what the layers do with the sequence.
        """
        return True

    def deepstack(self, arguments: dict[str, Any]) -> list[Float[Tensor, "V D"]]:
        """Take out of the LLM's arguments what it adds to the visual rows behind its first layers."""
        return []

    def tiny_collate(self, samples: Sequence[Sequence[Picture]]) -> dict[str, Tensor]:
        """The tensors of all pictures of a batch, as the family's processor lays them out."""
        return stacked(samples)

    def tiny_inputs(
        self,
        config: Any,
        samples: Sequence[Sequence[tuple[str, int]]],
        padding: Literal["left", "right"] = "left",
    ) -> dict[str, Tensor]:
        """A seeded batch for `tiny`.

        Args:
            config: of the tiny model.
            samples: for each sample its pictures, each (modality, size).
            padding: the side on which shorter samples are padded.
        """
        drawn = [[self.tiny_picture(config, *picture) for picture in sample] for sample in samples]
        inputs = prompt(drawn, self.tiny_collate, padding)
        if self.token_types is not None:
            places = {
                token: place for place, token in enumerate(self.placeholders(config).values(), 1)
            }
            kinds = torch.zeros_like(inputs["input_ids"])
            for token, place in places.items():
                kinds[inputs["input_ids"] == token] = place
            inputs[self.token_types] = kinds
        return inputs


_FAMILIES: dict[str, Family] = {}


def register_family(family: type[Family]) -> type[Family]:
    """Class decorator that enters a family into the table."""
    _FAMILIES[family.model_type] = family()
    return family


def families() -> dict[str, Family]:
    """All families by model type, sorted."""
    for module in decorated(register_family.__name__, "foveate.models").values():
        importlib.import_module(module)
    return dict(sorted(_FAMILIES.items()))


def family_of(model: Any) -> Family:
    """The family of a model.

    Raises:
        UnsupportedError: not a supported vision-language model, where the message lists them, or one
            without its head.
    """
    name = type(model).__name__
    family = family_named(getattr(getattr(model, "config", None), "model_type", None), name)
    if not hasattr(model, "model"):
        raise UnsupportedError(
            f"cannot reduce {name}, which is the model inside: pass the whole model with its language "
            "head (...ForConditionalGeneration)"
        )
    return family


def family_named(kind: str | None, name: str) -> Family:
    """The family of a model type.

    Args:
        kind: as `model.config.model_type` names it, None if there is none.
        name: of the model, for the error.

    Raises:
        UnsupportedError: not a supported one; the message lists them.
    """
    table = families()
    if kind not in table:
        raise UnsupportedError(
            f"cannot reduce {name} (model type {kind!r}); supported: {', '.join(table)}. "
            "A family is one module that registers a foveate.models.family.Family: see "
            "docs/guides/new-family.md"
        )
    return table[kind]


@dataclass(frozen=True)
class Support:
    """What works on one family.

    Attributes:
        family: model type.
        model: name of the transformers class.
        takes: modalities.
        merge_at: where methods before the LLM can work, and on what.
        positions: what merging does to positions.
    """

    family: str
    model: str
    takes: str
    merge_at: str
    positions: str


def support() -> list[Support]:
    """The support matrix, as the families state it. Pruning inside the LLM works on all."""
    return [
        Support(
            family=name,
            model=family.model_class,
            takes=", ".join(family.modalities),
            merge_at=", ".join(family.merge_at),
            positions="kept on the grid" if family.grid_positions else "renumbered",
        )
        for name, family in families().items()
    ]
