"""What a token costs behind a reduced prompt: hooks, masks and caches, against the stock model.

    python benchmarks/decode.py                      # 28 layers at 0.5B's width, about 15 minutes
    python benchmarks/decode.py --smoke              # tiny, few rounds: does it run at all?

A pair is two ways to say the next token after caches of the same rows: the stock model, and the model
inside a `reduce()`. The stock cache of a pruned prompt has layers of the same lengths and is given no
attention mask, which costs it nothing; in a batch it has in every layer the mean of the lengths, and a
mask of its padding. The model inside a `reduce()` is given what `generate` gives it: the mask of all
tokens.

The two take turns, a few tokens each, so that a drift of the machine hits both. A round's ratio is of the
medians of its tokens; told are the median over rounds and a 95 % interval of it (bootstrap over rounds),
by the clock and by the processor's time, which other processes on the machine hardly touch. The summary
goes to results/decode.json.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from first_token import has_bf16
from shapes import SIZES, THIN, build, onevision, prompt
from torch import Tensor
from transformers import DynamicCache

import foveate
from foveate.cost.vision.encoder import Media
from foveate.records.conditions import conditions
from foveate.runtime.seams import cache_in, on_cache

ROOT = Path(__file__).parent.parent
REDUCTIONS = {
    "off": foveate.Reduction(),
    "merged": foveate.Reduction(before=foveate.AIMMerge(0.25)),
    "aim": foveate.AIM(keep=0.25, prune=(0.5, 0.786)),
}
CLOCKS = {"clock": time.perf_counter, "processor": time.process_time}
KEPT = ("keys", "values")
PADDING = 40  # tokens, of the second sample of a batch


@dataclass
class Going:
    """One way to say the next tokens.

    Attributes:
        model: the model.
        cache: filled, of its own.
        mask: attention mask of all tokens so far; None for none.
        length: tokens of the sequence so far, by which positions go on.
        reduction: whose reduce() is open; None for the stock model.
    """

    model: Any
    cache: Any
    mask: Tensor | None
    length: int
    reduction: foveate.Reduction | None

    def tokens(self, count: int) -> dict[str, float]:
        """Say so many tokens, and one before that is not timed; the median of each clock."""
        inside = (
            nullcontext() if self.reduction is None else foveate.reduce(self.model, self.reduction)
        )
        taken: list[dict[str, float]] = []
        with torch.no_grad(), inside:
            for _ in range(count + 1):
                step = self._prepared()
                began = {name: clock() for name, clock in CLOCKS.items()}
                self.model(**step)
                taken.append({name: clock() - began[name] for name, clock in CLOCKS.items()})
        return {name: statistics.median(one[name] for one in taken[1:]) for name in CLOCKS}

    def _prepared(self) -> dict[str, Any]:
        batch = self.cache.layers[0].keys.shape[0]
        if self.mask is not None:
            self.mask = torch.cat([self.mask, self.mask.new_ones(batch, 1)], dim=1)
        step = {"input_ids": torch.ones(batch, 1).long(), "attention_mask": self.mask}
        if self.reduction is None:  # whose cache may be shorter than the positions say
            step["position_ids"] = torch.full((batch, 1), self.length)
        self.length += 1
        return {**step, **on_cache(self.model, self.cache), "logits_to_keep": 1}


def clip(model: Any, frames: int, *, padded: bool) -> dict[str, Tensor]:
    """A clip of noise between text tokens; padded: twice, the second with less text before it."""
    alone = prompt(model, Media(frames=frames, height=384, width=384))
    if not padded:
        return alone
    inputs = {name: torch.cat([value, value]) for name, value in alone.items()}
    inputs["input_ids"][1, :PADDING] = 0
    inputs["attention_mask"][1, :PADDING] = 0
    return inputs


def prefilled(model: Any, inputs: dict[str, Tensor], reduction: Any) -> Going:
    """Behind the prompt, inside a reduce() or, with None, in the stock model."""
    inside = nullcontext() if reduction is None else foveate.reduce(model, reduction)
    with torch.no_grad(), inside:
        cache = cache_in(model(**inputs, use_cache=True, logits_to_keep=1))
    length = inputs["input_ids"].shape[1]
    return Going(model, cache, inputs["attention_mask"], length, reduction)


def stock_of(going: Going, *, padded: bool) -> Going:
    """The stock model behind a cache of the same rows; padded: of as many in the mean of the layers."""
    layers = going.cache.layers
    counts = [layer.keys.shape[2] for layer in layers]
    mean = round(statistics.mean(counts))
    cache = DynamicCache()
    for number, layer in enumerate(layers):
        parts = [layer.keys, layer.values]
        if padded:  # the longest layers have all of the padding, and enough rows
            parts = [
                _rows(part, layers[0], name, mean) for part, name in zip(parts, KEPT, strict=True)
            ]
        keys, values = (part.clone() for part in parts)
        cache.update(keys, values, number)
    mask = None
    if padded:
        mask = torch.ones(len(layers[0].keys), mean).long()
        mask[1, :PADDING] = 0
    return Going(going.model, cache, mask, mean if padded else going.length, None)


def _rows(part: Tensor, longest: Any, name: str, count: int) -> Tensor:
    """So many rows: the layer's own last ones, or those of the longest layer."""
    return (part if part.shape[2] >= count else getattr(longest, name))[:, :, -count:]


