"""The cells of the study: a size, a compressor, counts of visual tokens and frames, a seed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.study.sizes import SIZES

COUNTS = (1, 4, 9, 16, 36, 144)
COMPRESSORS = {"tokenpacker": COUNTS, "quecc": (1, 4, 16)}  # QueCC where the question may help
TRAINING_FREE = ("aim-merge", "divprune", "fovea-merge", "random")  # on the model of 144 tokens
FRAMES = (2, 4, 8, 16)
CLIP_SIZES = ("210k", "600k", "1.3M")
CLIP_COUNTS = (1, 4, 16)  # a frame
SEEDS = (0, 1, 2)
EVERYWHERE = (0, 1)  # the third seed is for the corners alone


@dataclass(frozen=True)
class Cell:
    """One model to be trained.

    Attributes:
        size: name in `SIZES`.
        compressor: its name, or that of a method without training; at 144 tokens there is none.
        tokens: visual tokens of a picture or frame to the LLM.
        seed: of weights, pictures and questions.
        frames: of each clip; None for pictures.
    """

    size: str
    compressor: str
    tokens: int
    seed: int
    frames: int | None = None

    @property
    def is_corner(self) -> bool:
        """Whether the fitted sizes and counts end here, both at once."""
        fitted = [name for name, size in SIZES.items() if not size.is_held_out]
        ends = self.size in (fitted[0], fitted[-1]) and self.tokens in (COUNTS[0], COUNTS[-1])
        return ends and self.compressor == "tokenpacker"

    @property
    def source(self) -> "Cell":
        """The cell whose model is trained on for clips, or read by a method without training."""
        if self.compressor in TRAINING_FREE:
            return Cell(self.size, "tokenpacker", COUNTS[-1], self.seed)
        return Cell(self.size, self.compressor, self.tokens, self.seed)


def cells(seeds: Sequence[int] = SEEDS, sizes: Sequence[str] = tuple(SIZES)) -> Iterator[Cell]:
    """All of some seeds and sizes: seed by seed, TokenPacker, no training, QueCC, clips."""
    for seed in seeds:
        free = dict.fromkeys(TRAINING_FREE, COUNTS[:-1])
        for compressor, counts in ({"tokenpacker": COUNTS} | free | COMPRESSORS).items():
            for size in sizes:
                for tokens in counts:
                    cell = Cell(size, compressor, tokens, seed)
                    if seed in EVERYWHERE or cell.is_corner:
                        yield cell
        if seed in EVERYWHERE:
            for size in (size for size in sizes if size in CLIP_SIZES):
                for tokens in CLIP_COUNTS:
                    for frames in FRAMES:
                        yield Cell(size, "tokenpacker", tokens, seed, frames)
