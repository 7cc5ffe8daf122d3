"""Time prefills of plain decoder layers with random weights, to calibrate a machine."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from foveate.cost.calibration import Calibration, fit_calibration
from foveate.cost.llm import prefill_cost
from foveate.cost.operation import Cost
from foveate.cost.shapes import LLM
from foveate.records.conditions import conditions


@dataclass(frozen=True)
class Shape:
    """One decoder and one prompt length."""

    width: int
    inner: int
    heads: int
    kv_heads: int
    rows: int
    layers: int = 2

    @property
    def llm(self) -> LLM:
        """The decoder's sizes, with the smallest output layer."""
        none = (None,) * self.layers
        return LLM(
            self.layers, self.width, self.heads, self.kv_heads, self.width // self.heads, self.inner,
            matrices=3, vocab=1, experts=none, windows=none, qkv_bias=False,
        )  # fmt: skip

    @property
    def cost(self) -> Cost:
        """The cost of its prefill."""
        return prefill_cost(self.llm, [self.rows] * self.layers, 0)


# sizes of Qwen2-0.5B, SmolLM-360M, a 1.5B and a small model; lengths from one picture to some frames
FITTED = tuple(
    Shape(*sizes, rows)
    for sizes in ((896, 4864, 14, 2), (576, 1536, 9, 3), (1536, 8960, 12, 2))
    for rows in (64, 256, 768, 1536)
)
HELD_OUT = tuple(
    Shape(*sizes, rows)
    for sizes in ((1024, 2816, 16, 8), (768, 2048, 12, 12))
    for rows in (100, 400, 1100)
)


def calibrate(
    shapes: tuple[Shape, ...] = FITTED,
    held_out: tuple[Shape, ...] = HELD_OUT,
    *,
    repeats: int = 5,
    device: str | None = None,
    progress: Callable[[Shape, float], None] | None = None,
) -> Calibration:
    """Measure this machine: time prefills, fit the rates, test them on shapes that were held out.

    Args:
        shapes: to fit to.
        held_out: to test on.
        repeats: runs of a shape; their median counts.
        device: of torch; default an accelerator if there is one.
        progress: called with each shape and its milliseconds.
    """
    import torch

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    times = {}
    for shape in (*shapes, *held_out):
        times[shape] = prefill_ms(shape, repeats, device)
        if progress:
            progress(shape, times[shape])
    name = torch.cuda.get_device_name() if device == "cuda" else "this cpu"
    return fit_calibration(
        [(shape.cost, times[shape]) for shape in shapes],
        [(shape.cost, times[shape]) for shape in held_out],
        name=name,
        conditions=conditions(device=device, threads=torch.get_num_threads(), repeats=repeats),
    )


def prefill_ms(shape: Shape, repeats: int, device: str) -> float:
    """Median milliseconds of a prefill after a warm-up."""
    import torch

    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    made = {"device": device, "dtype": dtype}
    weights = [_weights(shape, made) for _ in range(shape.layers)]
    states = torch.randn(1, shape.rows, shape.width, **made)
    runs = []
    with torch.no_grad():
        for _ in range(repeats + 1):
            began = time.perf_counter()
            out = states
            for layer in weights:
                out = _layer(out, layer, shape)
            if device != "cpu":
                torch.cuda.synchronize()
            runs.append(1000 * (time.perf_counter() - began))
    return statistics.median(runs[1:])


def _weights(shape: Shape, made: dict[str, Any]) -> dict[str, Any]:
    import torch

    llm = shape.llm
    sizes = {
        "q": (llm.attention_width, llm.width), "k": (llm.kv_width, llm.width),
        "v": (llm.kv_width, llm.width), "o": (llm.width, llm.attention_width),
        "gate": (llm.inner, llm.width), "up": (llm.inner, llm.width), "down": (llm.width, llm.inner),
    }  # fmt: skip
    return {name: torch.randn(size, **made) * size[1] ** -0.5 for name, size in sizes.items()}


def _layer(states: Any, weights: dict[str, Any], shape: Shape) -> Any:
    """One pre-norm decoder layer: causal attention with rotated queries and keys, a gated MLP."""
    from torch.nn import functional as F

    def heads(name: str, count: int) -> Any:
        return F.linear(normal, weights[name]).view(1, shape.rows, count, -1).transpose(1, 2)

    normal = F.rms_norm(states, (shape.width,))
    query, key = _rotated(heads("q", shape.heads)), _rotated(heads("k", shape.kv_heads))
    value = heads("v", shape.kv_heads)
    mixed = F.scaled_dot_product_attention(
        query, key, value, is_causal=True, enable_gqa=shape.kv_heads != shape.heads
    )
    mixed = mixed.transpose(1, 2).reshape(1, shape.rows, -1)
    states = states + F.linear(mixed, weights["o"])
    normal = F.rms_norm(states, (shape.width,))
    gated = F.silu(F.linear(normal, weights["gate"])) * F.linear(normal, weights["up"])
    return states + F.linear(gated, weights["down"])


def _rotated(heads: Any) -> Any:
    """Rotate heads as rotary positions do; only the cost matters here, not the angles."""
    import torch

    left, right = heads.chunk(2, dim=-1)
    return heads * 0.8 + torch.cat((-right, left), dim=-1) * 0.6
