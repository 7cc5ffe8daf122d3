"""The model `foveate` of lmms-eval: any supported model under any reduction, one request at a time."""

from typing import Any

import torch
from accelerate import Accelerator
from lmms_eval.api.instance import (  # pyright: ignore[reportMissingImports]
    GenerationResult,
    TokenCounts,
)
from lmms_eval.api.model import lmms  # pyright: ignore[reportMissingImports]
from lmms_eval.api.registry import register_model  # pyright: ignore[reportMissingImports]
from loguru import logger  # pyright: ignore[reportMissingImports]
from rich.progress import track

from foveate.harness.asking import Asker, generate_arguments


@register_model("foveate")
class Foveate(lmms):
    """`--model_args pretrained=...,reduction=aim,keep=0.25` or `pretrained=...,budget=0.15`.

    Under `accelerate launch` each process answers its part on its own device.
    """

    is_simple = False  # takes chat messages, with pictures in their places

    def __init__(self, pretrained: str, batch_size: int | str = 1, **arguments: Any) -> None:
        super().__init__()
        if str(batch_size) != "1":
            logger.warning("foveate answers one request at a time; batch_size is not used")
        self.accelerator = Accelerator()
        self._rank = self.accelerator.process_index
        self._world_size = self.accelerator.num_processes
        if self._world_size > 1:
            arguments["device"] = str(self.accelerator.device)
        arguments = {name: value for name, value in arguments.items() if value is not None}
        arguments.pop("max_batch_size", None)
        self.asker = Asker.of(pretrained, **arguments)

    @property
    def device(self) -> torch.device:
        """The device of this process; lmms-eval gathers the request counts of all processes on it."""
        return self.accelerator.device

    def generate_until(self, requests: list[Any]) -> list[Any]:
        """Answer every request, in order."""
        answers = []
        for request in track(requests, "foveate", disable=self.rank != 0):
            _, to_messages, generation, index, task, split = request.args
            document = self.task_dict[task][split][index]
            text, count = self.asker.answer(
                self._chat(to_messages(document)), **generate_arguments(generation)
            )
            for stop in generation.get("until") or []:
                text = text.split(stop)[0] if stop else text
            answers.append(
                GenerationResult(text=text, token_counts=TokenCounts(output_tokens=count))
            )
        logger.info(f"foveate: {self.asker.spent}")
        return answers

    def _chat(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """lmms-eval's messages with their pictures read."""
        return [
            {
                "role": message["role"],
                "content": [
                    part["text"] if part["type"] == "text" else self.asker.shown(part["url"])
                    for part in message["content"]
                ],
            }
            for message in messages
        ]

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        """Not offered: a reduction shortens the logits that a likelihood would be read from."""
        raise NotImplementedError("foveate answers by generation; choose a generate_until task")

    def generate_until_multi_round(self, requests: list[Any]) -> list[str]:
        """Not offered."""
        raise NotImplementedError("foveate answers single rounds; choose a generate_until task")