def pairs(model: Any, frames: int) -> Iterator[tuple[str, bool, Going, Going]]:
    """Name, whether it is a padded batch, the stock model, and the model inside a reduce()."""
    for padded in (False, True):
        inputs = clip(model, frames, padded=padded)
        for name, reduction in REDUCTIONS.items():
            going = prefilled(model, inputs, reduction)
            if reduction.is_off:
                yield name, padded, prefilled(model, inputs, None), going
            else:
                yield name, padded, stock_of(going, padded=padded), going


def measured(stock: Going, going: Going, rounds: int, tokens: int) -> dict[str, Any]:
    """The two in turns, and who is first takes turns, too."""
    rows = [layer.keys.shape[2] for layer in going.cache.layers]
    taken: list[tuple[dict[str, float], dict[str, float]]] = []
    for number in range(rounds + 1):
        if number % 2:
            inside, outside = going.tokens(tokens), stock.tokens(tokens)
        else:
            outside, inside = stock.tokens(tokens), going.tokens(tokens)
        taken.append((outside, inside))
    row: dict[str, Any] = {"rows_by_layer": rows, "rounds": rounds, "tokens": tokens}
    for name in CLOCKS:
        ratios = [inside[name] / outside[name] for outside, inside in taken[1:]]
        low, high = interval(ratios)
        row[name] = {
            "stock_ms": 1000 * statistics.median(outside[name] for outside, _ in taken[1:]),
            "ratio": statistics.median(ratios),
            "low": low,
            "high": high,
        }
    return row


def interval(ratios: Sequence[float], draws: int = 2000) -> tuple[float, float]:
    """95 % interval of the median."""
    rng = np.random.default_rng(0)
    drawn = np.median(rng.choice(np.asarray(ratios), (draws, len(ratios))), axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def main() -> None:
    """Parse, measure, write the record."""
    parser = argparse.ArgumentParser(description="What a token costs behind a reduced prompt.")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--rounds", type=int, default=40, help="counted, after one warm-up")
    parser.add_argument("--tokens", type=int, default=4, help="timed in each turn")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="a tiny shape, few rounds")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.frames, arguments.rounds = 4, 3
    torch.set_num_threads(arguments.threads)
    size, dtype = ("smoke", torch.float32) if arguments.smoke else ("0.5b", torch.float32)
    if not arguments.smoke and has_bf16("cpu"):
        dtype = torch.bfloat16
    SIZES["cut"] = SIZES[size] | {"num_hidden_layers": arguments.layers}
    model, rows = build(onevision("cut", THIN), "cpu", dtype), []
    for name, padded, stock, going in pairs(model, arguments.frames):
        row = {"reduction": name, "padded": padded}
        row |= measured(stock, going, arguments.rounds, arguments.tokens)
        rows.append(row)
        told = (f"{of} {row[of]['ratio']:.3f}x" for of in CLOCKS)
        sys.stderr.write(f"{name}{', padded' if padded else ''}: {', '.join(told)}\n")
    out = arguments.out or ROOT / "results" / (
        "decode_smoke.json" if arguments.smoke else "decode.json"
    )
    here = conditions(gpu=None, threads=arguments.threads, dtype=str(dtype).removeprefix("torch."))
    shape = {"size": size, "layers": arguments.layers, "frames": arguments.frames}
    out.write_text(json.dumps({"conditions": here, "shape": shape, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
