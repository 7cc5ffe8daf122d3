"""Pixels to first token of a clip with a still background, at LLaVA-OneVision-0.5B's shape.

    python benchmarks/still_clip.py                      # 8 frames, both stacks cut to 4 layers
    python benchmarks/still_clip.py --device cuda --layers 26 --frames 8 32

A square of noise moves over a constant background, a step a frame; the weights are random. Timed is what
`benchmarks/first_token.py` times, with the same clock: from the call of `generate`, the pixels on the
device already, to its first token. Conditions take turns within a round, after a warm-up; ratios are
within a round. The vision tower and the LLM are cut to so many layers, for a CPU; the record says so, and
has beside each measured ratio what the cost model counts for that shape and for the whole one. A whole
model's tower is 26 of its 50 layers, as here half are, so the ratio measured is about that of the whole.

The summary goes to results/still_clip.json (still_clip_cuda.json on a GPU), a table to standard output.
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

import torch
from first_token import AIM, DTYPES, has_bf16, once
from shapes import SHAPES, TEXT_TOKENS, build, prompt

import foveate
from foveate.cost.request import Request
from foveate.cost.vision.encoder import Media
from foveate.models.clips import clips_of
from foveate.records.conditions import conditions

ROOT = Path(__file__).parent.parent
CONDITIONS: dict[str, foveate.Reduction] = {
    "unreduced": foveate.Reduction(),
    "aim": AIM,
    "reuse": foveate.Reduction(encode=foveate.Reuse()),
    "aim, reuse": AIM.encoded_by(foveate.Reuse()),
}


def moving_square(pixels: torch.Tensor, side: int, step: int) -> torch.Tensor:
    """A clip of the same shape (1, F, C, h, w): a square of noise on a constant background."""
    clip = torch.full_like(pixels, 0.5)
    for frame in range(clip.shape[1]):
        place = 40 + frame * step
        clip[:, frame, :, 150 : 150 + side, place : place + side] = pixels[0, 0, :, :side, :side]
    return clip


def changed_share(model: Any, pixels: torch.Tensor) -> float:
    """Of each frame but the first, the share of patches that must be encoded."""
    flat = pixels.flatten(0, 1)
    (clip,) = clips_of(model.model, "video", {"pixel_values_videos": pixels}, flat)
    source = foveate.Reuse().sources(clip.patches, clip.grid)
    own = torch.arange(len(source), device=source.device)[:, None]
    return (source == own)[1:].float().mean().item()


def counted(shape: str, media: Media, layers: int | None, reduction: foveate.Reduction) -> float:
    """How many times fewer FLOPs up to the first token the cost model counts than unreduced."""
    config = SHAPES[shape].config(layers)
    request = Request.of(config, media, TEXT_TOKENS)
    return request.cost().flops / request.cost(reduction).flops


def rows_of(arguments: argparse.Namespace, frames: int) -> list[dict[str, Any]]:
    """Measure all conditions on one length of clip."""
    shape = arguments.shape
    config = SHAPES[shape].config(arguments.layers)
    model = build(config, arguments.device, DTYPES[arguments.dtype])
    media = SHAPES[shape].media(frames)
    inputs = prompt(model, media)
    inputs["pixel_values_videos"] = moving_square(inputs["pixel_values_videos"], 84, 20)
    changed = changed_share(model, inputs["pixel_values_videos"])
    media = Media(frames=frames, height=media.height, width=media.width, changed=changed)
    times: dict[str, list[float]] = {name: [] for name in CONDITIONS}
    stages: dict[str, dict[str, float]] = {}
    for number in range(arguments.rounds + 1):
        for name, reduction in CONDITIONS.items():
            row = once(model, inputs, reduction, 1)
            if number:  # the first is the warm-up
                times[name].append(row["first_token"])
            stages[name] = row["stages"]
            sys.stderr.write(
                f"round {number}, {frames} frames, {name}: {row['first_token']:.2f} s\n"
            )
    ratios = {
        name: [base / own for base, own in zip(times["unreduced"], mine, strict=True)]
        for name, mine in times.items()
    }
    return [
        {
            "shape": shape,
            "layers": arguments.layers,
            "frames": frames,
            "condition": name,
            "rounds": arguments.rounds,
            "changed": changed,
            "first_token_ms": 1000 * median(times[name]),
            "stages_of_last_ms": {stage: 1000 * value for stage, value in stages[name].items()},
            "measured": median(ratios[name]),
            "lowest": min(ratios[name]),
            "highest": max(ratios[name]),
            "counted": counted(shape, media, arguments.layers, CONDITIONS[name]),
            "counted_whole": counted(shape, media, None, CONDITIONS[name]),
        }
        for name in CONDITIONS
    ]


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="onevision-0.5b")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=DTYPES, help="bf16 where the machine has it, else fp32")
    parser.add_argument("--frames", type=int, nargs="+", default=[8])
    parser.add_argument("--layers", type=int, default=4, help="of the tower, and of the LLM")
    parser.add_argument("--rounds", type=int, default=5, help="counted, after one warm-up")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    arguments.dtype = arguments.dtype or ("bf16" if has_bf16(arguments.device) else "fp32")
    name = "still_clip" + ("_cuda" if arguments.device == "cuda" else "")
    arguments.out = arguments.out or ROOT / "results" / f"{name}.json"
    return arguments


def main() -> None:
    """Measure and write."""
    arguments = parsed()
    torch.set_num_threads(arguments.threads)
    gpu = torch.cuda.get_device_name() if arguments.device == "cuda" else None
    rows = [row for frames in arguments.frames for row in rows_of(arguments, frames)]
    here = conditions(gpu=gpu, threads=arguments.threads)
    record = {"conditions": here, "dtype": arguments.dtype, "rows": rows}
    arguments.out.write_text(json.dumps(record, indent=1) + "\n")
    for row in rows:
        sys.stdout.write(
            f"{row['frames']} frames, {row['condition']}: {row['first_token_ms']:,.0f} ms, "
            f"{row['measured']:.2f}x ({row['lowest']:.2f}-{row['highest']:.2f}), counted "
            f"{row['counted']:.2f}x, of the whole model {row['counted_whole']:.2f}x\n"
        )


if __name__ == "__main__":
    main()
