"""What a pane shows: the numbers of a `Report`, the plan's reason, and the picture's tokens."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any, NamedTuple

from PIL import Image

from foveate.ask.media import Clip
from foveate.ask.vlm import Answer
from foveate.cost.llm import kv_elements_by_layer
from foveate.cost.request import Request
from foveate.demo.drawing import Views, draw_token_provenance, stack, strip
from foveate.planner.reduction import Plan
from foveate.reduction import typed
from foveate.report import STAGES


class Line(NamedTuple):
    """One number of a pane.

    Attributes:
        name: what it is, with its unit.
        unreduced: without the reduction.
        here: with it.
    """

    name: str
    unreduced: int | float
    here: int | float

    @property
    def share(self) -> float | None:
        """Of unreduced; None where that is nothing."""
        return self.here / self.unreduced if self.unreduced else None


class Layer(NamedTuple):
    """What one layer of the LLM has to do with.

    Attributes:
        number: from 0.
        visual_tokens: that it computes.
        kv_bytes: that its cache holds after the prefill, text included.
    """

    number: int
    visual_tokens: int
    kv_bytes: int


class Region(NamedTuple):
    """A picture or frame under its patches.

    Attributes:
        name: "picture", or "frame 2".
        picture: the pixels.
        start: the first of its visual tokens in the prompt.
        grid: rows and columns of them.
    """

    name: str
    picture: Image.Image
    start: int
    grid: tuple[int, int]


class Drawn(NamedTuple):
    """Views of one region, and the same in words.

    Attributes:
        name: of the region.
        views: the picture, what was merged, what is left.
        merged: what the second shows.
        left: what the third shows.
    """

    name: str
    views: Views
    merged: str
    left: str


@dataclass(frozen=True)
class Pane:
    """One method within a budget, beside no reduction.

    Attributes:
        method: its name, or "planner".
        plan: what was chosen, and why.
        answer: under it.
        unreduced: the answer without it.
        pictures: that were shown.
        request: what the costs depend on.
        itemsize: bytes of a number in the KV cache.
    """

    method: str
    plan: Plan
    answer: Answer
    unreduced: Answer
    pictures: Sequence[Image.Image | Clip]
    request: Request
    itemsize: int

    @property
    def reduction(self) -> str:
        """As one would type it."""
        return typed(self.plan.reduction)

    @property
    def lines(self) -> list[Line]:
        """Tokens, FLOPs and bytes; of this run's `Report`, but the FLOPs with encoder, of the plan."""
        here, whole = self.answer.report, self.unreduced.report
        by_layer = [fmean(report.visual_tokens_by_layer[0]) for report in (whole, here)]
        came, to_llm = here.visual_tokens_in[0], here.visual_tokens_to_llm[0]
        flops = here.prefill_flops_unreduced / 1e9, here.prefill_flops / 1e9
        found = [
            Line("visual tokens to the LLM", came, to_llm),
            Line("visual tokens a layer, mean", by_layer[0], by_layer[1]),
            Line("prefill, GFLOP", flops[0], flops[1]),
            Line("KV cache, kB", here.kv_bytes_unreduced / 1e3, here.kv_bytes / 1e3),
        ]
        if self.plan.request_share is not None:
            calculated = self.plan.unreduced.flops / 1e9, self.plan.cost.flops / 1e9
            found.append(Line("all with encoder, calculated, GFLOP", *calculated))
        return found

    @property
    def stages(self) -> list[Line]:
        """Time of each stage of this run, in ms; prefill includes score."""
        here, whole = self.answer.report.seconds, self.unreduced.report.seconds
        return [
            Line(f"{name}, ms", 1e3 * whole.get(name, 0.0), 1e3 * here.get(name, 0.0))
            for name in STAGES
            if whole.get(name) or here.get(name)
        ]

    @property
    def layers(self) -> list[Layer]:
        """Tokens and KV cache of each layer."""
        report = self.answer.report
        tokens, text = report.visual_tokens_by_layer[0], report.text_tokens[0]
        held = kv_elements_by_layer(self.request.llm, [count + text for count in tokens])
        return [
            Layer(number, count, self.itemsize * elements)
            for number, (count, elements) in enumerate(zip(tokens, held, strict=True))
        ]

    @property
    def shown(self) -> list[tuple[str, Image.Image]]:
        """The picture or frames as the model's processor gets them, each with its name."""
        shown = self.pictures[0]
        if isinstance(shown, Clip):
            return [(f"frame {number}", frame) for number, frame in enumerate(shown.frames, 1)]
        return [("picture", shown)]

    @property
    def undrawn(self) -> str:
        """What is not drawn on the picture; "" if nothing."""
        drawn = sum(rows * columns for _, _, _, (rows, columns) in self.regions)
        rest = self.answer.report.visual_tokens_in[0] - drawn
        return (
            f"{rest} more visual tokens (tiles, separators of rows) are not drawn." if rest else ""
        )

    @cached_property
    def regions(self) -> list[Region]:
        """Pictures or frames on which the tokens lie; none where the model's tiles are not known."""
        return list(regions(self.pictures[0], self.request))

    def drawn(self, layer: int) -> list[Drawn]:
        """Each region with what was merged, and what is left behind a layer."""
        report = self.answer.report
        all_into, after = report.merged_into[0], report.pruned_after[0]
        found = []
        for name, picture, start, grid in self.regions:
            into = all_into[start : start + grid[0] * grid[1]]
            views = draw_token_provenance(picture, into, after, grid, layer)
            found.append(Drawn(name, views, _merged_words(into), _left_words(into, after, layer)))
        return found

    def sheet(self, layer: int) -> Image.Image:
        """The drawn regions as one picture, under the method's name."""
        strips = [strip(one.views) for one in self.drawn(layer)]
        head = (
            f"{self.method}: {self.answer.text!r}, unreduced {self.unreduced.text!r}; left after "
        )
        blank = Image.new("RGB", (1, 1), "white")
        return stack(strips or [blank], f"{head}layer {layer}")

    def to_dict(self) -> dict[str, Any]:
        """A dictionary that `json` can write; "report" is `Report`'s own."""
        return {
            "method": self.method,
            "plan": self.plan.to_dict(),
            "text": self.answer.text,
            "report": self.answer.report.to_dict(),
        }


