"""What the page does when something on it changes; gradio is not needed for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from foveate.ask.examples import FOLDER
from foveate.errors import FoveateError, InputError
from foveate.view.asking import Prompt, Viewer
from foveate.view.html import Shown, one_line
from foveate.view.state import State

WHOLE = 10  # from where on a budget's slider moves in whole steps
FINE = 100  # steps of a shorter slider


@dataclass(frozen=True)
class Set:
    """What the page shows, and what it was set to when it was asked.

    Attributes:
        state: of the inputs.
        panes: of each method the last pane that there was, and what is wrong now.
        most: where the budget's slider ends.
    """

    state: State
    panes: Sequence[Shown] = ()
    most: float = 100.0

    @property
    def step(self) -> float:
        """Of the budget's slider."""
        return 1.0 if self.most >= WHOLE else self.most / FINE


class Page:
    """One model's page.

    Args:
        viewer: what is asked.
        name: of the model, as in links.
    """

    def __init__(self, viewer: Viewer, name: str) -> None:
        self.viewer, self.name = viewer, name

    def first(self, query: Mapping[str, str]) -> tuple[State, str]:
        """What the page is set to when it opens, and what is amiss with the link; "" if nothing."""
        last = str(self.viewer.layers - 1)
        usual = State.of({"layer": last}, self.name)
        try:
            state = State.of({"layer": last, **query}, self.name)
            self._check(state)
        except FoveateError as error:
            return usual, one_line(error)
        return state, "" if state.example else "The link is of a dropped picture: drop it again."

    def _check(self, state: State) -> None:
        if unknown := set(state.methods) - set(self.viewer.methods):
            raise InputError(
                f"{self.name} is not asked under {', '.join(sorted(unknown))}; allowed: "
                f"{', '.join(self.viewer.methods)}"
            )

    def ask(self, old: Set | None, state: State, dropped: str | None, *, new: bool = False) -> Set:
        """The panes of a state; where a method cannot, its last pane stays.

        Args:
            old: what was shown before.
            state: of the inputs.
            dropped: path of a picture or clip of one's own, None for the example.
            new: whether the budget's unit is new: half of what it takes unreduced is asked for.

        Raises:
            FoveateError: what no method can be asked, such as a file that is no picture.
        """
        prompt = self._prompt(state, dropped)
        most = self.viewer.most(prompt, state.unit)
        if new or state.budget > most > 0:
            state = replace(state, budget=float(f"{most / 2 if new else most:.4g}"))
        last = {} if old is None else {pane.method: pane for pane, _ in old.panes if pane}
        panes = self.viewer.panes(prompt, state)
        shown: list[Shown] = [
            (last.get(method), found) if isinstance(found, FoveateError) else (found, None)
            for method, found in zip(state.methods, panes, strict=True)
        ]
        return Set(state, shown, most)

    def _prompt(self, state: State, dropped: str | None) -> Prompt:
        if not dropped and not state.example:
            raise InputError("no picture: choose an example, or drop a picture or clip")
        return self.viewer.prompt(dropped or str(FOLDER / state.example), state.question)
