"""The law of service: what a step of an engine takes, fitted to measured runs.

A step encodes pictures, prefills tokens and decodes one token of each running request. On a GPU a short
prefill takes what its host needs to launch it, a longer one what it computes.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from scipy.optimize import nnls

ROOT = Path(__file__).parent.parent
SHAPE = "onevision-7b"


@dataclass(frozen=True)
class Law:
    """Milliseconds of a step.

    Attributes:
        other_ms: of each request, beside the engine: templates, tokens, pixels, sampling.
        encode_ms: of each view of a picture.
        launch_ms: that a step with a prefill takes at least.
        token_ms: of each token that is prefilled or decoded.
        decode_ms: that a step without a prefill takes at least.
        source: what it was fitted to.
    """

    other_ms: float
    encode_ms: float
    launch_ms: float
    token_ms: float
    decode_ms: float
    source: str

    def step_ms(self, views: float, prefilled: float, decoded: int) -> float:
        """A step that encodes views, prefills tokens, and decodes for so many requests."""
        least = self.launch_ms if prefilled else self.decode_ms
        return self.encode_ms * views + max(least, self.token_ms * (prefilled + decoded))

    def alone_ms(self, views: float, tokens: float) -> float:
        """To the first token of a request on an idle engine."""
        return self.other_ms + self.step_ms(views, tokens, 0)

    def to_dict(self) -> dict[str, Any]:
        """As it stands in a record."""
        return asdict(self)


def law_of_first_tokens(
    prefills: Path = ROOT / "results" / "first_token_cuda.json",
    decoding: Path = ROOT / "results" / "decode_cuda.json",
    shape: str = SHAPE,
) -> Law:
    """From `benchmarks/first_token.py`'s stages on a GPU; a frame of a clip is a view.

    Decoding was measured with the 0.5B model alone; at one token a step it is the host that takes time,
    and the 7B model has four layers more.
    """
    record = json.loads(prefills.read_text())
    rows = [row for row in record["rows"] if row["shape"] == shape and row["stages_ms"]]
    rows = [row for row in rows if "encoder" not in row["condition"]]
    stages = [row["stages_ms"] for row in rows]
    rest = [row["first_token_ms"] - sum(row["stages_ms"].values()) for row in rows]
    launch, token = fit_prefill(
        [float(np.mean(row["visual_tokens_by_layer"])) for row in rows],
        [stage["prefill"] for stage in stages],
    )
    spoken = [row["tokens_per_second"] for row in json.loads(decoding.read_text())["rows"]
              if row["condition"] == "unreduced"]  # fmt: skip
    return Law(
        other_ms=median(rest),
        encode_ms=median(s["encode"] / row["frames"] for s, row in zip(stages, rows, strict=True)),
        launch_ms=launch,
        token_ms=token,
        decode_ms=1000 / median(spoken),
        source=f"{prefills.name} and {decoding.name}, {shape}, {record['conditions'][0]['gpu']}",
    )


def fit_prefill(tokens: list[float], ms: list[float]) -> tuple[float, float]:
    """What launching takes and what a token takes, where a prefill takes the longer of the two."""
    order = np.argsort(tokens)
    lengths, times = np.array(tokens)[order], np.array(ms)[order]
    best = (np.inf, 0.0, 0.0)
    for split in range(len(lengths)):
        launch = float(np.median(times[:split])) if split else 0.0
        token = float(np.median(times[split:] / lengths[split:]))
        wrong = float(np.abs(np.maximum(launch, token * lengths) / times - 1).sum())
        best = min(best, (wrong, launch, token))
    return best[1], best[2]


def law_of_load(rows: list[dict[str, Any]], decode_ms: float = 0.0) -> Law:
    """From a load test's requests, those that were alone: `benchmarks/serving_load.py` writes them.

    Args:
        rows: with "pictures", "tokens" (that the LLM prefills) and "first_token_ms".
        decode_ms: of a step that prefills nothing.
    """
    times = np.array([row["first_token_ms"] for row in rows])
    design = np.array([[1, row["pictures"], row["tokens"]] for row in rows], float)
    design /= times[:, None]
    scale = design.max(0)
    rates, _ = nnls(design / scale, np.ones(len(times)))
    other, encode, token = rates / scale
    return Law(float(other), float(encode), 0.0, float(token), decode_ms, f"{len(rows)} requests")
