"""The picture of README.md: one question of `foveate demo`, drawn and told as the demo does it.

python benchmarks/readme_picture.py          # docs/images/demo.png, and its caption
"""

import json

from tables import ROOT, put

from foveate.ask.examples import FOLDER
from foveate.ask.vlm import load
from foveate.demo.demo import DRAWN, SETTINGS, Row, picture

FILE = "reasoning-1.png"
OUT = ROOT / "docs" / "images" / "demo.png"


def asked() -> Row:
    """The question, answered; nothing is timed."""
    items = json.loads((FOLDER / "questions.json").read_text())
    (item,) = [item for item in items if item["file"] == FILE]
    answer = load("foveate-mini").ask(FOLDER / FILE, item["question"], SETTINGS[DRAWN])
    return Row(FILE, item["question"], item["answer"], DRAWN, answer.text, 0.0, answer.report)


def caption(row: Row) -> str:
    """What README says under it."""
    report = row.report
    came, stayed = report.visual_tokens_in[0], report.visual_tokens_to_llm[0]
    by_layer = ", ".join(map(str, report.visual_tokens_by_layer[0]))
    return (
        f'Asked "{row.question}", the model says {row.answer}.\n'
        f"{stayed} of {came} visual tokens reach the LLM, and its layers compute {by_layer}\n"
        f"of them, for {report.totals.flops_share:.0%} of the prefill's FLOPs."
    )


if __name__ == "__main__":
    row, page = asked(), ROOT / "README.md"
    picture([row]).save(OUT, optimize=True)
    page.write_text(put(page.read_text(), "picture", caption(row)))
