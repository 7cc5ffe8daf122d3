"""The cells of the study: a size, a compressor, a count of visual tokens, a seed."""

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.study.sizes import SIZES

COUNTS = (1, 4, 9, 16, 36, 144)
COMPRESSORS = ("tokenpacker", "quecc")
QUECC_COUNTS = (1, 4, 16)  # where the question may help
SEEDS = (0, 1)


@dataclass(frozen=True)
class StudyCell:
    """One model to be trained.

    Attributes:
        size: name in `SIZES`.
        compressor: its name; at 144 tokens there is none.
        tokens: visual tokens to the LLM.
        seed: of weights, pictures and questions.
    """

    size: str
    compressor: str
    tokens: int
    seed: int


def cells() -> Iterator[StudyCell]:
    """All of them; a first seed of the whole grid before a second, and the held-out size last."""
    for seed in SEEDS:
        for is_held_out in (False, True):
            for compressor in COMPRESSORS:
                for name, size in SIZES.items():
                    if size.is_held_out == is_held_out:
                        counts = COUNTS if compressor == "tokenpacker" else QUECC_COUNTS
                        yield from (StudyCell(name, compressor, count, seed) for count in counts)
