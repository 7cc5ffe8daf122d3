"""Train or merge? Where a model trained for fewer visual tokens beats every method without training."""

from typing import Any

# visual tokens of 144 at which the trained model erred less, of every size and seed of the study
TRAINED_BETTER = {"reasoning": (1, 4, 9, 16, 36), "ocr": (36,)}
OF = 144
COMPRESSED = "foveate_compressed"


def advice(task: str, keep: float, config: Any) -> str | None:
    """What the study says of keeping so few tokens of a picture; None where it says nothing.

    Args:
        task: "reasoning" or "ocr"; the study knows no other.
        keep: share of the visual tokens that reach the LLM.
        config: of the model; one with a compressor was trained already.
    """
    counts = TRAINED_BETTER.get(task, ())
    if not counts or getattr(config, "model_type", None) == COMPRESSED:
        return None
    if not min(counts) <= keep * OF <= max(counts):
        return None
    return (
        "a model trained for so few tokens errs less than any method without training "
        "(docs/study.md): foveate train --compressor tokenpacker"
    )
