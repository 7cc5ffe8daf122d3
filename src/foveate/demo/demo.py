"""The demo: foveate-mini asked fixed questions, unreduced and under AIM at several settings."""

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from foveate.ask.examples import FOLDER
from foveate.ask.media import Clip, read
from foveate.ask.vlm import VLM, load
from foveate.combine.aim import AIM
from foveate.demo.drawing import draw_token_provenance, stack, strip
from foveate.reduction import Reduction
from foveate.report import Report

REPEATS = 5
TIMED = f"median of {REPEATS} after a warm-up"
SETTINGS: dict[str, Reduction] = {
    "unreduced": Reduction(),
    "keep 50 %": AIM(keep=0.5, prune=None),
    "keep 25 %": AIM(keep=0.25, prune=None),
    "keep 25 %, prune": AIM(keep=0.25),
    "keep 12.5 %, prune": AIM(keep=0.125),
}
DRAWN = "keep 25 %, prune"


@dataclass(frozen=True)
class Row:
    """One question under one setting.

    Attributes:
        file: the picture or clip.
        question: what was asked.
        expected: the right answer.
        budget: a key of `SETTINGS`.
        answer: what the model said.
        first_token_ms: encoding, merging and prefill, median of `REPEATS` runs after a warm-up.
        report: of the prefill.
    """

    file: str
    question: str
    expected: str
    budget: str
    answer: str
    first_token_ms: float
    report: Report

    @property
    def right(self) -> bool:
        """Exact match."""
        return self.answer == self.expected


def run(advance: Callable[[int, int], None], model: str | Path = "foveate-mini") -> list[Row]:
    """Ask every question under every setting.

    Args:
        advance: called with (cells done, cells in all) after each.
        model: what to ask; the questions are foveate-mini's.
    """
    vlm = load(model)
    asked = json.loads((FOLDER / "questions.json").read_text())
    rows: list[Row] = []
    for item in asked:
        for budget in SETTINGS:
            rows.append(_cell(vlm, item, budget))
            advance(len(rows), len(asked) * len(SETTINGS))
    return rows


def _cell(vlm: VLM, item: dict[str, str], budget: str) -> Row:
    asked = FOLDER / item["file"], item["question"], SETTINGS[budget]
    answer = vlm.ask(*asked)  # warms up as well
    reports = [vlm.ask(*asked, max_new_tokens=1).report for _ in range(REPEATS)]
    seconds = statistics.median(report.first_token_seconds for report in reports)
    return Row(
        file=item["file"],
        question=item["question"],
        expected=item["answer"],
        budget=budget,
        answer=answer.text,
        first_token_ms=1000 * seconds,
        report=answer.report,
    )


def picture(rows: list[Row]) -> Image.Image:
    """What was merged and pruned, drawn on the first picture and on every frame of the first clip."""
    drawn: dict[bool, Row] = {}
    for row in rows:
        if row.budget == DRAWN:
            drawn.setdefault(isinstance(read(FOLDER / row.file), Clip), row)
    strips = []
    for is_clip, row in sorted(drawn.items()):
        media = read(FOLDER / row.file)
        views = list(media.frames) if isinstance(media, Clip) else [media]
        into, after = row.report.merged_into[0], row.report.pruned_after[0]
        side = int((len(into) // len(views)) ** 0.5) if is_clip else 12
        strips += [
            strip(draw_token_provenance(view, into[n : n + side**2], after, (side, side)))
            for n, view in zip(range(0, len(into), side**2), views, strict=False)
        ]
    return stack(strips)
