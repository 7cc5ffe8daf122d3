"""Documents: receipts, tables, forms and pages, printed small. Every answer stands on the sheet.

At the smallest size a sheet has 3 to 6 lines that are asked about, at larger ones up to 16.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

from foveate.scenes import paper, pen
from foveate.scenes.drawn import Drawn, Wording, ask, one, some
from foveate.scenes.pen import Colour
from foveate.scenes.sample import Question
from foveate.scenes.words import draw_words

DAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
FEWEST, MOST = 3, 16
INKS = ((20, 20, 25), (25, 30, 90), (70, 25, 20))
PAPERS = ((255, 255, 255), (250, 244, 225), (228, 238, 246), (236, 236, 232))

WORDINGS = {
    "price": Wording(
        ("what does the {item} cost?", "what is the price of the {item}?"),
        "the {item} costs {answer}.",
    ),
    "item": Wording(
        ("what costs {price}?", "which item costs {price}?"), "the {answer} costs {price}."
    ),
    "total": Wording(("what is the total?", "read the total."), "the total is {answer}."),
    "dearest": Wording(
        ("which item costs the most?", "what is the dearest item?"), "the {answer} costs the most."
    ),
    "items": Wording(
        ("how many items are listed?", "count the items."),
        "there are {answer} items on the receipt.",
    ),
    "cell": Wording(
        ("what is {row} on {day}?", "read the value of {row} on {day}."),
        "{row} is {answer} on {day}.",
    ),
    "most": Wording(
        ("which row is highest on {day}?", "what has the most on {day}?"),
        "{answer} is highest on {day}.",
    ),
    "field": Wording(
        ("what is filled in for {label}?", "read the field {label}."),
        "{answer} is filled in for {label}.",
    ),
    "ticked": Wording(
        ("is {label} ticked?", "is there a cross at {label}?"),
        "{answer}, {label} is {state}ticked.",
    ),
    "after": Wording(
        ("which word comes after {word}?", "what is the word after {word}?"),
        "after {word} comes {answer}.",
    ),
    "bold": Wording(
        ("which word of the text is bold?", "read the bold word in the text."), "{answer} is bold."
    ),
    "page": Wording(("what is the page number?", "which page is this?"), "this is page {answer}."),
    "heading": Wording(("what is the heading?", "read the heading."), "the heading is {answer}."),
}


@dataclass(frozen=True)
class Document:
    """What a sheet says.

    Attributes:
        kind: of `KINDS`.
        heading: the word at the top.
        heads: days above a table's columns.
        rows: cells of each line: an item and its price; a label and its values; a label and what is
            filled in, `paper.TICK` or `paper.BLANK` for a box; the words of a line of text.
        foot: a receipt's total, a page's number.
        bold: a page's word in bold.
        top: where its lines begin, from 0, at the top of the sheet, to 1, as low as they fit.
        face, ink, sheet: font and colours.
    """

    kind: str
    heading: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    foot: str
    bold: str
    top: float
    face: str
    ink: Colour
    sheet: Colour


def make(split: str, index: int, rng: np.random.Generator, size: int) -> Drawn:
    """Draw the sheet's plan from `rng`."""
    kind = one(tuple(KINDS), rng)
    count = int(rng.integers(FEWEST, min(MOST, size // 24) + 1))
    heading, *words = draw_words(split, 1 + min(8 * count, 120), rng)
    heads, rows, foot, bold = KINDS[kind](words, count, size, rng)
    look = (rng.random(), one(tuple(pen.FACES), rng), one(INKS, rng), one(PAPERS, rng))
    plan = Document(kind, heading, heads, rows, foot, bold, *look)
    return Drawn("documents", split, index, partial(questions, plan), size, plan, paper.paint)


def _receipt(words: list[str], count: int, size: int, rng: np.random.Generator) -> tuple:
    """Items with different prices from 1.00 to 9.99."""
    cents = [100 + int(place) for place in rng.permutation(900)[:count]]
    rows = [(word, money(cost)) for word, cost in zip(words[:count], cents, strict=True)]
    return (), tuple(rows), money(sum(cents)), ""


def _table(words: list[str], count: int, size: int, rng: np.random.Generator) -> tuple:
    """Whole numbers from 10 to 99, different in each column, of some days in order."""
    most = min(len(DAYS), int(paper.room(size) * 0.55 / (paper.COLUMN * pen.letter(size))))
    days = np.sort(rng.permutation(len(DAYS))[: int(rng.integers(2, most + 1))])
    columns = [10 + rng.permutation(90)[:count] for _ in days]
    rows = [
        (word, *(str(column[row]) for column in columns)) for row, word in enumerate(words[:count])
    ]
    return tuple(DAYS[day] for day in days), tuple(rows), "", ""


def _form(words: list[str], count: int, size: int, rng: np.random.Generator) -> tuple:
    """Labels with a word or with a box that is ticked or not; one of each at least."""
    boxes = int(rng.integers(1, count))
    ticks = [one((paper.TICK, paper.BLANK), rng) for _ in range(boxes)]
    values = some([*ticks, *words[count : 2 * count - boxes]], rng, count)
    rows = zip(words, values, strict=False)
    return (), tuple(rows), "", ""


def _page(words: list[str], count: int, size: int, rng: np.random.Generator) -> tuple:
    """Lines of words, no word twice, one of them in bold."""
    rows = paper.wrapped(words, count, size)
    text = [word for row in rows for word in row]
    return (), rows, str(rng.integers(10, 1000)), one(text, rng)


KINDS: dict[str, Callable[[list[str], int, int, np.random.Generator], tuple]] = {
    "receipt": _receipt,
    "table": _table,
    "form": _form,
    "page": _page,
}


def questions(plan: Document, rng: np.random.Generator) -> list[Question]:
    """Questions of every family that this sheet answers, at most `MANY` of each."""
    kinds = {"receipt": _of_receipt, "table": _of_table, "form": _of_form, "page": _of_page}
    return kinds[plan.kind](plan, rng)


def _of_receipt(plan: Document, rng: np.random.Generator) -> list[Question]:
    dearest = max(plan.rows, key=lambda row: float(row[1]))[0]
    asked = [
        ask(WORDINGS, "total", plan.foot, rng),
        ask(WORDINGS, "dearest", dearest, rng),
        ask(WORDINGS, "items", str(len(plan.rows)), rng),
    ]
    asked += [ask(WORDINGS, "price", price, rng, item=item) for item, price in some(plan.rows, rng)]
    return asked + [
        ask(WORDINGS, "item", item, rng, price=price) for item, price in some(plan.rows, rng)
    ]


def _of_table(plan: Document, rng: np.random.Generator) -> list[Question]:
    asked = []
    for row in some(plan.rows, rng):
        column = int(rng.integers(len(plan.heads)))
        words = {"row": row[0], "day": plan.heads[column]}
        asked.append(ask(WORDINGS, "cell", row[1 + column], rng, **words))
    column = int(rng.integers(len(plan.heads)))
    most = max(plan.rows, key=lambda row: int(row[1 + column]))[0]
    return [*asked, ask(WORDINGS, "most", most, rng, day=plan.heads[column])]


def _of_form(plan: Document, rng: np.random.Generator) -> list[Question]:
    boxes = [row for row in plan.rows if row[1] in (paper.TICK, paper.BLANK)]
    fields = [row for row in plan.rows if row not in boxes]
    asked = [ask(WORDINGS, "field", value, rng, label=label) for label, value in some(fields, rng)]
    for label, value in some(boxes, rng):
        answer, state = ("yes", "") if value == paper.TICK else ("no", "not ")
        asked.append(ask(WORDINGS, "ticked", answer, rng, label=label, state=state))
    return asked


def _of_page(plan: Document, rng: np.random.Generator) -> list[Question]:
    text = [word for row in plan.rows for word in row]
    asked = [
        ask(WORDINGS, "page", plan.foot, rng),
        ask(WORDINGS, "heading", plan.heading, rng),
        ask(WORDINGS, "bold", plan.bold, rng),
    ]
    pairs = list(pairwise(text))
    return asked + [
        ask(WORDINGS, "after", after, rng, word=word) for word, after in some(pairs, rng)
    ]


def money(cents: int) -> str:
    """An amount as a receipt prints it."""
    return f"{cents // 100}.{cents % 100:02}"
