"""`Reduction`: a method in the encoder, one before the LLM, one inside it; what each must provide."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from foveate.errors import InputError
from foveate.prune.schedule import Schedule
from foveate.registry import Method, method, methods, written
from foveate.tokens import VisionTokens

PLACES = ("encode", "before", "inside")  # in the order of the data flow
WHERE = {"encode": "in the encoder", "before": "before the LLM", "inside": "inside the LLM"}


@runtime_checkable
class Shortener(Protocol):
    """A method in the vision encoder: patches in, fewer rows out, for its layer `layer` and all behind.

    Called with the states (B, P, D) of B pictures or windows of P patches, it merges; none may be
    dropped, for every patch gets back what the row it went to has become. `kept(patches)` is how many
    rows stay, and `flops(patches, width)` what deciding costs.
    """

    @property
    def layer(self) -> int: ...
    @property
    def is_off(self) -> bool: ...
    def __call__(self, states: Any) -> VisionTokens: ...
    def kept(self, patches: int) -> int: ...
    def flops(self, patches: int, width: int) -> int: ...


@runtime_checkable
class Reuser(Protocol):
    """A method in the vision encoder: pixels in, and which patches of a clip were encoded before.

    `sources(patches, grid)` gets the pixels (F, P, C) of the patches of F frames, row by row, and how
    many rows and columns a frame has; it returns (F, P), the frame in which each patch was last encoded,
    its own if it is there.
    """

    @property
    def is_off(self) -> bool: ...
    def sources(self, patches: Any, grid: tuple[int, int]) -> Tensor: ...


Encoding = Shortener | Reuser  # what may stand in the encoder


@runtime_checkable
class Compressor(Protocol):
    """A method before the LLM: groups of features in, fewer tokens out.

    `needs` names what the model adapter hands over as keyword arguments (`foveate.runtime.buckets` lists
    them); `at` says which features it sees: "llm" (at the LLM's input) or "encoder" (before the
    projector). `flops(tokens, width)` is what deciding costs; width is that of keys if it needs them,
    else of features. For costs and plans it also has `kept(tokens, grid=..., frames=...)`, how many
    tokens of a group stay; it is given grid and frames if it needs them.
    """

    @property
    def needs(self) -> tuple[str, ...]: ...
    @property
    def at(self) -> str: ...
    @property
    def is_off(self) -> bool: ...
    def __call__(self, *features: Any, **needed: Any) -> VisionTokens: ...
    def flops(self, tokens: int, width: int) -> int: ...


@runtime_checkable
class Pruner(Protocol):
    """A method inside the LLM: a schedule, and a score by which tokens stay.

    `score(query, key, valid, scaling)` rates the rows of a layer; `flops(rows, heads, head_dim)` is what
    that costs. If it `needs` "visual", `score` also gets which rows are `visual`, and `flops` how many
    `text` rows follow them.
    """

    @property
    def needs(self) -> tuple[str, ...]: ...
    @property
    def is_off(self) -> bool: ...
    def schedule(self, layers: int) -> Schedule: ...
    def score(self, *args: Any, **kwargs: Any) -> Tensor: ...
    def flops(self, *args: Any, **kwargs: Any) -> int: ...


@dataclass(frozen=True)
class Reduction:
    """A method in the encoder, one before the LLM and one inside it; any of them may be None.

    Attributes:
        before: a `Compressor`, applied to the visual tokens before the LLM.
        inside: a `Pruner`, applied between the LLM's layers.
        encode: a `Shortener` or `Reuser`, applied between the vision encoder's layers.
    """

    before: Compressor | None = None
    inside: Pruner | None = None
    encode: Encoding | None = None

    def __post_init__(self) -> None:
        for place, given in self.parts.items():
            if given is not None and place not in _places(given):
                raise InputError(f"{place}= takes a method {WHERE[place]}; {_instead(given)}")

    @property
    def parts(self) -> dict[str, Any]:
        """What stands in each of `PLACES`."""
        return {place: getattr(self, place) for place in PLACES}

    @property
    def is_off(self) -> bool:
        """Whether nothing is reduced: logits are then bit-identical to the model's own."""
        return all(part is None or part.is_off for part in self.parts.values())

    @property
    def is_sure(self) -> bool:
        """Whether it changes every prompt with visual tokens: one that only reuses may find nothing."""
        others = (self.before, self.inside)
        alone = all(part is None or part.is_off for part in others)
        return not self.is_off and not (alone and isinstance(self.encode, Reuser))

    def encoded_by(self, method: "Encoding | None") -> "Reduction":
        """The same reduction with this method in the encoder: `AIM(keep=0.25).encoded_by(ToMeEncoder())`.

        Args:
            method: a method in the encoder, None for none.
        """
        return Reduction(before=self.before, inside=self.inside, encode=method)

    def to_dict(self) -> dict[str, Any]:
        """The reduction as a dictionary that `json` can write; `from_dict` turns it back.

        Returns:
            `{"before": {"method": "divprune", "keep": 0.5}, "inside": None}` with all knobs of each
            method, and "encode" where there is one; or `{"method": "aim", ...}` of one that works in both
            places.

        Raises:
            InputError: a method that is not registered.
        """
        if type(self) is not Reduction:
            return written(self)
        return {
            place: None if part is None else written(part)
            for place, part in self.parts.items()
            if part is not None or place != "encode"
        }

    def to_json(self) -> str:
        """The reduction as one JSON document; `from_json` turns it back.

        Raises:
            InputError: a method that is not registered.
        """
        return json.dumps(self.to_dict())

    @staticmethod
    def from_dict(row: Mapping[str, Any]) -> "Reduction":
        """The reduction that a dictionary describes, as `to_dict` writes it.

        Args:
            row: one method, `{"method": NAME, "keep": 0.5, ...}`, or `{"before": ..., "inside": ...}`
                with a method or None in each place; knobs and places may be left out.

        Raises:
            InputError: an unknown method or knob, a value out of range, a method in the wrong place, or
                not such a dictionary; the message says what is allowed.
        """
        return _read(row)

    @staticmethod
    def from_json(text: str) -> "Reduction":
        """The reduction that a JSON document describes, as `to_json` writes it; see `from_dict`.

        Raises:
            InputError: not JSON, or not that of a reduction.
        """
        try:
            row = json.loads(text)
        except (ValueError, TypeError, RecursionError) as error:
            raise InputError(
                f'a reduction is written as JSON, {{"method": "aim", "keep": 0.25}}; got '
                f"{repr(text)[:80]}: {error}"
            ) from None
        return _read(row)