def regions(shown: Image.Image | Clip, request: Request) -> Iterator[Region]:
    """The pictures or frames of a prompt, each with where its visual tokens begin.

    Of a picture in several views the first is taken if it is the whole picture, as where separators of
    rows stand behind the tiles; other tiles are not drawn.

    Args:
        shown: the picture or clip.
        request: its groups of tokens.
    """
    if request.encoded is None:
        return
    grids = request.encoded.grids
    starts = [sum(request.groups[:place]) for place in range(len(request.groups))]
    flat = [
        (start, grid)
        for start, count, grid in zip(starts, request.groups, grids, strict=False)
        if grid is not None and min(grid) > 1 and grid[0] * grid[1] == count
    ]
    if isinstance(shown, Clip):
        if flat and len(shown.frames) % len(flat) == 0:
            joined = len(shown.frames) // len(flat)  # frames in one token
            for place, (start, grid) in enumerate(flat):
                number = place * joined
                yield Region(f"frame {number + 1}", shown.frames[number], start, grid)
    elif len(flat) == 1 or (flat and grids[-1] is not None and grids[-1][1] == 1):
        yield Region("picture", shown, *flat[0])


def _merged_words(into: Sequence[int | None]) -> str:
    tokens, dropped = {token for token in into if token is not None}, into.count(None)
    more = f", {dropped} dropped" if dropped else ""
    return f"{len(into)} patches became {len(tokens)} tokens{more}"


def _left_words(into: Sequence[int | None], after: Sequence[int | None], layer: int) -> str:
    tokens = {token for token in into if token is not None}
    gone = [number for token in tokens if (number := after[token]) is not None and number <= layer]
    return f"{len(tokens) - len(gone)} of {len(tokens)} tokens left after layer {layer}"
