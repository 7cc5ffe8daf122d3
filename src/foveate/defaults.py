"""What every door takes for a knob that is not given; each stands here once, and nothing is imported."""

from typing import Literal

KEEP = 0.25  # share of visual tokens that methods before the LLM keep
PRUNE = (0.5, 0.786)  # shares of depth between which AIM prunes: (14, 22) of 28 layers
TASK: Literal["reasoning"] = "reasoning"  # of a budget: "ocr" and "auto" are asked for
MAX_NEW_TOKENS = 32  # of an answer that is really given
ANSWER_TOKENS = 1  # of an answer that is only reckoned with: the prefill makes it
TEXT_TOKENS = 100  # of a prompt of which nothing is known
QUERY_TOKENS = 50  # of them not cached, Q of the laws (arXiv 2411.03312)
SHARES = (0.5, 0.25, 0.125, 0.0625)  # of visual tokens, that methods are measured at
TASKS = ("reasoning", "ocr", "video")  # that they are measured on
MACHINE = "a100"  # that times are of where no model runs: AIM's tables