Given = Reduction | Encoding | Compressor | Pruner  # a method alone stands for a reduction


def _read(row: Any) -> Reduction:
    if isinstance(row, Mapping) and "method" in row:
        return _staged(*_made(row))
    if not isinstance(row, Mapping) or not row or set(row) - set(PLACES):
        raise InputError(
            'a reduction is written {"method": "aim", "keep": 0.25}, or {"before": ..., "inside": ...} '
            f"with such a method or null in each place; got {row!r}"
        )
    return Reduction(**{place: _part(place, row[place]) for place in row})


def _made(row: Any) -> tuple[Method, Any]:
    """The row of the table that a written method names, and the method itself."""
    found = method(row["method"])
    return found, found.make({name: value for name, value in row.items() if name != "method"})


def _part(place: str, row: Any) -> Any:
    """The method in one place of a written reduction."""
    if row is None:
        return None
    if not isinstance(row, Mapping) or "method" not in row:
        raise InputError(f'{place} is written {{"method": NAME, ...knobs}} or null, got {row!r}')
    found, made = _made(row)
    if found.stage != place:
        allowed = [name for name, known in methods().items() if known.stage == place]
        raise InputError(
            f"{place} takes a method {WHERE[place]} ({', '.join(allowed)}), got {found.name!r}, which "
            f"works {WHERE.get(found.stage, 'both: write it alone')}"
        )
    return made


def is_written(text: str) -> bool:
    """Whether a text is JSON or the path of a .json file, for `read_reduction`, rather than a name."""
    return text.lstrip().startswith("{") or text.endswith(".json")


