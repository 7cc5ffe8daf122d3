"""Pruning schedules: after which layer which share of the visual tokens is kept.

A bound is a layer index (int) or a share of the depth (float). Shares are exact fractions, so that
`floor(share * tokens)` never depends on a float's last bit.
"""

import math
from fractions import Fraction
from numbers import Integral, Real

from foveate.errors import InputError

Bound = int | float
Schedule = dict[int, Fraction]  # layer -> share of the tokens at the LLM's input kept after it


def check_bounds(prune: object) -> None:
    """Refuse bounds that no model could satisfy.

    Raises:
        InputError: not a pair, not layers (int) or shares of depth (float), or start not before stop.
    """
    pair = tuple(prune) if isinstance(prune, (tuple, list)) else (prune,)
    if len(pair) != 2:
        raise InputError(f"prune must be a pair (start, stop) or None, got {prune!r}")
    for bound in pair:
        if isinstance(bound, bool) or not isinstance(bound, (Integral, Real)):
            raise InputError(f"prune takes layers (int) or shares of depth (float), got {bound!r}")
        if isinstance(bound, Integral) and bound < 0:
            raise InputError(f"a pruning layer must be at least 0, got {bound}")
        if not isinstance(bound, Integral) and not 0 <= float(bound) <= 1:
            raise InputError(
                f"prune as a share of depth must be in [0, 1], got {bound}; layers are ints"
            )
    start, stop = pair
    if isinstance(start, Integral) == isinstance(stop, Integral) and start >= stop:
        raise InputError(f"prune must start before it stops, got {prune!r}")


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
