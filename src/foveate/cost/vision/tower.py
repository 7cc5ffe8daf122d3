"""What a vision tower takes, layer by layer, also where a method in the encoder shortens it."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

from foveate.cost.operation import Cost, Operation
from foveate.errors import InputError, UnsupportedError
from foveate.reduction import Encoding, Reuser, Shortener


def side(size: Any) -> int:
    """A square's side, given as a number or a pair."""
    return size if isinstance(size, int) else size[0]


def linear(rows: int, into: int, out: int) -> Operation:
    """A matrix applied to rows."""
    flops = 2 * rows * into * out
    return Operation(flops, flops, into * out + rows * (into + out))


def attention(spans: Sequence[int], width: int, computed: float = 1.0) -> Operation:
    """Attention within spans: every token, or a share of them, sees its own."""
    flops = round(4 * width * sum(span * span for span in spans) * computed)
    return Operation(flops, flops, 4 * width * sum(spans), attention=True)


@dataclass(frozen=True)
class TowerLayer:
    """One layer over images, frames or windows.

    Attributes:
        spans: patches of each, with its class tokens; attention stays inside.
        width: of the states.
        inner: width of the MLP.
        matrices: of the MLP, 3 where it is gated.
        computed: share of the patches that are computed; each sees all of its span.
    """

    spans: tuple[int, ...]
    width: int
    inner: int
    matrices: int = 2
    computed: float = 1.0

    def operations(self) -> tuple[tuple[Operation, int], ...]:
        """What it computes, each with how often."""
        rows = round(self.computed * sum(self.spans))
        return (
            (linear(rows, self.width, self.width), 4),
            (linear(rows, self.width, self.inner), self.matrices),
            (attention(self.spans, self.width, self.computed), 1),
            # norms, residuals, activation
            (Operation(0, 0, rows * (10 * self.width + 2 * self.inner)), 1),
        )


@dataclass(frozen=True)
class Tower:
    """A vision tower and the pictures that it is shown.

    Attributes:
        fixed: what comes before and behind the layers.
        layers: of it; () where a method in the encoder cannot be costed.
        pictures: rows within which such a method merges, where these are not the spans of its layer.
        class_tokens: of each span, which are never merged.
        read: how many layers somebody reads; a method in the encoder computes no others. None for all.
    """

    fixed: Cost
    layers: tuple[TowerLayer, ...] = ()
    pictures: tuple[int, ...] = ()
    class_tokens: int = 0
    read: int | None = None

    @cached_property
    def cost(self) -> Cost:
        """Of all layers, as they are."""
        return self.fixed + _sum(self.layers)

    @property
    def flops(self) -> int:
        """Of all layers, as they are."""
        return self.cost.flops

    def under(self, method: Encoding | None, computed: float = 1.0) -> Cost:
        """The cost with a method in the encoder.

        Args:
            method: of the encoder, None for none.
            computed: share of all patches that one which reuses them must compute.

        Raises:
            UnsupportedError: the layers of this tower are not known one by one.
            InputError: it has no such layer.
        """
        if method is None or method.is_off:
            return self.cost
        if not self.layers:
            raise UnsupportedError("what a method in this vision encoder would save is not known")
        layers = self.layers[: self.read]
        if isinstance(method, Reuser):
            return self.fixed + _sum([replace(layer, computed=computed) for layer in layers])
        return self._shortened(layers, method)

    def _shortened(self, layers: Sequence[TowerLayer], method: Shortener) -> Cost:
        if not 0 <= method.layer < len(layers):
            raise InputError(
                f"layer must be one of the {len(layers)} layers of this vision encoder, got "
                f"{method.layer}"
            )
        whole = self.pictures or layers[method.layer].spans
        patches = [span - self.class_tokens for span in whole]
        left = [method.kept(count) + self.class_tokens for count in patches]
        width = layers[method.layer].width
        matched = [(self._matching(method, count, width), 1) for count in patches]
        short = tuple(_cut(layer, whole, left) for layer in layers[method.layer :])
        return self.fixed + _sum((*layers[: method.layer], *short)) + Cost.of(matched)

    @staticmethod
    def _matching(method: Shortener, patches: int, width: int) -> Operation:
        """States are read, read again and written; a similarity takes 2 FLOPs a number of a state."""
        flops = method.flops(patches, width)
        return Operation(flops, flops, 3 * patches * width + flops // (2 * width))


def _sum(layers: Sequence[TowerLayer]) -> Cost:
    work = Counter(layers).items()
    return Cost.of((op, times * many) for layer, many in work for op, times in layer.operations())


def _cut(layer: TowerLayer, whole: Sequence[int], left: Sequence[int]) -> TowerLayer:
    """The layer over what is left of each picture or window; its own spans may be others."""
    ends, kept = [0, *accumulate(whole)], [0, *accumulate(left)]

    def before(row: int) -> int:
        place = bisect_left(ends, row)
        if ends[place] == row:
            return kept[place]
        part = (row - ends[place - 1]) / (ends[place] - ends[place - 1])
        return kept[place - 1] + round(part * (kept[place] - kept[place - 1]))

    cuts = [before(row) for row in (0, *accumulate(layer.spans))]
    return replace(layer, spans=tuple(stop - start for start, stop in pairwise(cuts)))


def plain_tower(vision: Any, pictures: int, patches: int, extra: int = 0) -> Tower:
    """A plain ViT: CLIP (`extra=1`, its class token), SigLIP, InternViT.

    Args:
        vision: its config.
        pictures: tiles or frames.
        patches: of one.
        extra: tokens beside the patches.
    """
    width, inner = vision.hidden_size, vision.intermediate_size
    channels = getattr(vision, "num_channels", 3)
    patch = channels * side(vision.patch_size) ** 2
    fixed = [(linear(pictures * patches, patch, width), 1)]
    if vision.model_type.startswith("siglip") and getattr(vision, "vision_use_head", True):
        fixed += [
            (linear(pictures * patches, width, width), 2),  # keys and values of its pooling head
            (linear(pictures, width, width), 2),
            (attention([1] * pictures, width), patches),
            (linear(pictures, width, inner), 2),
        ]
    layer = TowerLayer((patches + extra,) * pictures, width, inner)
    return Tower(Cost.of(fixed), (layer,) * vision.num_hidden_layers, class_tokens=extra)
