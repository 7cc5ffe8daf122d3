"""Train or merge? Where a model trained for fewer visual tokens beats a method without, or is beaten."""

from typing import Any

# visual tokens of 144 at which the one or the other erred less, over all sizes and seeds of the study
TRAINED_BETTER = {"reasoning": (1, 4, 9, 16, 36)}  # trained for the count, than any method without
MERGED_BETTER = {"ocr": (9, 16)}  # fovea-merge without training, than trained for the count
OF = 144
COMPRESSED = "foveate_compressed"


def advice(task: str, keep: float, config: Any) -> str | None:
    """What the study says of keeping so few tokens of a picture; None where it says nothing.

    Args:
        task: "reasoning" or "ocr"; the study knows no other.
        keep: share of the visual tokens that reach the LLM.
        config: of the model; one with a compressor was trained already.
    """
    if getattr(config, "model_type", None) == COMPRESSED:
        return None
    if _spans(TRAINED_BETTER.get(task), keep):
        return (
            "a model trained for so few tokens errs less than any method without training "
            "(docs/study.md): foveate train --compressor tokenpacker"
        )
    if _spans(MERGED_BETTER.get(task), keep):
        return (
            "to read, fovea-merge without training errs less than a model trained for so few tokens "
            "(docs/study.md), and more tokens err less than either"
        )
    return None


def _spans(counts: tuple[int, ...] | None, keep: float) -> bool:
    return counts is not None and min(counts) <= keep * OF <= max(counts)
