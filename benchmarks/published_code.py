"""AIM's own published code as a process that prefills when told to; benchmarks/published.py starts it.

It needs an interpreter of its own, with what that code's transformers (4.45) needs. Each line of standard
input asks for one prefill; each answer is a line of JSON. foveate is not imported here.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from peak_memory import PeakMemory
from safetensors.torch import load_file


def main() -> None:
    """Load the weights, then answer until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("code", type=Path, help="checkout of the published code")
    parser.add_argument("case", type=Path, help="folder with llm.safetensors and case.json")
    arguments = parser.parse_args()
    case = json.loads((arguments.case / "case.json").read_text())
    torch.set_num_threads(case["threads"])
    sys.path.insert(0, str(arguments.code / "other_packages" / "transformers" / "src"))
    from transformers import Qwen2Config, Qwen2Model

    config = Qwen2Config(**case["llm"], attn_implementation="eager")
    model = Qwen2Model(config).eval()
    tensors = load_file(arguments.case / "llm.safetensors")
    embeds = tensors.pop("inputs_embeds")
    model.load_state_dict(tensors)
    first, visual = case["first_visual"], case["visual_tokens"]
    count = embeds.shape[1]
    for _ in sys.stdin:
        mask = torch.ones(1, count, dtype=torch.bool)
        with torch.no_grad(), PeakMemory() as memory:
            began = time.perf_counter()
            model(
                inputs_embeds=embeds,
                attention_mask=mask,
                boundaries=[[first, first + visual, count]],
                use_cache=True,
            )
            seconds = time.perf_counter() - began
        kept = [
            [] if seen is None else seen[0, first : first + visual].nonzero()[:, 0].tolist()
            for seen in model.attention_mask_cache[1:]
        ]
        answer = {
            "prefill": seconds,
            "peak_bytes": memory.above_start,
            "kept": kept,
        }
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
