"""The summary of `first_token.py`: medians, shares of the stages, ratios, and where nothing is gained."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from statistics import median
from typing import Any

from shapes import SHAPES, TEXT_TOKENS

from foveate.cost.hardware import TABLE
from foveate.cost.request import Request, RequestCost
from foveate.records.conditions import all_conditions
from foveate.reduction import Reduction

BASE, STOCK = "unreduced", "without foveate"
STAGES = ("encode", "compress", "score", "prefill", "decode")  # here prefill is without score
FEWEST = 5  # rounds that make a ratio worth telling
Choices = Mapping[str, Callable[[int], Any] | None]
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Cell:
    """One answer that is to be timed.

    Attributes:
        shape: name in `shapes.SHAPES`.
        layers: that tower and LLM are cut to, None for all.
        frames: of the clip, 0 for a picture.
        round: its number; 0 is the warm-up.
        condition: name of the reduction.
        device: "cpu" or "cuda".
        dtype: "fp32", "bf16" or "fp16".
        attention: implementation.
    """

    shape: str
    layers: int | None
    frames: int
    round: int
    condition: str
    device: str
    dtype: str
    attention: str

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Cell":
        """The cell of a journal's row."""
        return cls(**{part.name: row[part.name] for part in fields(cls)})

    def to_dict(self) -> dict[str, Any]:
        """As a journal keeps it."""
        return asdict(self)


def summarise(done: Rows, choices: Choices) -> dict[str, Any]:
    """Every shape, length and condition, and what it ran on; the warm-up is left out."""
    groups: dict[Cell, Rows] = {}
    for row in done:
        if row["round"] and row["condition"] in choices:
            alike = replace(Cell.of(row), round=0, condition="")
            groups.setdefault(alike, []).append(row)
    rows = [line for group in groups.values() for line in _group(group, choices)]
    return {"conditions": all_conditions(done), "rows": rows}


def _group(group: Rows, choices: Choices) -> Rows:
    """The conditions of one shape and length."""
    by_condition: dict[str, Rows] = {}
    for row in group:
        by_condition.setdefault(row["condition"], []).append(row)
    base = [row for row in by_condition.get(BASE, []) if "fault" not in row]
    if not base:
        return []
    shape, frames, layers = (group[0][name] for name in ("shape", "frames", "layers"))
    named = {name: group[0][name] for name in ("shape", "frames", "device", "dtype", "attention")}
    answer = max(row.get("tokens", 2) for row in group)
    costs = Costs(shape, frames, layers, answer, group[0]["conditions"]["gpu"])
    unreduced = Timed(base, costs.scale(Reduction()), base)
    lines = []
    for condition, rows in by_condition.items():
        line = {**named, "condition": condition, "cut_to": layers}
        faults = [row["fault"] for row in rows if "fault" in row]
        if faults:
            lines.append(line | {"fault": faults[0]})
            continue
        choose = choices[condition]
        reduction = Reduction() if choose is None else choose(costs.layers)
        cut = Reduction() if choose is None else choose(layers or costs.layers)
        line["unscaled"] = costs.unscaled(reduction, cut)
        timed = Timed(rows, costs.scale(reduction, cut), base)
        lines.append(line | timed.line() | _beside(timed, unreduced) | costs.line(reduction))
    return lines


class Costs:
    """What the cost model says of one shape and length, whole and cut."""

    def __init__(
        self, shape: str, frames: int, layers: int | None, answer: int, gpu: str | None
    ) -> None:
        media = SHAPES[shape].media(frames)
        self.whole, self.cut = (
            Request.of(SHAPES[shape].config(count), media, TEXT_TOKENS, answer)
            for count in (None, layers)
        )
        self.layers = self.whole.llm.layers
        name = (gpu or "").lower()
        self.machine = next((TABLE[key] for key in ("h100", "h200", "a100") if key in name), None)

    def scale(self, reduction: Any, cut: Any = None) -> dict[str, float]:
        """For each stage, how much more of it the whole model has than the one that ran."""
        parts = self.whole.cost(reduction).parts
        ran = self.cut.cost(reduction if cut is None else cut).parts
        return {
            name: parts[name].flops / ran[name].flops
            for name in parts
            if name in ran and ran[name].flops
        }

    def unscaled(self, reduction: Any, cut: Any) -> list[str]:
        """The stages that the whole model has and the one that ran has not."""
        whole, ran = (self.whole.cost(reduction).parts, self.cut.cost(cut).parts)
        return [name for name in whole if name not in ran]

    def line(self, reduction: Any) -> dict[str, Any]:
        """Ratios to unreduced that are counted, not timed: up to the first token, and of the LLM."""
        base, cost = self.whole.cost(), self.whole.cost(reduction)
        counted = {
            "analytic": _first_flops(base) / _first_flops(cost),
            "analytic_llm": base.prefill_flops / cost.prefill_flops,
            "kv_share": cost.kv_bytes(after="prefill") / base.kv_bytes(after="prefill"),
        }
        if self.machine is None:
            return counted | {"roofline": None}
        times = [one.first_token_ms(self.machine) for one in (base, cost)]
        return counted | {"roofline": times[0] / times[1]}


def _first_flops(cost: RequestCost) -> int:
    return sum(part.flops for name, part in cost.parts.items() if name != "decode")


