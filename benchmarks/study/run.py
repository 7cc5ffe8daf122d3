"""Pretraining and cells, each done unless it is on disk or in the journal already."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from benchmarks.compressors.cell import RIVALS, Trainee, train
from benchmarks.compressors.draw import RivalRecipe
from benchmarks.compressors.features import Pictures
from benchmarks.study import pretrain
from benchmarks.study.cells import StudyCell
from benchmarks.study.pretrain import Pretraining, Reader
from benchmarks.study.sizes import SIZES, fresh, parameters
from foveate.records.journal import Journal
from recipes.foveate_mini import align
from recipes.foveate_mini.packing import Packer
from recipes.foveate_mini.progress import Progress

ASKED = ("val", "test")
UNCOMPRESSED = 144
EVERY = 100  # steps of a mean of losses


@dataclass(frozen=True)
class Study:
    """What all cells have in common.

    Attributes:
        mini: the loaded foveate-mini, whose tower and tokenizer all sizes have.
        sets: pictures of "train", "val" and "test".
        pretraining: how a size learns to read.
        recipe: how every cell is trained.
        journal: where finished cells are written down.
        folder: of checkpoints and logs.
        conditions: what this runs on.
        say: takes one line of progress.
    """

    mini: Any
    sets: dict[str, Pictures]
    pretraining: Pretraining
    recipe: RivalRecipe
    journal: Journal
    folder: Path
    conditions: dict[str, Any]
    say: Callable[[str], None]

    @property
    def packer(self) -> Packer:
        """Of the tokenizer that all sizes share."""
        return Packer(self.mini.processor.tokenizer)

    def run(self, cell: StudyCell) -> None:
        """Train one cell unless the journal has it, and ask it."""
        same = self._identity(cell)
        if any(all(row.get(key) == value for key, value in same.items()) for row in self.journal):
            return
        stock = self.pretrained(cell.size, cell.seed)
        name = "average-pool" if cell.tokens == UNCOMPRESSED else cell.compressor
        rival = RIVALS[name]
        trainee = Trainee(stock, self.packer, rival, cell.tokens, cell.seed)
        losses: list[float] = []
        seconds = train(
            trainee, self.sets["train"], rival, cell.tokens, self.recipe, cell.seed,
            lambda step, loss: losses.append(loss),
        )  # fmt: skip
        answers = {
            split: "".join("01"[hit] for hit in trainee.right(self.sets[split], cell.tokens))
            for split in ASKED
        }
        row = same | {
            "parameters": parameters(trainee.model.model.language_model),
            "cpu_seconds": seconds,
            "losses": [fmean(losses[at : at + EVERY]) for at in range(0, len(losses), EVERY)],
        }
        self.journal.append(row | answers | {"conditions": self.conditions})
        right = fmean(answer == "1" for answer in answers["val"])
        self.say(f"## {cell}: val {right:.3f}, {seconds:.0f} s")

    def _identity(self, cell: StudyCell) -> dict[str, Any]:
        recipes = {"recipe": asdict(self.recipe), "pretraining": asdict(self.pretraining)}
        recipes["pretraining"]["peaks"] = list(self.pretraining.peaks)
        counted = {split: len(one.questions) for split, one in self.sets.items()}
        return asdict(cell) | recipes | {"pictures": counted}

    def pretrained(self, name: str, seed: int) -> Any:
        """A size that reads all patches, trained if it is not on disk."""
        path = self.folder / f"{name}-{seed}.pt"
        log = self.folder / "log.jsonl"
        progress = Progress(f"{name} seed {seed}", log, 0, self.pretraining.steps)
        reader = self._reader(name, seed)
        peak = self.peak(name)
        pretrain.train(reader, peak, self.pretraining.steps, seed, progress, path)
        return reader.model.eval()

    def peak(self, name: str) -> float:
        """A size's learning rate: the best on short runs, by the loss on validation pictures."""
        rows = list(Journal(self.folder / "peaks.jsonl"))
        held = {row["peak"]: row["loss"] for row in rows if row["size"] == name}
        for peak in self.pretraining.peaks:
            if peak not in held:
                reader = self._reader(name, 0)
                steps = self.pretraining.tried
                progress = Progress(f"{name} at {peak}", self.folder / "log.jsonl", 0, steps)
                pretrain.train(reader, peak, steps, 0, progress, None)
                held[peak] = reader.loss_on(self.sets["val"])
                Journal(self.folder / "peaks.jsonl").append(
                    {"size": name, "peak": peak, "loss": held[peak]}
                )
                self.say(f"{name} at {peak}: {held[peak]:.4f}")
        return min(held, key=held.__getitem__)

    def _reader(self, name: str, seed: int) -> Reader:
        """A size whose projector names patches."""
        model = fresh(SIZES[name], self.mini, seed)
        align.train(
            model, self.packer.tokenizer, align.AlignRecipe(), self.folder / f"{name}-{seed}"
        )
        torch.manual_seed(seed)
        return Reader(model, self.packer, self.sets["train"], self.pretraining)