def read_reduction(text: str) -> Reduction:
    """Read a reduction from JSON or from a file.

    Args:
        text: JSON as `Reduction.to_json` writes it, or the path of a .json file with it.

    Raises:
        InputError: neither, or a file that cannot be read.
    """
    if not text.endswith(".json"):
        return Reduction.from_json(text)
    try:
        return Reduction.from_json(Path(text).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read a reduction from {text}: {error}") from None


def as_reduction(given: Any) -> Reduction:
    """The `Reduction` that a user's argument stands for; a method alone becomes one.

    Args:
        given: a `Reduction`, or a method in the encoder, before the LLM or inside it.

    Raises:
        InputError: a class, a name, knobs without a method, or anything else; the message says what to
            write.
    """
    if isinstance(given, Reduction):
        return given
    places = _places(given)
    if len(places) != 1:
        raise InputError(
            "a reduction is foveate.AIM(keep=0.25), another method, or a Reduction of two; "
            f"{_instead(given)}"
        )
    return Reduction(**{places[0]: given})


def _places(given: Any) -> list[str]:
    """Which of `PLACES` a method works in; none for a class, though it has the attributes."""
    if isinstance(given, type):
        return []
    kinds = {"encode": Encoding, "before": Compressor, "inside": Pruner}
    return [place for place, kind in kinds.items() if isinstance(given, kind)]


def _instead(given: Any) -> str:
    """What was given in a method's place, and what to write."""
    if isinstance(given, type):
        return f"got the class {given.__name__}: write {given.__name__}(), with its knobs"
    if isinstance(given, Reduction):
        return f"got {given!r}, which is a whole reduction: give it alone, or its parts"
    if isinstance(given, str):
        return f'got the name {given!r}: write foveate.create("{method(given).name}")'
    if isinstance(given, Mapping):
        if given.keys() & {"method", *PLACES}:
            return f"got the dictionary {given!r}: write foveate.Reduction.from_dict(...) of it"
        knobs = "".join(f", {name}={value!r}" for name, value in given.items())
        return f'got the dictionary {given!r}: write foveate.create("aim"{knobs})'
    if places := _places(given):
        written = " or ".join(f"Reduction({place}={given!r})" for place in places)
        return f"got {given!r}: write {written}"
    return f"got {given!r}, which lacks {', '.join(_lacking(given))}"


def _lacking(given: Any) -> list[str]:
    """The attributes that it lacks to be the kind of method that it is nearest to."""
    kinds = ({"at", "__call__"}, {"schedule", "score"})
    common = {"needs", "is_off", "flops"}
    missing = ({name for name in kind | common if not hasattr(given, name)} for kind in kinds)
    return sorted(min(missing, key=len))


def typed(reduction: Reduction) -> str:
    """A reduction as one would type it: `foveate.AIM(keep=0.25, prune=(14, 22))`, shares to 4 digits."""
    if type(reduction) is not Reduction:
        return _typed(reduction)
    given = {place: _typed(part) for place, part in reduction.parts.items() if part is not None}
    if len(given) == 1:
        return next(iter(given.values()))
    return f"foveate.Reduction({', '.join(f'{place}={text}' for place, text in given.items())})"


def _typed(method: Any) -> str:
    """A method with `keep`, `prune` and `after`, and every other knob that is not at its default."""
    knobs = []
    for knob in fields(method):
        value = getattr(method, knob.name)
        if knob.init and (knob.name in ("keep", "prune", "after") or value != knob.default):
            text = f"{value:.4g}" if isinstance(value, float) else repr(value)
            knobs.append(f"{knob.name}={text}")
    home = "foveate." if type(method).__module__.startswith("foveate.") else ""
    return f"{home}{type(method).__name__}({', '.join(knobs)})"


def create(name: str, /, **knobs: Any) -> Reduction:
    """Make a reduction from a method's name: `create("aim-merge", keep=0.25)`.

    Args:
        name: one of `foveate.methods()`.
        **knobs: the method's own knobs.

    Raises:
        InputError: unknown name or knob, or a knob's value out of range.
    """
    found = method(name)
    return _staged(found, found.make(knobs))


def at_share(found: Method, share: float | int, layers: int) -> Reduction:
    """A method with the knobs that bring it to a share of the visual tokens.

    Args:
        found: a row of `foveate.methods()`.
        share: mean over the LLM's layers of the share of visual tokens that they compute.
        layers: depth of the LLM.

    Raises:
        InputError: a share that the method cannot reach, or a method without a knob that sets one.
    """
    for_share = getattr(found.build, "for_share", None)
    if found.stage == "encode":
        raise InputError(
            f"{found.name} works in the encoder and leaves the LLM all visual tokens: no share sets it"
        )
    if for_share is not None:
        built = for_share(share, layers)
    elif "keep" in found.knobs:
        built = found.build(keep=share)
    else:
        raise InputError(f"{found.name} has neither `for_share` nor `keep`, so no share sets it")
    return _staged(found, built)


def _staged(found: Method, built: Any) -> Reduction:
    return built if found.stage == "both" else Reduction(**{found.stage: built})
