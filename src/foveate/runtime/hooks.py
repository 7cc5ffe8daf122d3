"""Hooks of one reduction: they act in its context alone, and some come and go with a forward."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Never

from torch import nn

from foveate.errors import UnsupportedError
from foveate.runtime.scope import Scope

REGISTERING = threading.Lock()  # torch numbers hooks without one: two at once would be one


class Hook:
    """One hook of a reduction: calls `action` in its context, `outside` in any other."""

    def __init__(
        self, scope: Scope, action: Callable[..., Any], outside: Callable[..., Any] | None = None
    ) -> None:
        self.scope, self.action, self.outside = scope, action, outside

    def __call__(self, module: nn.Module, *values: Any) -> Any:
        if self.scope.holds_here():
            return self.action(*values)
        # torch puts a hook in before it notes that it takes keyword arguments: another thread's forward
        # that meets it in between, without them, began before the reduction
        is_in = len(values) > 1
        return self.outside(*values) if is_in and self.outside is not None else None

    def __reduce_ex__(self, protocol: Any) -> Never:
        """Refuse to be copied: a copy of the model would run the hooks of the first.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError(
            "a model inside a reduce() cannot be copied or pickled; do so before or after it"
        )


Place = tuple[nn.Module, Hook, bool]  # whose hook, and whether it runs after the forward


@contextmanager
def placed(*places: Place) -> Iterator[None]:
    """Hooks that run before all others, so that these see the same rows, whenever they came."""
    with REGISTERING:
        handles = [
            (module.register_forward_hook if after else module.register_forward_pre_hook)(
                hook, prepend=True, with_kwargs=True
            )
            for module, hook, after in places
        ]
    try:
        yield
    finally:
        with REGISTERING:
            for handle in handles:
                handle.remove()


class LayerHooks(threading.local):
    """The hooks of the LLM's layers: there only while a forward needs them, for each costs every token.

    Args:
        sets: by name what is there together, see `SharedHooks`.

    Attributes:
        wanted: the set that this thread's forward needs, if any.
    """

    def __init__(self, sets: Mapping[str, "SharedHooks"]) -> None:
        self.sets = sets
        self.wanted: str | None = None

    def want(self, name: str | None) -> None:
        """This thread's forward needs this set from now on; None for no hooks."""
        if name == self.wanted:
            return
        if self.wanted is not None:
            self.sets[self.wanted].count(-1)
        self.wanted = None
        if name is not None:
            self.sets[name].count(1)
        self.wanted = name

    def close(self) -> None:
        """Remove the hooks of all threads."""
        for shared in self.sets.values():
            shared.close()


class SharedHooks:
    """Hooks that are there while any thread needs them.

    Args:
        enter: puts them in for the length of a `with`.
    """

    def __init__(self, enter: Callable[[], AbstractContextManager[Any]]) -> None:
        self._enter, self._users = enter, 0
        self._stack, self._lock = ExitStack(), threading.Lock()

    def count(self, more: int) -> None:
        """One user more, or one fewer."""
        with self._lock:
            if not self._users:
                self._stack.enter_context(self._enter())
            self._users += more
            if not self._users:
                self._stack.close()

    def close(self) -> None:
        """Remove them, whoever needs them."""
        with self._lock:
            self._users = 0
            self._stack.close()
