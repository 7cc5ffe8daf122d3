"""The language models of the study, all behind foveate-mini's frozen vision tower."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from recipes.foveate_mini.model import MiniShape, build
from recipes.foveate_mini.tokens import token_ids

HEAD = 32  # features of an attention head, in every size


@dataclass(frozen=True)
class Size:
    """One language model.

    Attributes:
        width: its features.
        layers: its depth.
        is_held_out: whether it is predicted by the law, not fitted.
    """

    width: int
    layers: int
    is_held_out: bool = False

    @property
    def shape(self) -> MiniShape:
        """Of the whole model, with the tower of foveate-mini."""
        return MiniShape(
            width=self.width,
            tower_width=MiniShape.width,
            layers=self.layers,
            head=HEAD,
            key_value_heads=self.width // HEAD,
        )


SIZES = {
    "40k": Size(32, 3),
    "210k": Size(64, 4),
    "600k": Size(96, 5),
    "1.3M": Size(128, 6),
    "2.3M": Size(160, 7),
    "5.2M": Size(224, 8, is_held_out=True),
}


def fresh(size: Size, mini: Any, seed: int) -> Any:
    """A model with random projector and LLM behind the tower of a loaded foveate-mini."""
    model = build(size.shape, token_ids(mini.processor.tokenizer), seed)
    tower = mini.model.model.vision_tower
    model.model.vision_tower.load_state_dict(tower.state_dict())
    for parameter in model.model.vision_tower.parameters():
        parameter.requires_grad_(False)
    return model


def parameters(language: nn.Module) -> int:
    """Of an LLM without its embeddings."""
    return sum(p.numel() for name, p in language.named_parameters() if "embed_tokens" not in name)