class Timed:
    """The rounds of one condition, scaled to the whole model."""

    def __init__(self, rows: Rows, scale: Mapping[str, float], base: Rows) -> None:
        self.rows = sorted(rows, key=lambda row: row["round"])
        self.scale = scale
        self.like = None if "stages" in rows[0] else base  # whose stages stand for its own

    def stages(self, row: Mapping[str, Any]) -> dict[str, float]:
        """Seconds of each stage; prefill without score."""
        spent = dict(row["stages"])
        spent["prefill"] -= spent["score"]
        return {name: spent[name] * self.scale.get(name, 1.0) for name in STAGES}

    def first(self, row: Mapping[str, Any]) -> float:
        """Seconds to the first token: what is in no stage is not scaled."""
        if self.like is not None:
            other = [ran for ran in self.like if ran["round"] == row["round"]] or self.like
            return row["first_token"] * self.first_of(other[0]) / other[0]["first_token"]
        return self.first_of(row)

    def first_of(self, row: Mapping[str, Any]) -> float:
        """The same of a row with stages."""
        spent, raw = self.stages(row), row["stages"]
        known = raw["encode"] + raw["compress"] + raw["prefill"]
        return row["first_token"] - known + sum(spent.values()) - spent["decode"]

    def decode(self, row: Mapping[str, Any]) -> float | None:
        """Seconds of a token behind the first."""
        if row["decode"] is None:
            return None
        return row["decode"] * self.scale.get("decode", 1.0) / (row["tokens"] - 1)

    def line(self) -> dict[str, Any]:
        """Medians."""
        each = [seconds for row in self.rows if (seconds := self.decode(row)) is not None]
        peaks = [row["peak_bytes"] for row in self.rows]
        line = {
            "rounds": len(self.rows),
            "first_token_ms": 1000 * median(map(self.first, self.rows)),
            "answer_tokens": max(row["tokens"] for row in self.rows),
            "decode_rounds": len(each),
            "tokens_per_second": 1 / median(each) if each else None,
            "peak_bytes": None if None in peaks else median(peaks),
        }
        if self.like is not None:
            return line | {"stages_ms": None, "shares": None, "visual_tokens_by_layer": None}
        spent = {name: median(self.stages(row)[name] for row in self.rows) for name in STAGES[:-1]}
        longest = max(row["tokens"] for row in self.rows)
        spent["decode"] = (longest - 1) * median(each) if each else 0.0
        whole = sum(spent.values())
        return line | {
            "stages_ms": {name: 1000 * seconds for name, seconds in spent.items()},
            "shares": {name: seconds / whole for name, seconds in spent.items()},
            "visual_tokens_by_layer": self.rows[0]["tokens_by_layer"],
        }


def _beside(timed: Timed, base: Timed) -> dict[str, Any]:
    """A condition beside the unreduced one: ratios round by round, and from which token on it pays."""
    firsts = {row["round"]: base.first(row) for row in base.rows}
    ratios = [
        firsts[row["round"]] / timed.first(row) for row in timed.rows if row["round"] in firsts
    ]
    low, high = min(ratios), max(ratios)
    pays = "yes" if low > 1 else "no" if high <= 1 else "cannot be told"
    line, other = timed.line(), base.line()
    rate, base_rate = line["tokens_per_second"], other["tokens_per_second"]
    return {
        "measured": median(ratios),
        "lowest": low,
        "highest": high,
        "pays": pays if len(ratios) >= FEWEST else "too few rounds",
        "decode_measured": rate / base_rate if rate and base_rate else None,
        "pays_from_token": _break_even(line, other),
    }


def _break_even(line: Mapping[str, Any], base: Mapping[str, Any]) -> int | None:
    """The first token of an answer that comes no later than unreduced; None if none does."""
    late = line["first_token_ms"] - base["first_token_ms"]
    if late <= 0:
        return 1
    rates = line["tokens_per_second"], base["tokens_per_second"]
    if None in rates or rates[0] <= rates[1]:
        return None
    sooner = 1000 / rates[1] - 1000 / rates[0]  # each token, in ms
    return 1 + math.ceil(late / sooner - 1e-9)


COLUMNS = (
    "shape", "run", "frames", "condition", "first ms", "ratio", "lowest", "analytic", "roofline", "tok/s",
    "encode", "compress", "score", "prefill", "decode", "peak GB", "pays", "from token",
)  # fmt: skip


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """The summary as text; stages as shares of a whole answer."""
    lines = [COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    shape = row["shape"] + (f" from {row['cut_to']} layers" if row["cut_to"] else "")
    ran = f"{row['device']} {row['dtype']} {row['attention']}"
    named = shape, ran, str(row["frames"]), row["condition"]
    if "fault" in row:
        return (*named, row["fault"][:40], *[""] * (len(COLUMNS) - 5))
    shares, peak = row["shares"], row["peak_bytes"]
    return (
        *named,
        f"{row['first_token_ms']:.1f}",
        *(_number(row[name]) for name in ("measured", "lowest", "analytic", "roofline")),
        _number(row["tokens_per_second"], ".1f"),
        *("-" if shares is None else f"{shares[name]:.1%}" for name in STAGES),
        "-" if peak is None else f"{peak / 1e9:.2f}",
        row["pays"],
        str(row["pays_from_token"] or "never"),
    )


def _number(value: float | None, form: str = ".2f") -> str:
    return "-" if value is None else format(value, form)
