"""What the paper claims, held to the journal: each claim holds, fails, or cannot be told."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from math import inf
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.study.answers import Answers, points
from benchmarks.study.cells import COUNTS, TRAINING_FREE, Cell
from benchmarks.study.cost import QUERY_TOKENS
from benchmarks.study.pictures import PATCHES
from benchmarks.study.sizes import SIZES
from foveate.errors import InputError
from foveate.laws.fitting import FORMS
from foveate.laws.frontier import optimum
from foveate.laws.law import Law, fit_points
from foveate.records.intervals import Difference, mean_over_runs

ALIKE = 0.25  # two models cost the same where their FLOPs differ by no more
WITHIN = 0.02  # of the held-out size's error, as claimed
TAILS = (2.5, 97.5)
Known = dict[Cell, Answers]


@dataclass(frozen=True)
class Verdict:
    """One claim judged.

    Attributes:
        claim: in words; it says that a number lies between `least` and `most`.
        verdict: "holds" if all of the number's interval lies there, "fails" if none of it, else "cannot
            tell".
        value: the number; None where cells are missing.
        low: of its 95 % interval.
        high: likewise.
        least: of the claim, None without a lower end.
        most: likewise.
    """

    claim: str
    verdict: str
    value: float | None
    low: float | None
    high: float | None
    least: float | None
    most: float | None


def judge(
    claim: str, found: Difference | None, least: float | None = None, most: float | None = None
) -> Verdict:
    """A claim that a number lies between two ends, by the number's interval."""
    if found is None:
        return Verdict(claim, "cannot tell", None, None, None, least, most)
    lowest, highest = -inf if least is None else least, inf if most is None else most
    verdict = "cannot tell"
    if lowest <= found.low and found.high <= highest:
        verdict = "holds"
    elif found.high < lowest or found.low > highest:
        verdict = "fails"
    value, low, high = (round(number, 4) for number in (found.mean, found.low, found.high))
    return Verdict(claim, verdict, value, low, high, least, most)


def verdicts(answers: list[Answers]) -> list[dict[str, Any]]:
    """Every claim of the study, judged."""
    known = {one.cell: one for one in answers}
    made = [*_exponents(answers), *_held_out(answers), *_fixed_compute(known)]
    made += [*_one_token(answers), *_query(known), *_frames(known), *_training(known)]
    return [asdict(one) for one in made]


def law_of(answers: list[Answers], task: str, form: str) -> Law | None:
    """The law of a task over the sizes that are not held out; None where cells are missing."""
    fitted = [one for one in answers if not SIZES[one.cell.size].is_held_out]
    try:
        return fit_points(points(fitted, task), form)
    except InputError:
        return None


def best_law(answers: list[Answers], task: str) -> Law | None:
    """The law of the form that AICc prefers."""
    laws = [law for form in FORMS if (law := law_of(answers, task, form)) is not None]
    return min(laws, key=lambda law: inf if law.aicc is None else law.aicc, default=None)


def _exponents(answers: list[Answers]) -> Iterator[Verdict]:
    ratios: dict[str, Difference | None] = dict.fromkeys(("reasoning", "ocr"))
    for task in ratios:
        if (law := law_of(answers, task, "product")) is not None:
            found = law.interval()["alpha / beta"]
            ratios[task] = Difference(law.alpha / law.beta, found.low, found.high)
    claim = "reasoning: LLM size counts for more than visual tokens (alpha / beta)"
    yield judge(claim, ratios["reasoning"], least=1.0)
    claim = "ocr: visual tokens count for more than LLM size (alpha / beta)"
    yield judge(claim, ratios["ocr"], most=1.0)


def _held_out(answers: list[Answers]) -> Iterator[Verdict]:
    """Relative error of the prediction, mean over counts."""
    held = [one for one in answers if SIZES[one.cell.size].is_held_out]
    for task in ("reasoning", "ocr"):
        for form in FORMS:
            law, found = law_of(answers, task, form), None
            tried = [o for o in held if task in o.right and o.cell.compressor == "tokenpacker"]
            if law is not None and tried:
                found = _miss(law, tried, task)
            claim = f"{task}: the {form} law predicts the held-out size within 2 %"
            yield judge(claim, found, -WITHIN, WITHIN)


def _miss(law: Law, tried: list[Answers], task: str) -> Difference:
    """Mean relative error over counts, on the questions that the law's points were asked, too.

    So only these points are drawn anew for its interval.
    """
    errors: dict[int, list[float]] = {}
    for one in tried:
        errors.setdefault(one.cell.tokens, []).append(one.error(task))
    measured = np.array([fmean(runs) for runs in errors.values()])
    counts, pictures = np.array(list(errors), dtype=float), np.ones(len(errors))
    size = np.full(len(errors), tried[0].parameters / 1e9)
    theta = np.concatenate([law.theta[None], law.bootstrap()])
    value, *drawn = (law.errors(theta, size, counts, pictures) / measured - 1).mean(1)
    return Difference(float(value), *(float(end) for end in np.percentile(drawn, TAILS)))


