"""The packages the raw material comes from, imported only when scenes are made."""

from importlib import import_module
from types import ModuleType

from foveate.errors import InputError


def require(module: str) -> ModuleType:
    """Import `module`, or raise an error that says which extra installs it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise InputError(
            f"scenes are made from data of {module.split('.')[0]}, which is not installed; "
            'run: pip install "foveate[scenes]"'
        ) from error
