"""Defaults of the public functions and commands, each defined once; nothing of foveate is imported."""

from typing import Literal

KEEP = 0.25  # share of visual tokens that methods before the LLM keep
ENCODER_KEEP = 0.5  # share of patches that methods in the encoder keep
PRUNE = (0.5, 0.786)  # shares of depth between which AIM prunes: (14, 22) of 28 layers
TASK: Literal["reasoning"] = "reasoning"  # what a budget is for; "ocr" and "auto" must be asked for
MAX_NEW_TOKENS = 32  # longest answer that is generated
ANSWER_TOKENS = 1  # length of the answer in costs and plans: its first token comes from the prefill
TEXT_TOKENS = 100  # length of a prompt that is not given
QUERY_TOKENS = 50  # text tokens that are not cached: Q of the laws (arXiv 2411.03312)
SHARES = (0.5, 0.25, 0.125, 0.0625)  # of visual tokens, at which methods are measured
TASKS = ("reasoning", "ocr", "video")  # on which methods are measured
MACHINE = "a100"  # whose times are given where no model runs, as in AIM's tables
IGNORED = -100  # the label that takes no part in a loss, in all of transformers
