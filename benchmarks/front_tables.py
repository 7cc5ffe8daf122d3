"""The two tables of README.md: what a request costs from end to end, and what works on which family."""

import json
from typing import Any

from tables import ROOT, condition, markdown, where

from foveate.models.support import IN_ENCODER, NO, YES, support
from foveate.runtime.seams import TESTED

GPU, DECODING, CPU = "first_token_cuda", "decode_cuda", "first_token"
SHOWN = {  # every shape of the records once, at its longest clip
    GPU: (("onevision-7b", 32), ("qwen2.5-vl-7b", 32), ("onevision-0.5b", 32)),
    CPU: (("onevision-0.5b", 8),),
}


def end_to_end() -> str:
    """Pixels to the first token, and tokens a second; of a CPU ratios alone, for its times differ."""
    records = {name: _read(name) for name in (GPU, DECODING, CPU)}
    said = {_key(row): row["tokens_per_second"] for row in records[DECODING]["rows"]}
    rows = [
        _line(row, said.get(_key(row)) if name == GPU else None, on_gpu=name == GPU)
        for name, shown in SHOWN.items()
        for row in records[name]["rows"]
        if (row["shape"], row["frames"]) in shown
    ]
    header = ["model", "frames", "on", "condition", "first token", "times as fast"]
    header += ["tokens a second", "KV cache"]
    return f"{markdown(header, rows)}\n\n{where(records[GPU])} {where(records[CPU])}"


def in_short() -> str:
    """Families that take the same media and methods, a row for each kind."""
    kinds: dict[tuple[str, ...], list[str]] = {}
    for row in support(TESTED["transformers"]):
        shortened = YES if IN_ENCODER in row.merge_at else NO
        watched = NO if row.encoder_signals == "none" else YES
        kinds.setdefault((row.image, row.clip, shortened, watched), []).append(row.family)
    header = ["families", "pictures", "clips", "methods in the encoder", "methods that watch it"]
    ranked = sorted(kinds.items(), key=lambda kind: kind[0], reverse=True)
    return markdown(header, [[", ".join(names), *kind] for kind, names in ranked])


def _read(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "results" / f"{name}.json").read_text())


def _key(row: dict[str, Any]) -> tuple[str, int, str]:
    return row["shape"], row["frames"], row["condition"]


def _line(row: dict[str, Any], tokens_per_second: float | None, *, on_gpu: bool) -> list[str]:
    return [
        row["shape"],
        str(row["frames"]),
        "GPU" if on_gpu else "CPU",
        condition(row),
        f"{row['first_token_ms']:.0f} ms" if on_gpu else "-",
        f"**{row['measured']:.2f}x** ({row['lowest']:.2f}-{row['highest']:.2f})",
        "-" if tokens_per_second is None else f"{tokens_per_second:.1f}",
        f"{row['kv_share']:.0%}",
    ]
