"""Pruning schedules: after which layer which share of the visual tokens is kept.

A bound is a layer index (int) or a share of the depth (float). Shares are exact fractions, so that
`floor(share * tokens)` never depends on a float's last bit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from numbers import Integral
from typing import Annotated, Any, TypeVar

from foveate.errors import InputError
from foveate.keep import check_keep
from foveate.knobs import Checked, Keep, plain

Bound = int | float
Schedule = dict[int, Fraction]  # layer -> share of the tokens at the LLM's input kept after it
T = TypeVar("T", bound="ScheduledPruner")


def check_bounds(prune: object, name: str = "prune") -> None:
    """Refuse bounds that no model could satisfy.

    Args:
        prune: start and stop.
        name: what messages call them.

    Raises:
        InputError: not a pair, not layers (int) or shares of depth (float), or start not before stop.
    """
    pair = plain(prune)
    if type(pair) is not tuple or len(pair) != 2:
        raise InputError(f"{name} must be a pair (start, stop), got {prune!r}")
    for bound in pair:
        if type(bound) not in (int, float):
            raise InputError(f"{name} takes layers (int) or shares of depth (float), got {bound!r}")
        if type(bound) is int and bound < 0:
            raise InputError(f"a pruning layer must be at least 0, got {bound}")
        if type(bound) is float and not 0 <= bound <= 1:
            raise InputError(
                f"{name} as a share of depth must be in [0, 1], got {bound}; layers are ints"
            )
    start, stop = pair
    if type(start) is type(stop) and start >= stop:
        raise InputError(f"{name} must start before it stops, got {prune!r}")


def check_after(after: object, name: str = "after") -> None:
    """Refuse places of drops that no model could satisfy.

    Args:
        after: the places, a tuple.
        name: what messages call them.

    Raises:
        InputError: no tuple of counts of layers (int) or shares of depth (float).
    """
    places = plain(after)
    if type(places) is not tuple or not places or not all(map(_is_place, places)):
        raise InputError(
            f"{name} takes counts of layers (int, at least 1) or shares of depth (float, in (0, 1)) as "
            f"a tuple, {name}=(2,), got {after!r}"
        )


def check_place(place: object, name: str = "after") -> None:
    """Refuse the place of a drop that no model could satisfy.

    Args:
        place: the place, a number.
        name: what messages call it.

    Raises:
        InputError: no count of layers (int) or share of depth (float).
    """
    if not _is_place(plain(place)):
        raise InputError(
            f"{name} takes one count of layers (int, at least 1) or share of depth (float, in (0, 1)), "
            f"got {place!r}"
        )


def _is_place(place: object) -> bool:
    if type(place) is int:
        return place >= 1
    return type(place) is float and 0 < place < 1


Window = Annotated[tuple[Bound, Bound], check_bounds]  # start and stop of a schedule
Place = Annotated[Bound, check_place]  # of one drop
Places = Annotated[tuple[Bound, ...], check_after]  # of drops


def layer_of(bound: Bound, layers: int) -> int:
    """The layer index of a bound in an LLM of `layers` layers (shares round to the nearest)."""
    return int(bound) if isinstance(bound, Integral) else round(bound * layers)


def linear(prune: tuple[Bound, Bound], layers: int) -> Schedule:
    """Equal steps down to no visual token: AIM's schedule (arXiv 2412.03248, section 3.3).

    After layer l in [start, stop) the share `1 - (l - start + 1) / (stop - start)` is kept, which
    layer l + 1 then computes: layers up to `start` see all, layer `stop` and later ones none.

    Args:
        prune: start and stop, as layer indices or shares of depth.
        layers: depth of the LLM.

    Raises:
        InputError: a bound out of range for this depth, or no layer left between the two.
    """
    start, stop = (layer_of(bound, layers) for bound in prune)
    if not 0 <= start < layers or stop > layers:
        raise InputError(
            f"prune={prune!r} means layers {start} to {stop}, but the LLM has {layers} layers "
            f"(allowed: 0 <= start < stop <= {layers})"
        )
    if start >= stop:
        raise InputError(
            f"prune={prune!r} means layers {start} to {stop} of {layers}: it must start before it stops"
        )
    return {layer: 1 - Fraction(layer - start + 1, stop - start) for layer in range(start, stop)}


def kept_after(share: Fraction, tokens: int) -> int:
    """`floor(share * tokens)`."""
    return math.floor(share * tokens)


def stages(after: Sequence[Bound], share: int | float, layers: int) -> Schedule:
    """A few drops, each to the same share of what was left: FastV, VTW, PyramidDrop, SparseVLM.

    Args:
        after: how many layers run before each drop, as a count (int) or a share of depth (float; at least
            one layer more than before the last drop).
        share: of the visual tokens that each drop leaves, in [0, 1]; 1.0 drops nothing.
        layers: depth of the LLM.

    Raises:
        InputError: a drop before the first layer or after the last, or two after the same layer.
    """
    if share == 1:
        return {}
    counts: list[int] = []
    for bound in after:
        count = layer_of(bound, layers)
        if not isinstance(bound, Integral):
            count = max(count, counts[-1] + 1 if counts else 1)
        counts.append(count)
    if counts != sorted(set(counts)) or not 0 < counts[0] <= counts[-1] < layers:
        raise InputError(
            f"drops after {tuple(after)} mean after {counts} layers, but the LLM has {layers} layers "
            f"(allowed: rising counts from 1 to {layers - 1})"
        )
    left = Fraction(str(share))
    return {count - 1: left**drop for drop, count in enumerate(counts, 1)}


def mean_share(schedule: Schedule, layers: int) -> float:
    """Mean over the layers of the share of visual tokens that they compute."""
    total, share = Fraction(0), Fraction(1)
    for layer in range(layers):
        total += share
        share = schedule.get(layer, share)
    return float(total / layers)


class ScheduledPruner(Checked):
    """Base of methods inside the LLM; each brings a schedule, and candidates to choose from."""

    @property
    def needs(self) -> tuple[str, ...]:
        """What scoring must be handed beside query and key ("visual": which rows are visual tokens)."""
        return ()

    @property
    def is_off(self) -> bool:
        """Whether nothing is ever dropped."""
        return False

    def schedule(self, layers: int) -> Schedule:
        """Shares kept after each pruning layer of an LLM of `layers` layers."""
        raise NotImplementedError

    def keep_before(self, share: int | float, layers: int) -> float:
        """Share of visual tokens to hand to the LLM so that its layers compute `share` on average.

        Args:
            share: mean over the layers of the share of the prompt's visual tokens that they compute.
            layers: depth of the LLM.

        Raises:
            InputError: not a share in (0, 1], or more than the schedule lets through.
        """
        check_keep(share)
        through = mean_share(self.schedule(layers), layers)
        check_reach(type(self).__name__, share, 0.0, through, layers)
        return min(share / through, 1.0)

    @classmethod
    def candidates(cls: type[T], layers: int) -> Sequence[T]:
        """Settings of the method at this depth, from the cheapest to the most expensive."""
        raise NotImplementedError

    @classmethod
    def for_share(cls: type[T], share: int | float, layers: int) -> T:
        """The setting at which the mean over layers of visual tokens computed is nearest to `share`.

        Args:
            share: mean over the layers of the share of visual tokens that they compute.
            layers: depth of the LLM.

        Raises:
            InputError: not a share in (0, 1], or out of reach; the message states the smallest.
        """
        check_keep(share)
        settings = cls.candidates(layers)
        means = [mean_share(setting.schedule(layers), layers) for setting in settings]
        check_reach(cls.__name__, share, means[0], means[-1], layers)
        return settings[min(range(len(means)), key=lambda place: abs(means[place] - share))]


def check_reach(method: str, share: float, least: float, most: float, layers: int) -> None:
    """Refuse a share that a method cannot reach to within 0.005.

    Raises:
        InputError: outside of `least` to `most`.
    """
    if not least - 0.005 <= share <= most + 0.005:
        raise InputError(
            f"{method} cannot bring {layers} layers to a mean share of {share}; "
            f"smallest: {least:.4g}, largest: {most:.4g}"
        )


@dataclass(frozen=True)
class StagedPruner(ScheduledPruner):
    """Base of methods that drop at a few places, each time to the same share of what was left.

    Attributes:
        after: how many layers, as a count (int) or a share of depth (float), run before each drop.
        keep: share of the visual tokens that each drop leaves, in (0, 1]; 1.0 is off.
    """

    after: Places = (0.5,)
    keep: Keep = 0.5

    @property
    def is_off(self) -> bool:
        """Whether nothing is ever dropped."""
        return self.keep == 1.0

    def schedule(self, layers: int) -> Schedule:
        """Shares kept after each drop in an LLM of `layers` layers."""
        return stages(self.after, self.keep, layers)

    @classmethod
    def candidates(cls, layers: int) -> Sequence[Any]:
        """The same places, and `keep` in thousandths."""
        return [cls(keep=step / 1000) for step in range(1, 1001)]
