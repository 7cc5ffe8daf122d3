"""What to give up first: AIM's knobs from "off" to the cheapest, each step cheaper than the one before.

The order follows published ablations. Video (AIM, arXiv 2412.03248, LLaVA-OneVision-7B of 28 layers,
VideoMME, 58.2 unreduced): pruning late layers is free, 58.1 at (21, 22) and 58.2 at (14, 22); merging is
too, down to a quarter, 58.2, then costs, 56.4 at an eighth and 50.9 at 1.6 %; pruning earlier costs most,
52.9 at (7, 15) and 41.9 at (7, 8).

Reading text is another matter. On TextVQA (same paper, LLaVA-1.5-7B of 32 layers, 58.2 unreduced, all
near 2.4 TFLOP) FastV, which only prunes, keeps 57.3; AIM, which merges to 44 % first, 53.8; VTW, which
drops everything after layer 8, 45.7. So tokens that are to be read are merged after the middle layers
were pruned, and before the first quarter is.

A budget that counts the encoder is spent on three places, with fovea, whose merging leaves text readable.
That order is of foveate-mini's validation scenes (`results/plan.json`). A quarter of the visual tokens
costs nothing that can be told, half of the patches next to nothing: these come first. Then come an eighth
of the tokens and a third of the patches, at a point or two. A sixteenth of the tokens costs 3 to 10, a
quarter of the patches 5 to 8 of reasoning and ocr: these are the last. Where text is to be read, tokens
are merged further before the encoder is shortened at all.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from foveate.combine.aim import AIM
from foveate.combine.fovea import Fovea
from foveate.cost.request import Request, RequestCost
from foveate.defaults import PRUNE, TASK
from foveate.encode.tome import ToMeEncoder
from foveate.errors import InputError
from foveate.keep import kept_count
from foveate.reduction import Reduction

Task = Literal["reasoning", "ocr"]
Stages = tuple[
    tuple[str, float], ...
]  # what is given up, and how far: a share of depth, or what is kept
START, STOP = PRUNE  # of the depth
EARLY = 0.25  # of the depth: VTW's layer 8 of 32
FEWEST = 1 / 64  # of a group: AIM's lowest merging, 1.6 %
FINE = 100  # steps from the whole encoder down to none of it
MADE = {"aim": AIM, "fovea": Fovea}


@dataclass(frozen=True)
class Step:
    """One setting on the way down.

    Attributes:
        keep: share of each group's visual tokens that reaches the LLM.
        prune: start and stop layer, None for no pruning.
        gave_up: what was given up last: "nothing", a stage of `ORDER`, or what an analysis suggests.
        encode: share of its patches that the encoder keeps.
        method: "aim" or "fovea", whose knobs `keep` and `prune` are.
    """

    keep: float
    prune: tuple[int, int] | None
    gave_up: str
    encode: float = 1.0
    method: str = "aim"

    @property
    def reduction(self) -> Reduction:
        """The method with these knobs, and with one in the encoder where that is shortened."""
        made = MADE[self.method](self.keep, self.prune)
        return made if self.encode == 1 else made.encoded_by(ToMeEncoder(self.encode))

    def cost(self, request: Request) -> RequestCost:
        """Cost of a request under this setting."""
        return request.cost(self.reduction)


UNREDUCED = Step(1.0, None, "nothing")
WHOLE_REQUEST = replace(UNREDUCED, method="fovea")  # where a budget that counts the encoder begins
LATE, MIDDLE, FIRST = ("late layers", START), ("middle layers", EARLY), ("early layers", 0.0)
ORDER: dict[str, Stages] = {
    "reasoning": (LATE, ("merging", FEWEST), MIDDLE, FIRST),
    "ocr": (LATE, MIDDLE, ("merging", FEWEST), FIRST),
}
WITH_ENCODER: dict[str, Stages] = {  # where a budget counts the encoder
    "reasoning": (
        LATE,
        ("merging", 1 / 4),
        ("encoder", 1 / 2),
        ("merging", 1 / 8),
        ("encoder", 0.35),
        ("merging", FEWEST),
        MIDDLE,
        FIRST,
        ("encoder", 1 / 4),
    ),
    "ocr": (
        LATE,
        ("merging", 1 / 8),
        ("encoder", 1 / 2),
        ("merging", 1 / 16),
        MIDDLE,
        ("merging", FEWEST),
        FIRST,
        ("encoder", 1 / 4),
    ),
}


def degradation_order(
    layers: int,
    group: int,
    task: str = TASK,
    first: Step = UNREDUCED,
    refusal: Callable[[Reduction], str] = lambda reduction: "",
    *,
    encoder: bool = False,
) -> Iterator[Step]:
    """Every step for an LLM of so many layers and groups of so many tokens, the costliest first.

    Args:
        layers: of the LLM.
        group: tokens of a tile or frame.
        task: "reasoning" or "ocr".
        first: where it begins; later steps merge and prune at least as much, over as wide a window.
        refusal: why the model refuses a reduction, "" if it does not. A window that it refuses is made
            shorter, or left out, as is the encoder.
        encoder: whether the encoder is a place to save in, too.

    Raises:
        InputError: unknown task.
    """
    order = WITH_ENCODER if encoder else ORDER
    if task not in order:
        raise InputError(f"task must be one of {tuple(order)}, got {task!r}")

    def window(start: int, stop: int) -> tuple[int, int] | None:
        stops = range(stop, start, -1)
        return next(((start, n) for n in stops if not refusal(AIM(1.0, (start, n)))), None)

    given = first.prune
    step = replace(first, prune=given and window(*given))
    start, stop = round(START * layers), max(round(STOP * layers), round(START * layers) + 1)
    width = given[1] - given[0] if given else stop - start
    # pruning starts before this layer; after the last one nothing is left to save
    before = given[0] if given else layers - 1
    yield first if step == first else step
    for stage, floor in order[task]:
        if stage == "merging":
            changes = _merging(kept_count(step.keep, group), group, floor)
        elif stage == "encoder":
            changes = _encoding(step.encode, floor, refusal)
        else:
            starts = _down(before, round(floor * layers))
            before = min(before, round(floor * layers))
            windows = (window(layer, min(layer + width, layers)) for layer in starts)
            changes = [{"prune": found} for found in windows if found is not None]
        for change in changes:
            step = replace(step, gave_up=stage, **change)
            yield step


def _merging(kept: int, group: int, floor: float) -> list[dict[str, Any]]:
    """One token of a group less at a time."""
    return [{"keep": n / group} for n in _down(kept, max(1, round(floor * group)))]


def _encoding(
    encode: float, floor: float, refusal: Callable[[Reduction], str]
) -> list[dict[str, Any]]:
    """A hundredth of the patches less at a time, if the model does not refuse it."""
    if refusal(Reduction(encode=ToMeEncoder(floor))):
        return []
    return [{"encode": n / FINE} for n in _down(round(FINE * encode), round(FINE * floor))]


def _down(above: int, least: int) -> range:
    """Whole numbers below one, down to another."""
    return range(above - 1, least - 1, -1)
