"""What foveate must know of a model family, and the table of families.

A family is one module of this package that registers one `Family`; nothing else is edited. Stock models
are `Any` here: their attributes are transformers' and known to no type checker.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Bool, Int
from torch import Tensor

from foveate.errors import UnsupportedError
from foveate.registry import discover


@dataclass(frozen=True)
class Visual:
    """Where the visual tokens of a batch sit in the prompt.

    Attributes:
        mask: (B, N), True at visual tokens.
        group: (V,), for each visual token, in reading order over the batch, the tile or frame that it
            belongs to; tokens of different groups are never merged. Row separators are a group.
        encoder: for a method at the encoder "features" and what else it needs, each (images, patches, E).
    """

    mask: Bool[Tensor, "B N"]
    group: Int[Tensor, " V"]
    encoder: Mapping[str, Tensor] | None = None


class Family(ABC):
    """One model family, as `model.config.model_type` names it."""

    model_type: ClassVar[str]

    @abstractmethod
    def placeholders(self, config: Any) -> dict[str, int]:
        """Placeholder token of each modality ("image", "video") that the family takes."""

    @abstractmethod
    def groups(
        self, core: Any, modality: str, arguments: Mapping[str, Any]
    ) -> list[Int[Tensor, " _"]]:
        """For each image or clip, the tile or frame that each of its tokens belongs to, from 0.

        Args:
            core: the model without its head (`model.model`).
            modality: "image" or "video".
            arguments: of the core's `get_image_features` or `get_video_features`.
        """

    @abstractmethod
    def tiny(self) -> Any:
        """A model of this family with random weights, small enough to test on."""

    @abstractmethod
    def tiny_inputs(self, config: Any, modality: str) -> dict[str, Tensor]:
        """A seeded prompt for `tiny` with one picture of that modality between text tokens."""

    def language_model(self, core: Any) -> Any:
        """The LLM, whose `layers` are its decoder layers."""
        return core.language_model

    def projector(self, core: Any) -> Any:
        """The module that takes encoder features (images, patches, D) to the LLM's width."""
        return core.multi_modal_projector

    def encoder_keys(self, core: Any) -> Any:
        """The module whose output is the keys of the vision layer that reads the chosen features.

        Raises:
            UnsupportedError: this family has no such single module.
        """
        raise UnsupportedError(f"{self.model_type} offers no encoder keys; use metric='features'")


_FAMILIES: dict[str, Family] = {}


def register_family(family: type[Family]) -> type[Family]:
    """Class decorator that enters a family into the table."""
    _FAMILIES[family.model_type] = family()
    return family


def families() -> dict[str, Family]:
    """All families by model type, sorted."""
    discover("foveate.models")
    return dict(sorted(_FAMILIES.items()))


def family_of(model: Any) -> Family:
    """The family of a model.

    Raises:
        UnsupportedError: not a supported vision-language model; the message lists them.
    """
    table = families()
    kind = getattr(getattr(model, "config", None), "model_type", None)
    if kind not in table:
        raise UnsupportedError(
            f"cannot reduce {type(model).__name__} (model type {kind!r}); supported: {', '.join(table)}. "
            "A family is one module in foveate/models: see foveate.models.family.Family"
        )
    return table[kind]
