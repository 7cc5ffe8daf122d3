"""Scopes: a reduction belongs to the context, that is the thread or asyncio task, that opened it.

Contexts are Python's own (`contextvars`): `asyncio.to_thread`, tasks made inside and
`contextvars.copy_context().run` carry a reduction along; a bare thread or an executor does not. While a
model is inside a reduction, pictures from a context without one are refused at once: they would silently
run unreduced.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

from foveate.errors import InputError, UnsupportedError

OUTSIDE = (
    "this model is inside a reduce() that another thread or asyncio task opened, so pictures given to it "
    "here would silently not be reduced; ways out: reduce(..., everywhere=True) for all threads of the "
    "model, contextvars.copy_context().run(...) to carry the reduction over to a thread, vlm.stream(...) "
    "for text piece by piece, or a reduce() of its own, with foveate.Reduction() for unreduced"
)

_of_context: ContextVar[Mapping[int, "Scope"]] = ContextVar(
    "foveate_scopes", default=MappingProxyType({})
)
_everywhere: dict[int, "Scope"] = {}  # by model, for contexts without a scope of their own


class Scope:
    """The contexts that one reduction of one model applies to.

    Args:
        model: the model that is reduced.
        everywhere: whether it applies in all threads that open none of their own.
    """

    def __init__(self, model: Any, *, everywhere: bool = False) -> None:
        self.model, self.everywhere = id(model), everywhere
        self.is_open = False

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Apply it in this context, and in those made from it.

        Raises:
            InputError: this context, or for `everywhere` any, has one for the model already.
        """
        scopes = _of_context.get()
        outer = scopes.get(self.model)
        if (outer is not None and outer.is_open) or (self.everywhere and self.model in _everywhere):
            raise InputError(
                "this model is already inside a reduce() here; nest no second one: leave the first, or "
                "open the second in a thread or asyncio task of its own"
            )
        # a context that is left for good, as a thread pool leaves a generator's, needs no reset
        _of_context.set(MappingProxyType({**scopes, self.model: self}))
        if self.everywhere:
            _everywhere[self.model] = self
        self.is_open = True
        try:
            yield
        finally:
            self.is_open = False
            if self.everywhere:
                del _everywhere[self.model]
            left = {model: scope for model, scope in _of_context.get().items() if scope.is_open}
            _of_context.set(MappingProxyType(left))

    def holds_here(self) -> bool:
        """Whether the reduction applies in this context."""
        return scope_of(self.model) is self


def scope_of(model: int) -> Scope | None:
    """The scope that applies to a model, given by its `id`, in this context."""
    scope = _of_context.get().get(model)
    return scope if scope is not None and scope.is_open else _everywhere.get(model)


def refuse_outside() -> None:
    """Refuse pictures from a context without a reduction.

    Raises:
        UnsupportedError: always.
    """
    raise UnsupportedError(OUTSIDE)