def _fixed_compute(known: Known) -> Iterator[Verdict]:
    """Error of the larger LLM with fewer tokens, less that of the smaller with more, at equal FLOPs."""
    pairs = _same_cost(known)
    few = {
        "fewer tokens": COUNTS,
        "one token": COUNTS[:1],
        "4 tokens or more, but fewer,": COUNTS[1:],
    }
    for told, counts in few.items():
        some = [(large, small) for large, small in pairs if large.tokens in counts]
        claim = f"reasoning: at equal FLOPs the larger LLM with {told} errs less"
        yield judge(claim, _gap(known, "reasoning", some), most=0.0)
    claim = "ocr: at equal FLOPs the smaller LLM with more tokens errs less"
    yield judge(claim, _gap(known, "ocr", pairs), least=0.0)


def _same_cost(known: Known) -> list[tuple[Cell, Cell]]:
    """(larger with fewer, smaller with more) of one seed, at FLOPs `2 N (Q + V)` that are alike."""
    mine = [cell for cell in known if cell.compressor == "tokenpacker" and cell.frames is None]
    cost = {cell: known[cell].parameters * (QUERY_TOKENS + cell.tokens) for cell in mine}
    pairs = []
    for pair in combinations(mine, 2):
        small, large = sorted(pair, key=lambda cell: known[cell].parameters)
        trades = small.seed == large.seed and small.tokens > large.tokens
        if trades and max(cost[small], cost[large]) <= (1 + ALIKE) * min(cost[small], cost[large]):
            pairs.append((large, small))
    return pairs


def _gap(known: Known, task: str, pairs: list[tuple[Cell, Cell]]) -> Difference | None:
    """Mean over pairs of cells of the first's error less the second's; None where there is none."""
    runs = [
        [b - a for a, b in zip(known[one].right[task], known[other].right[task], strict=True)]
        for one, other in pairs
        if one in known and other in known
    ]
    return mean_over_runs(runs) if runs else None


def _one_token(answers: list[Answers]) -> Iterator[Verdict]:
    """Counts that are best by the law of reasoning, at the FLOPs of the largest LLM and one token."""
    claim = "reasoning: one token is best where the question is cached"
    yield judge(claim, _best_count(answers, 0), most=1.5)
    product, asked = law_of(answers, "reasoning", "product"), _best_count(answers, QUERY_TOKENS)
    ratio = None
    if product is not None and asked is not None and product.alpha > product.beta:
        formula = max(1.0, product.beta * QUERY_TOKENS / (product.alpha - product.beta))
        ratio = Difference(*(value / formula for value in vars(asked).values()))
    claim = (
        "reasoning: where it is not, beta Q / (alpha - beta) tokens are best, within a factor of 2"
    )
    yield judge(claim, ratio, least=0.5, most=2.0)


def _best_count(answers: list[Answers], text_tokens: int) -> Difference | None:
    """By the form that fits best: the product's best count is an end of the range wherever Q is 0."""
    law = best_law(answers, "reasoning")
    if law is None:
        return None
    budget = 2e9 * max(law.points.params_b) * (text_tokens + 1)
    best = optimum(law, budget, text_tokens, tokens=(1.0, float(PATCHES)))
    return Difference(best.best.visual_tokens, best.visual_tokens.low, best.visual_tokens.high)


def _query(known: Known) -> Iterator[Verdict]:
    """Error of QueCC less that of TokenPacker, over sizes and seeds."""
    for tokens in (1, 4, 16):
        asked = [cell for cell in known if cell.compressor == "quecc" and cell.tokens == tokens]
        pairs = [(cell, replace(cell, compressor="tokenpacker")) for cell in asked]
        claim = f"reasoning: the question helps the compressor at {tokens} tokens"
        yield judge(claim, _gap(known, "reasoning", pairs), most=0.0)


def _frames(known: Known) -> Iterator[Verdict]:
    """Error of more frames with fewer tokens each, less that of fewer with more, at equal tokens."""
    clips = [cell for cell in known if cell.frames is not None]
    pairs = []
    for pair in combinations(clips, 2):
        few, many = sorted(pair, key=lambda cell: cell.frames or 0)
        alike = (few.size, few.seed) == (many.size, many.seed)
        tokens = [(cell.frames or 0) * cell.tokens for cell in (few, many)]
        if alike and few.frames != many.frames and tokens[0] == tokens[1]:
            pairs.append((many, few))
    claim = "video: at equal tokens more frames err less than more tokens a frame"
    yield judge(claim, _gap(known, "video", pairs), most=0.0)


def _training(known: Known) -> Iterator[Verdict]:
    """Error of a model trained at a count less that of a method without training, the best on val."""
    for task in ("reasoning", "ocr"):
        for tokens in COUNTS[:-1]:
            trained = [
                cell for cell in known if cell.compressor == "tokenpacker" and cell.tokens == tokens
            ]  # fmt: skip
            found = None
            if (best := _best_free(known, task, tokens)) is not None:
                pairs = [(cell, replace(cell, compressor=best)) for cell in trained]
                found = _gap(known, task, pairs)
            claim = f"{task}: a model trained for {tokens} tokens errs less than {best or 'one'} without"
            yield judge(claim, found, most=0.0)


def _best_free(known: Known, task: str, tokens: int) -> str | None:
    """The method without training that is right most often on the validation split."""
    right = {
        name: [
            fmean(one.val[task])
            for cell, one in known.items()
            if (cell.compressor, cell.tokens) == (name, tokens) and task in one.val
        ]
        for name in TRAINING_FREE
    }
    tried = {name: fmean(shares) for name, shares in right.items() if shares}
    return max(tried, key=tried.__getitem__, default=None)
