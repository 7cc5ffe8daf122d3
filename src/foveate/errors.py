"""Every error that foveate raises on purpose.

FoveateError
├── InputError          a value, a file or a shape that cannot be used (also a ValueError)
│   └── BudgetError     a budget that nothing fits
├── UnsupportedError    a model, a cache or an option that a reduction cannot serve
├── NoEffectError       a reduction was asked for and changed nothing
└── MissingExtraError   an optional dependency is absent (also an ImportError)

Messages say what was wrong, what was given and what is allowed.
"""

import logging

# set here because every module imports this one: nothing is shown until a program asks for it
logging.getLogger("foveate").addHandler(logging.NullHandler())


class FoveateError(Exception):
    """Base of the tree: catch it to catch everything foveate raises on purpose."""


class InputError(FoveateError, ValueError):
    """A value, a file or a shape that cannot be used."""


class BudgetError(InputError):
    """A budget that nothing fits; the message gives the cheapest choice and its cost."""


class UnsupportedError(FoveateError):
    """A model, a cache or an option that a reduction cannot serve; the message lists what works."""


class NoEffectError(FoveateError):
    """A reduction was asked for and changed nothing."""


class MissingExtraError(FoveateError, ImportError):
    """An optional dependency is absent; the message holds the install command."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f'{what} needs an optional dependency: pip install "foveate[{extra}]"')
