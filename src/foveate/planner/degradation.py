"""What to give up first: AIM's knobs from "off" to the cheapest, each step cheaper than the one before.

The order follows published ablations. Video (AIM, arXiv 2412.03248, LLaVA-OneVision-7B of 28 layers,
VideoMME, 58.2 unreduced): pruning late layers is free, 58.1 at (21, 22) and 58.2 at (14, 22); merging is
too, down to a quarter, 58.2, then costs, 56.4 at an eighth and 50.9 at 1.6 %; pruning earlier costs most,
52.9 at (7, 15) and 41.9 at (7, 8).

Reading text is another matter. On TextVQA (same paper, LLaVA-1.5-7B of 32 layers, 58.2 unreduced, all
near 2.4 TFLOP) FastV, which only prunes, keeps 57.3; AIM, which merges to 44 % first, 53.8; VTW, which
drops everything after layer 8, 45.7. So tokens that are to be read are merged after the middle layers
were pruned, and before the first quarter is.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from foveate.combine.aim import AIM
from foveate.defaults import PRUNE, TASK
from foveate.errors import InputError
from foveate.keep import kept_count
from foveate.reduction import Reduction

Task = Literal["reasoning", "ocr"]
START, STOP = PRUNE  # of the depth
EARLY = 0.25  # of the depth: VTW's layer 8 of 32
FEWEST = 1 / 64  # of a group: AIM's lowest merging, 1.6 %


@dataclass(frozen=True)
class Step:
    """One setting of AIM on the way down.

    Attributes:
        keep: share of each group's visual tokens that reaches the LLM.
        prune: start and stop layer, None for no pruning.
        gave_up: what was given up last: "nothing", "merging", "late", "middle" or "early layers", or what
            an analysis suggests.
    """

    keep: float
    prune: tuple[int, int] | None
    gave_up: str

    @property
    def reduction(self) -> AIM:
        """AIM with these knobs."""
        return AIM(self.keep, self.prune)


UNREDUCED = Step(1.0, None, "nothing")
ORDER: dict[str, tuple[str, ...]] = {
    "reasoning": ("late layers", "merging", "middle layers", "early layers"),
    "ocr": ("late layers", "middle layers", "merging", "early layers"),
}


def degradation_order(
    layers: int,
    group: int,
    task: str = TASK,
    first: Step = UNREDUCED,
    refusal: Callable[[Reduction], str] = lambda reduction: "",
) -> Iterator[Step]:
    """Every step for an LLM of so many layers and groups of so many tokens, the costliest first.

    Args:
        layers: of the LLM.
        group: tokens of a tile or frame.
        task: "reasoning" or "ocr".
        first: where it begins; later steps merge and prune at least as much, over as wide a window.
        refusal: why the model refuses a reduction, "" if it does not. A window that it refuses is made
            shorter, or left out.

    Raises:
        InputError: unknown task.
    """
    if task not in ORDER:
        raise InputError(f"task must be one of {tuple(ORDER)}, got {task!r}")

    def window(start: int, stop: int) -> tuple[int, int] | None:
        stops = range(stop, start, -1)
        return next(((start, n) for n in stops if not refusal(AIM(1.0, (start, n)))), None)

    keep, prune = first.keep, first.prune and window(*first.prune)
    start, stop = round(START * layers), max(round(STOP * layers), round(START * layers) + 1)
    given = first.prune
    early, width = round(EARLY * layers), given[1] - given[0] if given else stop - start
    # the layer after which pruning starts, from and to; after the last one nothing is left to save
    latest = given[0] - 1 if given else layers - 2
    starts = {
        "late layers": range(latest, start - 1, -1),
        "middle layers": range(min(latest, start - 1), early - 1, -1),
        "early layers": range(min(latest, early - 1), -1, -1),
    }
    yield first if prune == first.prune else Step(keep, prune, first.gave_up)
    for stage in ORDER[task]:
        if stage == "merging":
            for count in range(kept_count(keep, group) - 1, max(1, round(FEWEST * group)) - 1, -1):
                keep = count / group
                yield Step(keep, prune, stage)
            continue
        for layer in starts[stage]:
            if (found := window(layer, min(layer + width, layers))) is not None:
                prune = found
                yield Step(keep, prune, stage)
