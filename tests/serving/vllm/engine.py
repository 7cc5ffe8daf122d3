"""One vLLM engine in this process, and what transformers says under `foveate.reduce`."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from transformers.video_utils import VideoMetadata

import foveate

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_CPU_KVCACHE_SPACE": "1",
}
TOKENS = 12


def start(folder: Path, **arguments: Any) -> Any:
    """A `vllm.LLM` in one process; blocks of 32 tokens, so that tiny prompts fill some."""
    os.environ.update(OFFLINE)
    from vllm import LLM

    settings = {
        "dtype": "float32", "enforce_eager": True, "max_model_len": 1024, "max_num_seqs": 8,
        "gpu_memory_utilization": 0.3, "block_size": 32, "distributed_executor_backend": "uni",
        "disable_log_stats": True,
    }  # fmt: skip
    return LLM(str(folder), **{**settings, **arguments})


def model_of(llm: Any) -> Any:
    """The model inside an engine in one process."""
    core = llm.llm_engine.engine_core.engine_core
    return core.model_executor.driver_worker.worker.model_runner.model


@dataclass(frozen=True)
class Said:
    """An answer.

    Attributes:
        tokens: of the answer.
        prompt: how many tokens the LLM read.
        cached: how many of these vLLM had read before.
    """

    tokens: tuple[int, ...]
    prompt: int
    cached: int = 0


def ask(llm: Any, *requests: dict[str, Any]) -> list[Said]:
    """Greedy answers to requests in one batch; each is `{"prompt", "image", "video", "foveate"}`."""
    from vllm import SamplingParams

    prompts = []
    for request in requests:
        media = {kind: request[kind] for kind in ("image", "video") if kind in request}
        prompt = {"prompt": request["prompt"], "multi_modal_data": media}
        if "foveate" in request:
            prompt["mm_processor_kwargs"] = {"foveate": request["foveate"]}
        prompts.append(prompt)
    greedy = SamplingParams(temperature=0, max_tokens=TOKENS, ignore_eos=True)
    return [
        Said(tuple(out.outputs[0].token_ids), len(out.prompt_token_ids), out.num_cached_tokens or 0)
        for out in llm.generate(prompts, greedy, use_tqdm=False)
    ]


@torch.no_grad()
def greedy(model: Any, inputs: Any) -> Said:
    """What a model of transformers answers to one prompt, whose tokens are all counted."""
    length = inputs["input_ids"].shape[1]
    out = model.generate(**inputs, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False)
    return Said(tuple(out[0, length:].tolist()), length)


class Reference:
    """The same checkpoint in transformers."""

    def __init__(self, folder: Path, **arguments: Any) -> None:
        self.model = hf.AutoModelForImageTextToText.from_pretrained(
            folder, dtype=torch.float32, **arguments
        )
        self.processor = hf.AutoProcessor.from_pretrained(folder)

    def ask(self, request: dict[str, Any]) -> Said:
        """The greedy answer to a request as of `ask`."""
        media: dict[str, Any] = {
            f"{kind}s": request[kind] for kind in ("image", "video") if kind in request
        }
        if isinstance(media.get("videos", [None])[0], tuple):
            media["videos"], told = zip(*media["videos"], strict=True)
            media["video_metadata"] = [
                VideoMetadata(**{k: one[k] for k in one if k != "do_sample_frames"}) for one in told
            ]
        inputs = self.processor(text=request["prompt"], return_tensors="pt", **media)
        method = foveate.Reduction()
        if request.get("foveate"):
            method = foveate.Reduction.from_dict(request["foveate"])
        with foveate.reduce(self.model, method) as run:
            whole = greedy(self.model, inputs)
        gone = sum(  # a prompt without pictures has no report
            sum(report.visual_tokens_in) - sum(report.visual_tokens_to_llm)
            for report in run.reports
        )
        return Said(whole.tokens, whole.prompt - gone)


def same(found: Sequence[Said], expected: Sequence[Said]) -> bool:
    """Whether answers and prompt lengths are equal, whatever was cached."""
    return [(one.tokens, one.prompt) for one in found] == [
        (one.tokens, one.prompt) for one in expected
    ]
