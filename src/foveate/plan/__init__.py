"""From measurements to a choice: laws, their frontier, plans. Needs neither torch nor a model.

`foveate.plan` is this package and can be called: `foveate.plan(model, budget=0.25)`.
"""

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    def __call__(self, *arguments: Any, **more: Any) -> Any:
        from foveate.plan.planner import plan as choose

        return choose(*arguments, **more)


plan = sys.modules[__name__]  # what `from foveate import plan` gives
plan.__class__ = _Callable
