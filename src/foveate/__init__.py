"""foveate: fewer visual tokens for vision-language models, really removed.

Importing it loads nothing: each name is loaded when it is first used. Methods are names too, such as
`foveate.FastV(keep=0.5)`, and `dir(foveate)` lists them without loading any.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foveate.apply import reduce as reduce
    from foveate.ask.conversation import Conversation as Conversation
    from foveate.ask.examples import example as example
    from foveate.ask.vlm import load as load
    from foveate.combine.aim import AIM as AIM
    from foveate.errors import FoveateError as FoveateError
    from foveate.laws.law import fit_law as fit_law
    from foveate.planner.plan import plan as plan
    from foveate.reduction import Reduction as Reduction
    from foveate.reduction import create as create
    from foveate.registry import methods as methods
    from foveate.registry import register as register
    from foveate.report import Report as Report
    from foveate.tokens import VisionTokens as VisionTokens

_HOMES = {
    "AIM": "foveate.combine.aim",
    "Conversation": "foveate.ask.conversation",
    "FoveateError": "foveate.errors",
    "Reduction": "foveate.reduction",
    "Report": "foveate.report",
    "VisionTokens": "foveate.tokens",
    "create": "foveate.reduction",
    "example": "foveate.ask.examples",
    "fit_law": "foveate.laws.law",
    "load": "foveate.ask.vlm",
    "methods": "foveate.registry",
    "plan": "foveate.planner.plan",
    "reduce": "foveate.apply",
    "register": "foveate.registry",
}
__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    homes = _HOMES if name in _HOMES else _homes()
    if name not in homes:
        raise AttributeError(
            f"module 'foveate' has no attribute {name!r}; it has {', '.join(sorted(homes))}"
        )
    return getattr(importlib.import_module(homes[name]), name)


def __dir__() -> list[str]:
    return sorted(_homes())


def _homes() -> dict[str, str]:
    """Where each name lives: those above, and the classes of all methods."""
    from foveate.registry import method_classes

    return {**method_classes(), **_HOMES}
