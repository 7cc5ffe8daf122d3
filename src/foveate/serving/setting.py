"""What a request asks for: a reduction, a budget, or neither, in the field that vLLM takes, too.

"mm_processor_kwargs": {"foveate": {"method": "fovea-merge", "keep": 0.25}}
"mm_processor_kwargs": {"foveate": {"budget": "25%"}}
"mm_processor_kwargs": {"foveate": null}
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, get_args

from foveate.apply import check_of_budget, fitting, reduce
from foveate.cost.hardware import Machine
from foveate.defaults import TASK
from foveate.errors import FoveateError, InputError
from foveate.models.family import family_of
from foveate.planner.budget import Budget
from foveate.planner.degradation import Task
from foveate.reduction import Reduction, typed
from foveate.runtime.reducer import unwrapped
from foveate.runtime.run import Run
from foveate.runtime.target import Target
from foveate.serving.asgi import Refusal
from foveate.serving.field import KEY, KWARGS

KNOBS = ("budget", "task")  # of a budget
TASKS = get_args(Task)


@dataclass(frozen=True)
class Setting:
    """What is done with the visual tokens of a prompt.

    Attributes:
        reduction: what to do; `Reduction()` for nothing.
        budget: instead of a reduction, what an answer may cost.
        task: what a budget is for: "reasoning" or "ocr".

    Raises:
        InputError: a reduction and a budget, an unknown task, or a task without a budget.
    """

    reduction: Reduction = field(default_factory=Reduction)
    budget: Budget | None = None
    task: str = TASK

    def __post_init__(self) -> None:
        if self.budget is not None and not self.reduction.is_off:
            raise InputError(
                f"give a reduction or a budget, not both; got {self} beside {typed(self.reduction)}"
            )
        if self.task not in TASKS:
            raise InputError(f"task must be one of {', '.join(TASKS)}, got {self.task!r}")
        check_of_budget(self.budget, self.task, None)

    def __str__(self) -> str:
        if self.budget is not None:
            return f"at most {self.budget.text(self.budget.value)}"
        return "nothing reduced" if self.reduction.is_off else typed(self.reduction)

    def check(self, model: Any, machine: Machine | str | None = None) -> None:
        """Refuse what this model cannot do, before it is asked anything.

        Args:
            model: that will be asked.
            machine: that it runs on, for a budget in time.

        Raises:
            FoveateError: the model refuses the reduction, or the budget is none that it can keep.
        """
        if self.budget is not None:
            fitting(model, self.budget, task=self.task, machine=machine)
        inner = unwrapped(model)
        Target.of(inner, family_of(inner)).refuse(self.reduction)

    def opened(
        self, model: Any, machine: Machine | str | None, answer_tokens: int
    ) -> AbstractContextManager[Run]:
        """`foveate.reduce` of the model as is asked.

        Args:
            model: that is asked.
            machine: that it runs on, for a budget in time.
            answer_tokens: longest answer, which counts towards a budget in bytes of KV cache.
        """
        if self.budget is None:
            return reduce(model, self.reduction)
        knobs = {"task": self.task, "machine": machine, "answer_tokens": answer_tokens}
        return reduce(model, budget=self.budget, **knobs)


def setting_of(written: Any) -> Setting:
    """The setting that a request writes: null, a reduction as a dictionary, or a budget.

    Args:
        written: None; as `Reduction.from_dict` takes it; or `{"budget": "25%", "task": "ocr"}`.

    Raises:
        InputError: none of these; the message says what is wrong.
    """
    if written is None:
        return Setting()
    if not isinstance(written, Mapping):
        raise InputError(
            f"it is a reduction or a budget as an object, or null; got {written!r:.100}"
        )
    if "budget" not in written:
        return Setting(Reduction.from_dict(written))
    if set(written) - set(KNOBS):
        raise InputError(f"a budget takes {' and '.join(KNOBS)}, got {', '.join(written)}")
    return Setting(budget=Budget.of(written["budget"]), task=written.get("task", TASK))


def read_setting(request: Mapping[str, Any]) -> Setting | None:
    """The setting that a request asks for, None if it asks for none.

    Args:
        request: the body of a chat completion or response.

    Raises:
        Refusal: 400, another key than ours beside it, or no setting.
    """
    given = request.get(KWARGS)
    if given is None:
        return None
    if not isinstance(given, Mapping) or set(given) - {KEY}:
        got = ", ".join(map(repr, given)) if isinstance(given, Mapping) else repr(given)
        raise Refusal(
            400, f'{KWARGS} takes {{"{KEY}": ...}} and nothing else here, got {got[:200]}'
        )
    if KEY not in given:
        return None
    try:
        return setting_of(given[KEY])
    except FoveateError as error:
        raise Refusal(400, f"{KWARGS}.{KEY}: {' '.join(str(error).split())[:500]}") from None
