"""A picture and a question, asked once unreduced and once for each method within the budget."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image

from foveate.ask.media import Clip, media_of_all
from foveate.ask.vlm import VLM, Answer
from foveate.cost.hardware import Machine
from foveate.cost.hardware import hardware as machine_named
from foveate.cost.request import Request
from foveate.defaults import MACHINE, MAX_NEW_TOKENS
from foveate.errors import FoveateError
from foveate.planner.budget import Budget
from foveate.planner.by_method import plan_method, plannable
from foveate.planner.costs import Costs
from foveate.planner.reduction import Plan, plan_reduction
from foveate.view.panes import Pane
from foveate.view.state import PLANNER, UNITS, State

KEPT = 8  # prompts whose unreduced answers are kept


@dataclass(frozen=True)
class Prompt:
    """A picture or clip and a question, asked without a reduction.

    Attributes:
        pictures: one.
        question: in words.
        request: what its costs depend on.
        unreduced: the answer.
    """

    pictures: Sequence[Image.Image | Clip]
    question: str
    request: Request
    unreduced: Answer


class Viewer:
    """One model, and all that the page asks of it.

    Attributes:
        vlm: the model.
        methods: "planner", and the names of the methods that the model does not refuse.
        layers: of the LLM.
        machine: that milliseconds are of.

    Args:
        vlm: the model.
        machine: its name, or the .json of a calibration.
    """

    def __init__(self, vlm: VLM, machine: Machine | str = MACHINE) -> None:
        self.vlm = vlm
        self.machine = machine_named(machine) if isinstance(machine, str) else machine
        self.methods = [PLANNER, *plannable(vlm.model)]
        self.layers = len(vlm.family.language_model(vlm.model.model).layers)
        self.prompt = lru_cache(KEPT)(self._prompt)

    def _prompt(self, source: str, question: str) -> Prompt:
        """Read a file and ask the question without a reduction.

        Args:
            source: path of a picture or clip.
            question: in words.

        Raises:
            FoveateError: as of `vlm.ask`, or a model whose costs are not known.
        """
        pictures = self.vlm.pictures(source)
        text = self.vlm.text_tokens(self.vlm.batch([(pictures, question)]))
        shown = media_of_all(pictures)
        request = Request.of(self.vlm.model.config, shown, text, MAX_NEW_TOKENS)
        return Prompt(pictures, question, request, self.vlm.ask(pictures, question))

    def most(self, prompt: Prompt, unit: str) -> float:
        """What the prompt takes unreduced, in a unit of `UNITS`: where the budget's slider ends."""
        if unit == "flops":
            return 100.0
        budget = Budget.of(UNITS[unit][1].format(1))
        costs = Costs([prompt.request], budget, self.machine, self._itemsize)
        return costs.costliest(costs.unreduced)[0]

    def panes(self, prompt: Prompt, state: State) -> list[Pane | FoveateError]:
        """What each method does within the budget, or why it cannot."""
        return [self._pane(prompt, state, name) for name in state.methods]

    def _pane(self, prompt: Prompt, state: State, method: str) -> Pane | FoveateError:
        try:
            plan = self._plan(prompt, state.budget_text, method)
            answer = self.vlm.ask(prompt.pictures, prompt.question, plan.reduction)
        except FoveateError as error:
            return error
        return Pane(
            method, plan, answer, prompt.unreduced, prompt.pictures, prompt.request, self._itemsize
        )

    def _plan(self, prompt: Prompt, budget: str, method: str) -> Plan:
        model, request = self.vlm.model, prompt.request
        shown = media_of_all(prompt.pictures)
        knobs = {"machine": self.machine, "itemsize": self._itemsize}
        knobs |= {"answer_tokens": request.answer_tokens}
        if method == PLANNER:
            return plan_reduction(model, budget, shown, request.text_tokens, **knobs)
        return plan_method(model, budget, method, shown, request.text_tokens, **knobs)

    @property
    def _itemsize(self) -> int:
        return self.vlm.model.dtype.itemsize
