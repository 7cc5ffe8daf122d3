"""What a family says of itself is so, and what it costs is known."""

from contextlib import suppress
from typing import Any

from foveate.combine.aim import AIM
from foveate.cost.request import Request
from foveate.cost.vision.encoder import Media
from foveate.errors import UnsupportedError
from foveate.models.family import Family


def check_family_is_as_stated(family: Family) -> None:
    """Model type, class, modalities and places of merging are those of the tiny model."""
    model, places = family.tiny(), ["llm"]
    for place, find in (("encoder", family.projector), ("encoder keys", family.encoder_keys)):
        with suppress(UnsupportedError):
            find(model.model)
            places.append(place)
    kind, modalities = model.config.model_type, tuple(family.placeholders(model.config))
    found = kind, type(model).__name__, modalities, tuple(places)
    stated = family.model_type, family.model_class, family.modalities, family.merge_at
    assert found == stated, f"{family.model_type} states {stated}, its model says {found}"


def check_family_has_a_cost(family: Family) -> None:
    """What pictures and clips cost is told from its config: their tokens, and the FLOPs of both parts."""
    config, kind = family.tiny().config, family.model_type
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
        request = Request.of(config, media, text_tokens=9)
        request.cost(AIM())
    except Exception as error:  # whatever an encoder does not foresee
        return f"{type(error).__name__}: {error}"
    assert request.encoded is not None
    counted = {"tokens": request.visual_tokens, "tower": request.encoded.tower.flops}
    counted["projector"] = request.encoded.projector.flops
    return ", ".join(f"{name} = {count}" for name, count in counted.items() if count < 1)
