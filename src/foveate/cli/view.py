"""`foveate view`: a page on this machine that shows what a reduction does."""

from typing import Annotated

import typer

from foveate.cli.console import BudgetMachine
from foveate.defaults import MACHINE


def view(
    model: Annotated[
        str, typer.Argument(help="foveate-mini, a folder, or a hub id.")
    ] = "foveate-mini",
    port: Annotated[int, typer.Option(help="On 127.0.0.1; 0: any that is free.")] = 7860,
    machine: BudgetMachine = None,
) -> None:
    """Show in a browser what methods do to a picture, a clip and the answer, within a budget."""
    from foveate.ask.vlm import load
    from foveate.view.asking import Viewer
    from foveate.view.handlers import Page
    from foveate.view.page import gradio, serve

    gradio()  # refused before a model is loaded
    serve(Page(Viewer(load(model), machine or MACHINE), model), port)
