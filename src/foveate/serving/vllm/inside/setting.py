"""How an engine is asked for the experiment, beside its budget."""

from collections.abc import Mapping

from foveate.errors import InputError
from foveate.reduction import Pruner, Reduction

EXPERIMENTAL = "experimental"
EXAMPLE = '{"method": "aim", "keep": 0.25, "experimental": true}'


def split(given: object) -> tuple[object, Pruner | None]:
    """What an engine was started with, in two: the rest of it, as a budget, and a method inside the LLM.

    Args:
        given: of `--hf-overrides`.

    Raises:
        InputError: the switch of the experiment without a method inside the LLM, or not true.
    """
    if not isinstance(given, Mapping) or EXPERIMENTAL not in given:
        return given, None
    if given[EXPERIMENTAL] is not True:
        raise InputError(
            f'"{EXPERIMENTAL}" is true or left out, got {given[EXPERIMENTAL]!r}: {EXAMPLE}'
        )
    reduction = Reduction.from_dict(
        {name: value for name, value in given.items() if name != EXPERIMENTAL}
    )
    if reduction.inside is None or reduction.inside.is_off:
        raise InputError(
            f'"{EXPERIMENTAL}" is for a method inside the LLM, as {EXAMPLE}; got {dict(given)!r}'
        )
    rest = Reduction(before=reduction.before, encode=reduction.encode)
    return None if rest.is_off else rest.to_dict(), reduction.inside
