"""Settings: a method at a share of the visual tokens, made for a model's depth."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from foveate.errors import FoveateError, InputError
from foveate.keep import check_keep
from foveate.measure.run.resize_pictures import Smaller
from foveate.records.journal import UNREDUCED
from foveate.records.read import RESIZE
from foveate.reduction import Reduction, Shortener, at_share
from foveate.registry import BASELINE, METHOD, Method, method, methods


@dataclass(frozen=True)
class Setting:
    """One method at one share of the visual tokens, which is "budget" in the records.

    Attributes:
        method: its name, "unreduced" for none.
        share: the share of visual tokens that was asked for, mean over the LLM's layers.
        reduction: the method with its knobs, None if it cannot reach this share.
        role: of the method, as in `foveate.registry.Method`.
        refused: why there is no reduction.
        smaller: how the pictures are resized before the model sees them, if at all.
    """

    method: str
    share: float
    reduction: Reduction | None
    role: str = METHOD
    refused: str | None = None
    smaller: Smaller | None = None

    @property
    def key(self) -> tuple[str, float]:
        """Method and share, which identify a setting."""
        return self.method, self.share

    def record(self) -> dict[str, Any]:
        """Its line among the records: knobs for people, and the reduction itself."""
        knobs = None if self.reduction is None else repr(self.smaller or self.reduction)
        return {
            "kind": "setting",
            "method": self.method,
            "budget": self.share,
            "role": self.role,
            "knobs": knobs,
            "reduction": self._written(),
        }

    def is_in(self, row: Mapping[str, Any]) -> bool:
        """Whether a line of a file has this very reduction; lines without one are compared by knobs."""
        mine, theirs = self.record(), row.get("reduction")
        if theirs is None or mine["reduction"] is None:
            return mine["knobs"] == row["knobs"]
        try:
            return Reduction.from_dict(theirs) == self.reduction
        except InputError:
            return False

    def _written(self) -> dict[str, Any] | None:
        """None for smaller pictures, which are no reduction, and for methods that are not registered."""
        if self.reduction is None or self.smaller is not None:
            return None
        try:
            return self.reduction.to_dict()
        except InputError:
            return None


UNREDUCED_SETTING = Setting(UNREDUCED, 1.0, Reduction())


def settings(names: Sequence[str], shares: Sequence[float | int], layers: int) -> list[Setting]:
    """The unreduced model, with which all are compared, and every method at every share.

    A method in the encoder leaves the LLM all visual tokens: alone it is measured once, at a share of 1.

    Args:
        names: of `foveate.methods()`, "resize" for smaller pictures, or "all" but those in the encoder.
            "tome-encoder+aim" is a method in the encoder under another one, and "tome-encoder:0.35" one
            with that `keep`.
        shares: of visual tokens, in (0, 1).
        layers: depth of the LLM.

    Raises:
        InputError: an unknown method, two that cannot be joined, or no share below 1.
    """
    for share in shares:
        check_keep(share)
        if share == 1:
            raise InputError("a share of 1.0 is unreduced, which is always measured; leave it out")
    usual = [name for name, row in methods().items() if row.stage != "encode"]
    chosen = [*usual, RESIZE] if "all" in names else names
    made = [one for name in chosen for one in _settings_of(name, map(float, shares), layers)]
    return [UNREDUCED_SETTING, *{setting.key: setting for setting in made}.values()]


def _settings_of(name: str, shares: Iterable[float], layers: int) -> list[Setting]:
    """One method, or two that are joined, at every share."""
    if name == RESIZE:
        return [resized(share) for share in shares]
    told, encode, rest = _in_encoder(name)
    if encode is not None and not rest:
        return [Setting(told, 1.0, Reduction(encode=encode))]
    alone = [setting_at(method(rest), share, layers) for share in shares]
    return alone if encode is None else [_joined(f"{told}+{rest}", encode, one) for one in alone]


def _in_encoder(name: str) -> tuple[str, Shortener | None, str]:
    """Name and method in the encoder that a name begins with, if any, and the other method's name."""
    first, joined, rest = name.partition("+")
    first, colon, keep = first.partition(":")
    found = method(first)
    if found.stage != "encode" and not (joined or colon):
        return "", None, name
    if found.stage != "encode" or (joined and method(rest).stage == "encode"):
        known = ", ".join(n for n, row in methods().items() if row.stage == "encode")
        raise InputError(
            f"ENCODER+METHOD, ENCODER and ENCODER:KEEP take one method in the encoder ({known}), and "
            f"another behind it; got {name!r}"
        )
    made = found.make({"keep": _number(keep, name)} if colon else {})
    return f"{first}:{made.keep:g}" if colon else first, made, rest


def _joined(name: str, encode: Shortener, alone: Setting) -> Setting:
    """A setting with a method in the encoder, too."""
    made = None if alone.reduction is None else alone.reduction.encoded_by(encode)
    return Setting(name, alone.share, made, refused=alone.refused)


def _number(text: str, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(
            f"METHOD:KEEP takes a share, as in tome-encoder:0.5, got {name!r}"
        ) from None


def resized(share: float) -> Setting:
    """Resized pictures, of which the unreduced model makes fewer tokens."""
    return Setting(RESIZE, share, Reduction(), BASELINE, smaller=Smaller(share))


def setting_at(found: Method, share: float, layers: int) -> Setting:
    """A method with the knobs that bring it to a share, or why it cannot reach that."""
    try:
        return Setting(found.name, share, at_share(found, share, layers), found.role)
    except FoveateError as error:
        return Setting(found.name, share, None, found.role, str(error))
