"""The panes as HTML: values are prepared here, the text is in `templates/` and escapes them."""

import io
import json
from base64 import b64encode
from collections.abc import Sequence
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from foveate.demo.drawing import under_each_other
from foveate.errors import FoveateError
from foveate.report import percent
from foveate.view.panes import Pane
from foveate.view.state import State

SMALL = 144  # pixels of the longer side of a thumbnail
Shown = tuple[
    Pane | None, FoveateError | None
]  # the last pane that there was, and what is wrong now


def style() -> str:
    """The page's style sheet."""
    return (files("foveate.view") / "templates" / "style.css").read_text(encoding="utf-8")


def render(shown: Sequence[Shown], state: State) -> str:
    """The panes beside each other, and their export.

    Args:
        shown: of each method the pane, the error, or both: then the pane is an older one.
        state: of the page.
    """
    panes = [pane for pane, error in shown if pane is not None and error is None]
    rows = [
        (pane, error, method, [] if pane is None else pane.drawn(state.layer))
        for (pane, error), method in zip(shown, state.methods, strict=True)
    ]
    page = _templates().get_template("panes.html")
    return page.render(
        rows=rows,
        sources=[(name, _small(one)) for name, one in panes[0].shown] if panes else [],
        json=_data("application/json", document(panes, state).encode()) if panes else "",
        png=_png(under_each_other([pane.sheet(state.layer) for pane in panes])) if panes else "",
    )


def message(text: str, *, wrong: bool = False) -> str:
    """One line that a screen reader says when it changes; "alert" for what went wrong."""
    return _templates().get_template("message.html").render(text=text, wrong=wrong)


def heading(model: str) -> str:
    """What is shown."""
    return _templates().get_template("heading.html").render(model=model)


def link(address: str, state: State) -> str:
    """The link that sets the page so again, or why there is none."""
    if not state.example:
        return message("No link: a picture of your own cannot travel in one. Choose an example.")
    return _templates().get_template("link.html").render(link=f"{address}?{state.query}")


def document(panes: Sequence[Pane], state: State) -> str:
    """The JSON to export: what was asked, and of each pane the answer and its `Report`."""
    unreduced = panes[0].unreduced
    asked = {"link": state.query, "question": state.question}
    whole = {"text": unreduced.text, "report": unreduced.report.to_dict()}
    return json.dumps(asked | {"unreduced": whole, "panes": [pane.to_dict() for pane in panes]})


def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("foveate.view"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"number": _number, "percent": percent, "png": _png}
    return templates


def _number(value: int | float) -> str:
    """Whole numbers in full, others with 4 digits."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _small(picture: Image.Image) -> Image.Image:
    """A copy that fits a thumbnail."""
    copy = picture.copy()
    copy.thumbnail((SMALL, SMALL))
    return copy


def _png(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return _data("image/png", buffer.getvalue())


def _data(kind: str, contents: bytes) -> str:
    """Contents as a URL that holds them."""
    return f"data:{kind};base64,{b64encode(contents).decode()}"


def one_line(error: FoveateError) -> str:
    """An error's message without breaks."""
    return " ".join(str(error).split())
