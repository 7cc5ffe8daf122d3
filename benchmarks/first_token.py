"""Pixels to first token, and tokens a second after it, at real shapes with random weights.

    python benchmarks/first_token.py                     # 0.5B whole, 7B cut to 6 layers and scaled
    python benchmarks/first_token.py --device cuda       # all whole, in bf16
    python benchmarks/first_token.py --smoke             # tiny shapes, one round: does it run at all?

What is timed is `generate` on pixels that are on the device already: from its call to its first token,
with the vision tower at its real size (SigLIP so400m, Qwen2.5-VL's own), then the tokens behind it. The
stages are those of reports. The conditions take turns, after a warm-up round, so that a drift of the
machine hits all of them. "without foveate" is the model with no reduce() open: by what it is faster than
"unreduced" is what the hooks cost. A model cut to few layers (`--layers`) is scaled up by the cost model,
stage by stage, and its record says so.

Raw times are appended to a journal: run the same command again after a kill and it goes on. The summary
of all that is in the journal goes to results/first_token.json (first_token_cuda.json on a GPU), a table
to standard output.
"""

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from first_token_summary import Cell, summarise, table
from peak_memory import PeakMemory
from shapes import REAL, SHAPES, SMOKE, build, prompt
from transformers import StoppingCriteria, StoppingCriteriaList

import foveate
from foveate.errors import FoveateError
from foveate.records.conditions import conditions
from foveate.records.journal import Journal
from foveate.runtime.timing import clock

ROOT = Path(__file__).parent.parent
AIM = foveate.AIM(keep=0.25, prune=(0.5, 0.786))
# condition -> of an LLM of so many layers its reduction; None for no reduce() at all
CONDITIONS: dict[str, Callable[[int], Any] | None] = {
    "without foveate": None,
    "unreduced": lambda layers: foveate.Reduction(),
    "aim": lambda layers: AIM,
    "aim-merge 25%": lambda layers: foveate.Reduction(before=foveate.AIMMerge(0.25)),
    "fovea 25%": lambda layers: foveate.Fovea.for_share(0.25, layers),
    "aim, encoder 50%": lambda layers: AIM.encoded_by(foveate.ToMeEncoder(0.5)),
    "aim, encoder 35%": lambda layers: AIM.encoded_by(foveate.ToMeEncoder(0.35)),
    "aim, encoder 25%": lambda layers: AIM.encoded_by(foveate.ToMeEncoder(0.25)),
    "fovea 25%, encoder 50%": lambda layers: foveate.Fovea.for_share(0.25, layers).encoded_by(
        foveate.ToMeEncoder(0.5)
    ),
}
CUT = {"onevision-7b": 6, "qwen2.5-vl-7b": 6}  # layers on a CPU; with fewer none would be scored
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class FirstToken(StoppingCriteria):
    """Never stops; looks at the clock when the first token is there."""

    def __init__(self) -> None:
        self.at: float | None = None

    def __call__(self, input_ids: torch.Tensor, scores: Any, **more: Any) -> torch.Tensor:
        """No sequence is done."""
        if self.at is None:
            self.at = clock(input_ids.device)
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def once(
    model: Any, inputs: dict[str, torch.Tensor], reduction: Any, tokens: int
) -> dict[str, Any]:
    """One answer of so many tokens: its seconds, and what its report says."""
    first, device = FirstToken(), model.device

    def answer() -> float:
        began = clock(device)
        model.generate(
            **inputs, do_sample=False, min_new_tokens=tokens, max_new_tokens=tokens,
            stopping_criteria=StoppingCriteriaList([first]),
        )  # fmt: skip
        return began

    report = None
    with torch.no_grad(), PeakMemory() as memory:
        if reduction is None:
            began = answer()
        else:
            with foveate.reduce(model, reduction) as run:
                began = answer()
            report = run.report
        ended = clock(device)
    assert first.at is not None
    return {
        "first_token": first.at - began,
        "tokens": tokens,
        "decode": ended - first.at if tokens > 1 else None,
        "peak_bytes": memory.above_start,
        **({} if report is None else told(report)),
    }


def told(report: foveate.Report) -> dict[str, Any]:
    """What a row keeps of a report."""
    return {
        "stages": report.seconds,
        "visual_tokens_in": report.visual_tokens_in[0],
        "tokens_by_layer": report.visual_tokens_by_layer[0],
        "flops": report.prefill_flops,
        "kv_bytes": report.kv_bytes,
    }


