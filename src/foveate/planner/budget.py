"""Budgets: what an answer may cost, in FLOPs or a share of them, bytes, milliseconds or visual tokens."""

import re
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from foveate.cost.hardware import Machine
from foveate.cost.request import RequestCost
from foveate.errors import InputError

Kind = Literal["share", "flops", "kv_bytes", "ms", "tokens"]
UNITS: dict[str, tuple[Kind, float]] = {
    "%": ("share", 0.01),
    **{f"{prefix}flop": ("flops", size) for prefix, size in
       (("", 1.0), ("m", 1e6), ("g", 1e9), ("t", 1e12), ("p", 1e15))},
    **{f"{prefix}b": ("kv_bytes", size) for prefix, size in
       (("", 1.0), ("k", 1e3), ("m", 1e6), ("g", 1e9), ("ki", 2**10), ("mi", 2**20), ("gi", 2**30))},
    "ms": ("ms", 1.0),
    "s": ("ms", 1000.0),
    "token": ("tokens", 1.0),
}  # fmt: skip
ALLOWED = (
    "a share (0.25, 25%), FLOPs (15 TFLOP), either of the whole request (40% with encoder), a KV cache "
    "(120 MB, 100 MiB), a time (60 ms, 1.5 s) or visual tokens a layer (36 tokens)"
)
WITH_ENCODER = "with encoder"
WRITTEN = re.compile(rf"\s*([0-9.]+(?:e[+-]?\d+)?)\s*([a-z%]*?)\s*({WITH_ENCODER})?\s*")


@dataclass(frozen=True)
class Budget:
    """The most that one answer may cost.

    Attributes:
        kind: "share" of the LLM's unreduced prefill FLOPs, "flops" of its prefill, "kv_bytes" of the
            cache after the answer, "ms" to the first token, encoding included, or visual "tokens" that
            an LLM's layer computes, on average.
        value: in that unit.
        encoder: whether a share or FLOPs are of the whole request: from pixels to the last token, with
            vision tower and projector.
    """

    kind: Kind
    value: float
    encoder: bool = False

    def __post_init__(self) -> None:
        if self.encoder and self.kind not in ("share", "flops"):
            raise InputError(
                f"a share or FLOPs can be {WITH_ENCODER!r}; a time counts the encoder as it is, a KV "
                f"cache or tokens nothing of it; got {self.kind}"
            )
        if not 0 < self.value < float("inf"):
            raise InputError(f"a budget must be above 0, got {self.value}; allowed: {ALLOWED}")
        if self.kind == "share" and self.value > 1:
            raise InputError(f"a share of FLOPs must be in (0, 1], got {self.value}; {ALLOWED}")

    @classmethod
    def of(cls, budget: "Budget | float | int | str") -> "Budget":
        """A number is a share; a string carries its unit.

        Raises:
            InputError: not a budget.
        """
        if isinstance(budget, Budget):
            return budget
        if isinstance(budget, (int, float)) and not isinstance(budget, bool):
            return cls("share", float(budget))
        found = WRITTEN.fullmatch(str(budget).lower())
        number, unit, encoder = found.groups() if found else ("", "", None)
        try:
            value = float(number)
        except ValueError:
            raise InputError(f"a budget is {ALLOWED}, got {budget!r}") from None
        if not unit:
            return cls("share", value, encoder is not None)
        unit = unit.removesuffix("s") if unit.endswith(("flops", "tokens")) else unit
        if unit not in UNITS:
            raise InputError(f"unknown unit in {budget!r}; a budget is {ALLOWED}")
        kind, size = UNITS[unit]
        return cls(kind, value * size, encoder is not None)

    @classmethod
    def of_flops(cls, budget: "Budget | float | int | str", name: str) -> "Budget":
        """A number is FLOPs; a string carries its unit, such as "0.4 TFLOP".

        Args:
            budget: any.
            name: of what is asked, for the message.

        Raises:
            InputError: not of FLOPs.
        """
        found = cls("flops", budget) if isinstance(budget, (int, float)) else cls.of(budget)
        if found.kind != "flops":
            raise InputError(f"{name} is FLOPs, such as 0.4 TFLOP, got {found.text(found.value)}")
        return found

    @property
    def counts_encoder(self) -> bool:
        """Whether what encoding takes is spent of it."""
        return self.encoder or self.kind == "ms"

    def spent(
        self, cost: RequestCost, unreduced: RequestCost, machine: Machine, itemsize: int
    ) -> float:
        """What a request costs, in this budget's unit."""
        flops, whole = cost.prefill_flops, unreduced.prefill_flops
        if self.encoder:
            flops, whole = cost.flops, unreduced.flops
        if self.kind == "share":
            return flops / whole
        if self.kind == "flops":
            return float(flops)
        if self.kind == "kv_bytes":
            return float(cost.kv_bytes(itemsize))
        if self.kind == "tokens":
            return fmean(cost.visual_tokens_by_layer)
        return cost.first_token_ms(machine)

    def text(self, value: float) -> str:
        """A value of this kind with its unit."""
        more = f" {WITH_ENCODER}" if self.encoder else ""
        if self.kind == "share":
            return f"{value:.1%} of the {'' if self.encoder else 'prefill '}FLOPs{more}"
        if self.kind == "flops":
            return f"{value / 1e12:.4g} TFLOP{more}"
        if self.kind == "tokens":
            return f"{value:.4g} visual tokens a layer"
        return f"{value / 1e6:.4g} MB of KV cache" if self.kind == "kv_bytes" else f"{value:.4g} ms"
