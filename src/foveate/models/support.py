"""What works on which family: the support matrix, which builds no model."""

from dataclasses import dataclass

from foveate.models.family import families


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
