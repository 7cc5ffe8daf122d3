"""What a family says of itself is so, and what it costs is known."""

from contextlib import suppress
from typing import Any

from foveate.cost.request import request_cost
from foveate.cost.vision.encoder import Media, encoders
from foveate.errors import UnsupportedError
from foveate.models import rules
from foveate.models.family import Family

SEEN = ("grid_positions", "token_types", "llm_arguments")  # what the rules say of every model


def check_family_is_as_stated(family: Family) -> None:
    """Model type, class, modalities, places of merging and what the rules see are the tiny model's."""
    model, places = family.tiny(), ["llm"]
    for place, find in (("encoder", family.projector), ("encoder keys", family.encoder_keys)):
        with suppress(UnsupportedError):
            find(model.model)
            places.append(place)
    kind, modalities = model.config.model_type, tuple(family.placeholders(model.config))
    seen = rules.stated(model)
    found = kind, type(model).__name__, modalities, tuple(places), *(seen[name] for name in SEEN)
    told = family.model_type, family.model_class, family.modalities, family.merge_at
    stated = *told, *(getattr(family, name) for name in SEEN)
    assert found == stated, f"{family.model_type} states {stated}, its model says {found}"


def check_family_has_a_cost(family: Family) -> None:
    """What pictures and clips cost is told from its config: their tokens, and the FLOPs of both parts.

    A family that states `has_cost = False` has none, so that nothing wrong is told.
    """
    config, kind = family.tiny().config, family.model_type
    if not family.has_cost:
        assert kind not in encoders(), f"{kind} states has_cost = False, but it has a cost"
        return
    for modality in family.modalities:
        media = Media(frames=4) if modality == "video" else Media()
        lacking = _lacking(config, media)
        assert not lacking, (
            f"what {modality} tokens of {kind} cost is not known: {lacking}. Write "
            f"src/foveate/cost/vision/{kind}.py: a function of (config, Media) under "
            f'@register_encoder("{kind}") that returns an Encoded; see docs/guides/new-family.md'
        )


def _lacking(config: Any, media: Media) -> str:
    """What keeps the cost of a request from being known, "" if nothing does."""
    try:
        cost = request_cost(config, media, text_tokens=9)
    except Exception as error:  # whatever an encoder does not foresee
        return f"{type(error).__name__}: {error}"
    flops = {part: cost.parts[part].flops for part in ("vision", "projector")}
    counted = {"tokens": cost.visual_tokens_in, **flops}
    return ", ".join(f"{name} = {count}" for name, count in counted.items() if count < 1)
