"""Checks that a family is as it says, and that its cost is known."""

from contextlib import suppress
from typing import Any

from foveate.combine.aim import AIM
from foveate.cost.request import Request
from foveate.cost.vision.encoder import Media, encoders
from foveate.errors import UnsupportedError
from foveate.models import rules, towers
from foveate.models.family import Family

SEEN = ("grid_positions", "token_types", "llm_arguments")  # what the rules say of every model


def check_family_is_as_stated(family: Family) -> None:
    """Check that model type, class, modalities, merging places and rules are the tiny model's.

    So must be whether the encoder can be watched, and the attention that it then gives.
    """
    model, places = family.tiny(), ["llm"]
    check_encoder_is_as_stated(family, model)
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


def check_encoder_is_as_stated(family: Family, model: Any) -> None:
    """Check that the usual encoder is the tiny model's, as far as methods may watch it."""
    tower = towers.tower_type(model.model)
    usual = family.usual_tower or tower
    with suppress(UnsupportedError):
        family.vision_layer(model.model)
        assert not family.why_unwatched(usual), (
            f"{family.why_unwatched(usual)}: yet it can be watched"
        )
        has_class = [towers.TOWERS[t].class_token for t in (tower, usual) if t in towers.TOWERS]
        assert len(set(has_class)) < 2, (
            f"{family.model_type}: usual tower {usual}, its model's {tower}"
        )
        return
    assert family.why_unwatched(usual), (
        f"{family.model_type}: its encoder cannot be watched: state why as `unwatched`"
    )


def check_family_has_a_cost(family: Family) -> None:
    """Check that its config gives the cost of pictures and clips: their tokens, and both parts' FLOPs.

    A family that states `has_cost = False` has none, so that no wrong cost is given.
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
    """Why the cost of a request is unknown; "" if it is known."""
    try:
        request = Request.of(config, media, text_tokens=9)
        request.cost(AIM())
    except Exception as error:  # any error of an encoder's function
        return f"{type(error).__name__}: {error}"
    assert request.encoded is not None
    counted = {"tokens": request.visual_tokens, "tower": request.encoded.tower.flops}
    counted["projector"] = request.encoded.projector.flops
    return ", ".join(f"{name} = {count}" for name, count in counted.items() if count < 1)
