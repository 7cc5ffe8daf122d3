"""What works on which family: the support matrix, which builds no model."""

from dataclasses import dataclass
from types import SimpleNamespace

from foveate.cost.layers import RECURRENT, layer_kinds
from foveate.models.family import Family, families
from foveate.models.limits import SIGNALS
from foveate.models.tiny import TINY_LLM
from foveate.models.tiny.models import TINY
from foveate.models.towers import TOWERS, why_unknown
from foveate.registry import methods

NO, YES, IN_ENCODER = "no", "yes", "in the encoder"


@dataclass(frozen=True)
class Support:
    """What works on one family; each is a few words.

    Attributes:
        family: model type.
        model: name of the transformers class.
        image: whether it takes images.
        clip: whether it takes clips.
        merge_at: where methods before the LLM can work, and on what; whether others work in the encoder.
        encoder_signals: what methods can watch of its usual encoder: keys, and the attention of [CLS] or
            of all patches, their mean.
        positions: what merging does to positions.
        cost: whether its config alone tells what a picture costs.
        transformers: the first and the last minor version that it is tested on.
        refused: what is refused, with an error that says what works.
    """

    family: str
    model: str
    image: str
    clip: str
    merge_at: str
    encoder_signals: str
    positions: str
    cost: str
    transformers: str
    refused: str


def support(tested: tuple[str, str]) -> list[Support]:
    """The support matrix, as the families state it. Pruning inside the LLM works on all.

    Args:
        tested: first and last minor version of transformers.
    """
    return [_row(family, *tested) for family in families().values()]


def watching() -> list[str]:
    """Names of the methods that watch the encoder, and so need its signals."""
    return [name for name, row in methods().items() if SIGNALS & set(_needs(row.build()))]


def _needs(method: object) -> tuple[str, ...]:
    parts = (method, getattr(method, "before", None))
    return tuple(need for part in parts for need in getattr(part, "needs", ()))


def _row(family: Family, first: str, last: str) -> Support:
    return Support(
        family=family.model_type,
        model=family.model_class,
        image=_word("image" in family.modalities),
        clip=_word("video" in family.modalities),
        merge_at=", ".join(_places(family)),
        encoder_signals=signals_of(family),
        positions="kept on the grid" if family.grid_positions else "renumbered",
        cost=_word(family.has_cost),
        transformers=f"{family.since or first} to {last}",
        refused="; ".join(_refused(family)),
    )


def _word(holds: object) -> str:
    return YES if holds else NO


def signals_of(family: Family) -> str:
    """What methods can watch of a family's usual encoder, in words."""
    if family.why_unwatched(family.usual_tower):
        return "none"
    known = TOWERS.get(family.usual_tower)
    return f"{'[CLS]' if known and known.class_token else 'mean'} attention, keys"


def _places(family: Family) -> tuple[str, ...]:
    """Where methods before the LLM and in the encoder can work."""
    is_known = not why_unknown(family.usual_tower, family.model_type)
    return (*family.merge_at, IN_ENCODER) if is_known else family.merge_at


def _refused(family: Family) -> list[str]:
    told = []
    if "encoder" not in family.merge_at:
        told.append("at=encoder")
    elif "encoder keys" not in family.merge_at:
        told.append("metric=keys")
    if family.why_unwatched(family.usual_tower):
        told.append("methods that watch the encoder")
    if IN_ENCODER not in _places(family):
        told.append("methods in the encoder")
    if _is_hybrid(family):
        told.append("pruning by scores before the first layer that attends")
    return [*told, family.refuses] if family.refuses else told


def _is_hybrid(family: Family) -> bool:
    """Whether some layers of its LLM do not attend."""
    text = {"model_type": family.model_type, **TINY_LLM}
    if (row := TINY.get(family.model_type)) is not None:
        text |= row.config.get("text_config", {})
    return not set(layer_kinds(SimpleNamespace(**text))).isdisjoint(RECURRENT)
