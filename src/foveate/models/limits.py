"""What a model refuses, told from its config alone: `foveate.reduce` and the planner ask here."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from foveate.models.family import MERGES_LATE, NO_KEYS, Family, families
from foveate.models.layout import Layout
from foveate.models.towers import why_not_by_frame, why_unknown
from foveate.reduction import Compressor, Reduction, Reuser

SIGNALS = {"attention", "keys"}  # of the encoder, that a method before the LLM may need


@dataclass(frozen=True)
class Limits:
    """What can be done to one model.

    Attributes:
        family: of the model; None if it is not known, and then nothing of its encoder is refused.
        config: of the whole model.
        layout: what the LLM's layers do with the sequence.
    """

    family: Family | None
    config: Any
    layout: Layout

    @classmethod
    def of_config(cls, config: Any) -> "Limits":
        """Those of a model of which there is only a config.

        Raises:
            UnsupportedError: layers that share keys which no layer makes.
        """
        kind = str(getattr(config, "model_type", None))
        text = getattr(config, "text_config", None) or config
        return cls(families().get(kind), config, Layout.of(text))

    def refusal(self, reduction: Reduction) -> str:
        """Why the model cannot be reduced so; "" where it can.

        Raises:
            InputError: layers out of range for this model.
        """
        return next(filter(None, self._refusals(reduction)), "")

    def _refusals(self, reduction: Reduction) -> Iterator[str]:
        before, inside, encode = reduction.before, reduction.inside, reduction.encode
        if inside is not None:
            yield self.layout.refusal(inside.schedule(self.layout.depth))
        if self.family is None:
            return
        if encode is not None and not encode.is_off:
            yield why_unknown(self._tower(self.family), self.family.model_type)
            if isinstance(encode, Reuser):
                yield why_not_by_frame(self._tower(self.family))
                yield self._attention("attend to patches that are reused")
            yield self._attention("weigh merged patches by their size")
        if before is not None and not before.is_off:
            yield from self._of_encoder(self.family, before)

    def _tower(self, family: Family) -> str:
        """Type of the vision tower."""
        vision = getattr(self.config, "vision_config", None)
        return getattr(vision, "model_type", None) or family.usual_tower

    def _attention(self, needed: str) -> str:
        """Why the encoder's attention cannot do what a method needs; "" where it can."""
        vision = getattr(self.config, "vision_config", None)
        kind = str(getattr(vision, "_attn_implementation", None))
        if "flash" not in kind:
            return ""
        return f"attention {kind!r} cannot {needed}; works: sdpa, eager"

    def _of_encoder(self, family: Family, before: Compressor) -> Iterator[str]:
        needs, places, kind = set(before.needs), family.merge_at, family.model_type
        if before.at == "encoder":
            if "encoder" not in places:
                yield MERGES_LATE.format(kind)
            elif "keys" in needs and "encoder keys" not in places:
                yield NO_KEYS.format(kind)
        elif needs & SIGNALS:
            yield family.why_unwatched(self._tower(family))
