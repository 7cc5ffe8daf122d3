r"""AIM's own published code beside ours: the tokens kept, the prefill's time, its peak memory.

    git clone https://github.com/LaVi-Lab/AIM ../AIM        # at edc24e9; no part of foveate
    python -m venv ../aim-env
    ../aim-env/bin/pip install torch "tokenizers<0.20" "huggingface-hub<1" numpy safetensors \
        requests pyyaml regex tqdm
    python benchmarks/published.py --code ../AIM --python ../aim-env/bin/python

One Qwen2 language model of the 0.5B shape, random weights, the same in both; the same visual tokens and
text go in; pruning as published, layers 14 to 22, no merging (8 frames have as many visual tokens as 32
that were merged to a quarter). The published code only runs with eager attention, and masks what it
prunes. The three sides take turns; the warm-up is left out. Raw runs go to a journal: run the same
command again after a kill and it goes on. The summary goes to results/published.json, speeds null where
there are fewer than five runs.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from peak_memory import PeakMemory
from safetensors.torch import save_file
from shapes import SIZES, TEXT_TOKENS
from speed import clip, thin

import foveate
from foveate.records.conditions import all_conditions, conditions
from foveate.records.journal import Journal

ROOT = Path(__file__).parent.parent
LAYERS = (14, 22)
FEWEST = 5  # runs that make a median worth telling
SIDES = {
    "unreduced": foveate.Reduction(),
    "foveate": foveate.AIM(keep=1.0, prune=LAYERS),
    "published code": None,
}


class PublishedCode:
    """The published code in a process of its own, on our weights and embeddings."""

    def __init__(self, python: Path, code: Path, case: Path) -> None:
        script = Path(__file__).with_name("published_code.py")
        self.process = subprocess.Popen(
            [python, script, code.resolve(), case], text=True, stdin=-1, stdout=-1
        )

    def once(self) -> dict[str, Any]:
        """One prefill."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"the published code ended with {self.process.wait()}")
        return json.loads(answer)


def once(
    model: Any, inputs: dict[str, torch.Tensor], reduction: foveate.Reduction
) -> dict[str, Any]:
    """One prefill of ours, in the same words."""
    with torch.no_grad(), PeakMemory() as memory, foveate.reduce(model, reduction) as run:
        model(**inputs, use_cache=True, logits_to_keep=1)
    report = run.report
    layers = range(len(report.visual_tokens_by_layer[0]))
    gone = [after if after is not None else layers.stop for after in report.pruned_after[0]]
    return {
        "prefill": report.seconds["prefill"],
        "peak_bytes": memory.above_start,
        "kept": [[token for token, after in enumerate(gone) if after > l] for l in layers],
    }


def write_case(folder: Path, model: Any, inputs: dict[str, torch.Tensor], threads: int) -> None:
    """Weights, embeddings and shape, for the other side to load."""
    seen = {}
    llm = model.model.language_model
    hook = llm.register_forward_pre_hook(
        lambda _, __, kwargs: seen.update(kwargs), with_kwargs=True
    )
    with torch.no_grad():
        model(**inputs, logits_to_keep=1)
    hook.remove()
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.contiguous() for name, tensor in llm.state_dict().items()}
    save_file(weights | {"inputs_embeds": seen["inputs_embeds"]}, folder / "llm.safetensors")
    visual = int((inputs["input_ids"] == model.config.video_token_id).sum())
    case = {
        "llm": SIZES["0.5b"] | {"max_position_embeddings": 32768, "rope_theta": 1e6},
        "first_visual": TEXT_TOKENS // 2,
        "visual_tokens": visual,
        "threads": threads,
    }
    (folder / "case.json").write_text(json.dumps(case))


def main() -> None:
    """Parse, measure what the journal lacks, summarise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--code", type=Path, required=True, help="checkout of the published code")
    parser.add_argument("--python", type=Path, required=True, help="interpreter that can run it")
    parser.add_argument("--frames", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--runs", type=int, default=FEWEST, help="counted runs, after one warm-up")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--journal", type=Path, default=ROOT / "runs" / "published.jsonl")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "published.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    journal, here = Journal(arguments.journal), conditions(threads=arguments.threads, size="0.5b")
    model = thin("0.5b")
    for frames in arguments.frames:
        done = {(row["run"], row["side"]) for row in journal if row["frames"] == frames}
        left = [
            (run, side)
            for run in range(arguments.runs + 1)
            for side in SIDES
            if (run, side) not in done
        ]
        if not left:
            continue
        inputs = clip(model, frames)
        case = arguments.journal.parent / f"published-{frames}"
        write_case(case, model, inputs, arguments.threads)
        theirs = PublishedCode(arguments.python, arguments.code, case.resolve())
        for number, (run, side) in enumerate(left, 1):
            reduction = SIDES[side]
            row = theirs.once() if reduction is None else once(model, inputs, reduction)
            journal.append({"frames": frames, "run": run, "side": side, "conditions": here} | row)
            sys.stderr.write(
                f"{number}/{len(left)} {frames} frames, {side}: {row['prefill']:.2f} s\n"
            )
        theirs.process.terminate()
    summary = {
        "rows": [summarise([r for r in journal if r["frames"] == f], f) for f in arguments.frames]
    }
    arguments.out.write_text(json.dumps(summary, indent=1) + "\n")
    sys.stdout.write(json.dumps(summary) + "\n")


def summarise(done: list[dict[str, Any]], frames: int) -> dict[str, Any]:
    """Ratios of the medians of one clip length, and how far the two sides keep the same tokens."""
    sides = {side: [r for r in done if r["side"] == side and r["run"]] for side in SIDES}

    def median(side: str, part: str) -> float:
        return statistics.median(row[part] for row in sides[side])

    def speedup(of: str, over: str) -> float | None:
        if min(map(len, sides.values())) < FEWEST:
            return None
        return median(over, "prefill") / median(of, "prefill")

    ours, theirs = (sides[side][0]["kept"] for side in ("foveate", "published code"))
    shared = [
        len(set(a) & set(b)) / len(set(a) | set(b)) if a or b else None
        for a, b in zip(ours, theirs, strict=True)
    ]
    first = LAYERS[0]
    return {
        "conditions": all_conditions(row for rows in sides.values() for row in rows),
        "frames": frames,
        "tokens": len(ours[0]) + TEXT_TOKENS,
        "runs": {side: len(rows) for side, rows in sides.items()},
        "speedup_over_published": speedup("foveate", "published code"),
        "speedup_over_unreduced": speedup("foveate", "unreduced"),
        "published_over_unreduced": speedup("published code", "unreduced"),
        "peak_bytes": {side: median(side, "peak_bytes") for side in SIDES},
        "same_first_kept": ours[first] == theirs[first],
        "shared_of_kept_by_layer": shared,  # intersection over union; None once neither keeps any
    }


if __name__ == "__main__":
    main()
