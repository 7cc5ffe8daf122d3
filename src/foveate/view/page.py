"""The page: gradio's inputs around the panes. All that it shows is computed elsewhere in this folder."""

import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from threading import Event
from typing import Any

from foveate.errors import FoveateError, InputError, MissingExtraError
from foveate.serving.server import Local
from foveate.view.handlers import Page, Set
from foveate.view.html import heading, link, message, one_line, render, style
from foveate.view.state import PANES, UNITS, State, examples

HOST = "127.0.0.1"
NONE = "none"
FONT = ("system-ui", "sans-serif")  # of this machine: nothing is fetched


def gradio() -> Any:
    """The package, told not to report its use.

    Raises:
        MissingExtraError: it is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        return import_module("gradio")
    except ImportError:
        raise MissingExtraError("foveate view", "view") from None


@dataclass(frozen=True)
class Parts:
    """The components of the page, in the order in which handlers get their values.

    Attributes:
        shown: the last `Set`, kept for the visitor.
        dropped: a picture or clip of one's own.
        example: else one of the demo.
        question: in words.
        unit: of the budget.
        budget: in that unit.
        layer: behind which one looks.
        methods: one for each pane.
        status: one line on what happened.
        panes: as HTML.
        link: to the page as it is set.
    """

    shown: Any
    dropped: Any
    example: Any
    question: Any
    unit: Any
    budget: Any
    layer: Any
    methods: tuple[Any, ...]
    status: Any
    panes: Any
    link: Any

    @property
    def inputs(self) -> list[Any]:
        """What handlers are given."""
        given = [self.shown, self.dropped, self.example, self.question, self.unit, self.budget]
        return [*given, self.layer, *self.methods]

    @property
    def outputs(self) -> list[Any]:
        """What handlers may change."""
        return [*self.inputs, self.status, self.panes, self.link]


class Layout:
    """The gradio page of a `Page`.

    Attributes:
        blocks: gradio's own.

    Args:
        page: what it does.
        address: where it is served.
    """

    def __init__(self, page: Page, address: str) -> None:
        self._page, self._address, self._gradio = page, address, gradio()
        gr = self._gradio
        with gr.Blocks(title=f"foveate view: {page.name}", analytics_enabled=False) as self.blocks:
            gr.HTML(heading(page.name))
            self._parts = self._place(gr)
            self._wire()

    def _place(self, gr: Any) -> Parts:
        state = self._page.first({})[0]
        with gr.Row():
            with gr.Column(min_width=280):
                example = gr.Dropdown(examples(), value=state.example, label="Example")
                dropped = gr.File(label="Or a picture or clip of your own: drop it", height=160)
            with gr.Column(min_width=280):
                question = gr.Textbox(state.question, label="Question", submit_btn="Ask")
                names = [(label, unit) for unit, (label, _) in UNITS.items()]
                unit = gr.Dropdown(names, value=state.unit, label="Unit of the budget")
                budget = gr.Slider(1, 100, state.budget, step=1, label=self._budget_label(state))
        with gr.Row():
            methods = tuple(self._method(gr, state, number) for number in range(PANES))
        last = self._page.viewer.layers - 1
        layer = gr.Slider(0, last, last, step=1, label="Show what is left after layer")
        shown, status, panes = gr.State(), gr.HTML(), gr.HTML(elem_id="panes")
        return Parts(
            shown,
            dropped,
            example,
            question,
            unit,
            budget,
            layer,
            methods,
            status,
            panes,
            gr.HTML(),
        )

    def _method(self, gr: Any, state: State, number: int) -> Any:
        choices = [NONE, *self._page.viewer.methods] if number else self._page.viewer.methods
        value = state.methods[number] if number < len(state.methods) else NONE
        return gr.Dropdown(
            choices, value=value, label=f"Method of pane {number + 1}", min_width=140
        )

    def _wire(self) -> None:
        parts = self._parts
        self.blocks.load(self._opening(), None, parts.outputs, **self._options())
        self._on(parts.question.submit, self._ask)
        self._on(parts.budget.input, self._ask)
        self._on(parts.dropped.upload, self._ask)
        self._on(parts.unit.input, self._ask_in_new_unit)
        self._on(parts.example.input, self._ask_example)
        self._on(parts.layer.input, self._redraw)
        for method in parts.methods:
            self._on(method.input, self._ask)

    def _on(self, event: Any, handler: Callable[..., Any]) -> None:
        event(handler, self._parts.inputs, self._parts.outputs, **self._options())

    def _options(self) -> dict[str, Any]:
        """One answer at a time, and of a slider that is dragged the last value alone."""
        return {
            "trigger_mode": "always_last",
            "concurrency_id": "model",
            "concurrency_limit": 1,
            "show_progress": "minimal",
            "show_progress_on": [self._parts.status],
            "api_visibility": "private",
        }

    def _opening(self) -> Callable[..., Any]:
        """The handler of the page's opening: gradio tells the link by the argument's type."""

        def opening(request: Any) -> dict[Any, Any]:
            return self._open(dict(request.query_params))

        opening.__annotations__["request"] = self._gradio.Request
        return opening

    def _open(self, query: dict[str, str]) -> dict[Any, Any]:
        state, amiss = self._page.first(query)
        parts = self._parts
        methods = [*state.methods, *[NONE] * PANES][:PANES]
        inputs = {
            parts.example: state.example or None,
            parts.question: state.question,
            parts.unit: state.unit,
            parts.budget: state.budget,
            parts.layer: state.layer,
            **dict(zip(parts.methods, methods, strict=True)),
        }
        if not state.example:
            return inputs | {parts.status: message(amiss)}
        found = inputs | self._answered(None, state, None, opened=True)
        return found | ({parts.status: message(amiss, wrong=True)} if amiss else {})

    def _ask(self, old: Set | None, dropped: str | None, *values: Any) -> dict[Any, Any]:
        return self._answered(old, self._state(dropped, values), dropped)

    def _ask_in_new_unit(self, old: Set | None, dropped: str | None, *values: Any) -> Any:
        return self._answered(old, self._state(dropped, values), dropped, new=True)

    def _ask_example(self, old: Set | None, dropped: str | None, *values: Any) -> dict[Any, Any]:
        found = self._answered(old, self._state(None, values), None)
        return {self._parts.dropped: None, **found}

    def _redraw(self, old: Set | None, dropped: str | None, *values: Any) -> dict[Any, Any]:
        layer = self._state(dropped, values).layer
        return (
            {} if old is None else self._drawn(replace(old, state=replace(old.state, layer=layer)))
        )

    def _state(self, dropped: str | None, values: Sequence[Any]) -> State:
        """The state that the inputs show."""
        example, question, unit, budget, layer, *methods = values
        return State(
            self._page.name,
            "" if dropped else example or "",
            question,
            tuple(name for name in methods if name != NONE),
            unit,
            budget,
            layer,
        )

    def _answered(
        self,
        old: Set | None,
        state: State,
        dropped: str | None,
        *,
        new: bool = False,
        opened: bool = False,
    ) -> dict[Any, Any]:
        parts = self._parts
        try:
            found = self._page.ask(old, state, dropped, new=new)
        except FoveateError as error:
            return {parts.status: message(one_line(error), wrong=True)}
        kept = found.state.budget == state.budget and not opened
        # a value that is still right is not set: the slider may have been dragged on since
        moved = {} if kept else {"value": found.state.budget}
        budget = self._gradio.Slider(
            minimum=found.step, maximum=found.most, step=found.step,
            label=self._budget_label(state), **moved,
        )  # fmt: skip
        return {parts.budget: budget, **self._drawn(found)}

    def _drawn(self, found: Set) -> dict[Any, Any]:
        parts, state = self._parts, found.state
        failed = sum(error is not None for _, error in found.panes)
        done = f"Asked {state.question!r} within {state.budget_text}, {len(found.panes)} methods"
        return {
            parts.shown: found,
            parts.status: message(f"{done}, {failed} of them refused." if failed else f"{done}."),
            parts.panes: render(found.panes, state),
            parts.link: link(self._address, state),
        }

    def _budget_label(self, state: State) -> str:
        on = f" on {self._page.viewer.machine.name}, calculated" if state.unit == "ms" else ""
        return f"Budget: {UNITS[state.unit][0]}{on}"


def serve(page: Page, port: int) -> None:
    """Serve the page on this machine until it is interrupted.

    Args:
        page: what it does.
        port: 0 for any that is free.

    Raises:
        MissingExtraError: gradio is not installed.
        InputError: the port is taken.
    """
    launch(page, port)
    sys.stderr.write("foveate: Ctrl-C ends it\n")
    with suppress(KeyboardInterrupt):
        Event().wait()


def launch(page: Page, port: int) -> str:
    """Serve the page beside this thread, and print and return its address; as `serve`."""
    from starlette.middleware import Middleware

    gr = gradio()
    at = free_port(port)
    address = f"http://{HOST}:{at}/"
    Layout(page, address).blocks.launch(
        server_name=HOST,
        server_port=at,
        share=False,
        inbrowser=False,
        quiet=True,
        prevent_thread_lock=True,
        footer_links=[],
        ssr_mode=False,
        theme=gr.themes.Base(font=FONT, font_mono=("monospace",)),
        css=style(),
        app_kwargs={"middleware": [Middleware(Local)]},
    )
    sys.stderr.write(f"foveate: {page.name} is shown at {address}\n")
    return address


def free_port(port: int) -> int:
    """The port, or any that is free for 0.

    Raises:
        InputError: it is taken.
    """
    try:
        with socket.create_server((HOST, port)) as line:
            return line.getsockname()[1]
    except (OSError, OverflowError) as error:
        raise InputError(f"cannot listen at {HOST}:{port}: {error}") from None