def has_bf16(device: str) -> bool:
    """Whether a device multiplies bf16 in hardware."""
    if device == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    flags = Path("/proc/cpuinfo").read_text().split()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=DTYPES, help="bf16 where the machine has it, else fp32")
    parser.add_argument("--attention", default="sdpa", help="sdpa, eager, or flash_attention_2")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES)
    parser.add_argument("--frames", type=int, nargs="+", default=[0, 8, 32], help="0: one picture")
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS))
    parser.add_argument("--layers", type=int, help="cut the tower and the LLM to so many layers")
    parser.add_argument("--rounds", type=int, default=5, help="counted, after one warm-up")
    parser.add_argument("--decode-rounds", type=int, help="of these with an answer; all")
    parser.add_argument("--answer", type=int, default=65, help="tokens, the first included")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--minutes", type=float, help="stop measuring after so long; go on later")
    parser.add_argument("--commit", help="where the checkout itself does not say")
    parser.add_argument("--smoke", action="store_true", help="tiny shapes, one round")
    parser.add_argument("--journal", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.dtype = arguments.dtype or "fp32"
        arguments.shapes, arguments.frames, arguments.rounds = SMOKE, [0, 4], 1
        arguments.answer = 3
    arguments.shapes = arguments.shapes or REAL
    arguments.dtype = arguments.dtype or ("bf16" if has_bf16(arguments.device) else "fp32")
    name = "first_token" + ("_smoke" if arguments.smoke else "")
    name += "_cuda" if arguments.device == "cuda" else ""
    arguments.journal = arguments.journal or ROOT / "runs" / f"{name}.jsonl"
    arguments.out = arguments.out or ROOT / "results" / f"{name}.json"
    return arguments


def refuse_unable(arguments: argparse.Namespace) -> None:
    """Skip, by name, what this machine has not."""
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("skipped: no CUDA device")
    if arguments.attention.startswith("flash") and not importlib.util.find_spec("flash_attn"):
        raise SystemExit(f"skipped: {arguments.attention}, for flash_attn is not installed")


def cells_of(arguments: argparse.Namespace) -> Iterator[Cell]:
    """What is to be measured, shape by shape; conditions take turns within a round."""
    for shape in arguments.shapes:
        on_cpu = arguments.device == "cpu"
        layers = arguments.layers or (CUT.get(shape) if on_cpu else None)
        for frames in arguments.frames:
            for number in range(arguments.rounds + 1):
                for condition in arguments.conditions:
                    yield Cell(
                        shape, layers, frames, number, condition, arguments.device,
                        arguments.dtype, arguments.attention,
                    )  # fmt: skip


def tokens_of(cell: Cell, arguments: argparse.Namespace) -> int:
    """How long an answer is: whole in the rounds that time one, two tokens in the warm-up."""
    if not cell.round:
        return 2
    timed = arguments.decode_rounds is None or cell.round <= arguments.decode_rounds
    return arguments.answer if timed else 1


class Bench:
    """One model at a time, and the prompt of the cell at hand."""

    def __init__(self) -> None:
        self.key: Any = None
        self.model: Any = None
        self.prompts: dict[int, dict[str, torch.Tensor]] = {}  # of this model, by frames

    def measure(self, cell: Cell, tokens: int) -> dict[str, Any]:
        """One answer, or why there is none."""
        self._load(cell)
        choose = CONDITIONS[cell.condition]
        layers = self.model.config.get_text_config().num_hidden_layers
        reduction = None if choose is None else choose(layers)
        if cell.frames not in self.prompts:
            media = SHAPES[cell.shape].media(cell.frames)
            self.prompts[cell.frames] = prompt(self.model, media)
        try:
            return once(self.model, self.prompts[cell.frames], reduction, tokens)
        except (FoveateError, RuntimeError) as error:  # out of memory is one
            return {"fault": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}

    def _load(self, cell: Cell) -> None:
        key = cell.shape, cell.layers, cell.dtype, cell.attention
        if key == self.key:
            return
        self.key, self.model, self.prompts = key, None, {}
        if cell.device == "cuda":
            torch.cuda.empty_cache()
        config = SHAPES[cell.shape].config(cell.layers)
        self.model = build(config, cell.device, DTYPES[cell.dtype], cell.attention)


def main() -> None:
    """Parse, measure what the journal lacks, summarise."""
    arguments = parsed()
    refuse_unable(arguments)
    torch.set_num_threads(arguments.threads)
    gpu = torch.cuda.get_device_name() if arguments.device == "cuda" else None
    here = conditions(gpu=gpu, threads=arguments.threads)
    here["commit"] = arguments.commit or here["commit"]
    journal, cells = Journal(arguments.journal), list(cells_of(arguments))
    done = {Cell.of(row) for row in journal}
    left = [cell for cell in cells if cell not in done]
    bench, began = Bench(), time.monotonic()
    for number, cell in enumerate(left, 1):
        if arguments.minutes and time.monotonic() - began > 60 * arguments.minutes:
            break
        row = bench.measure(cell, tokens_of(cell, arguments))
        journal.append(cell.to_dict() | row | {"conditions": here})
        minutes = (time.monotonic() - began) / number * (len(left) - number) / 60
        seen = row.get("fault") or f"{row['first_token']:.3f} s"
        sys.stderr.write(
            f"{number}/{len(left)} {cell.shape}, {cell.frames} frames, {cell.condition}: {seen}, "
            f"about {minutes:.0f} min left\n"
        )
    rows = summarise(list(journal), CONDITIONS)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(rows, indent=1) + "\n")
    sys.stdout.write(table(rows["rows"]) + "\n")


if __name__ == "__main__":
    main()
