"""The language models of the study, all behind foveate-mini's frozen vision tower."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from recipes.foveate_mini.model import MiniShape, build
from recipes.foveate_mini.tokens import token_ids


@dataclass(frozen=True)
class Size:
    """One language model.

    Attributes:
        width: its features.
        layers: its depth.
        head: features of an attention head.
        is_held_out: whether it is predicted by the law, not fitted.
    """

    width: int
    layers: int
    head: int = 32
    is_held_out: bool = False

    def behind(self, tower: Any) -> MiniShape:
        """The shape of the whole model with this tower."""
        return MiniShape(
            width=self.width,
            tower_width=tower.config.hidden_size,
            tower_layers=tower.config.num_hidden_layers,
            tower_heads=tower.config.num_attention_heads,
            layers=self.layers,
            head=self.head,
            key_value_heads=self.width // self.head,
        )


SIZES = {
    "40k": Size(32, 3),
    "90k": Size(48, 3, head=24),
    "210k": Size(64, 4),
    "600k": Size(96, 5),
    "1.3M": Size(128, 6),
    "2.3M": Size(160, 7, is_held_out=True),
}


def fresh(size: Size, mini: Any, seed: int) -> Any:
    """A model with random projector and LLM behind the tower of a loaded foveate-mini."""
    tower = mini.model.model.vision_tower
    model = build(size.behind(tower), token_ids(mini.processor.tokenizer), seed)
    model.model.vision_tower.load_state_dict(tower.state_dict())
    for parameter in model.model.vision_tower.parameters():
        parameter.requires_grad_(False)
    return model


def parameters(language: nn.Module) -> int:
    """Of an LLM without its embeddings."""
    return sum(p.numel() for name, p in language.named_parameters() if "embed_tokens" not in name)
