"""Rates, readers and cells, each made unless it is in the journal or on disk already."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from math import inf, isfinite
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from benchmarks.compressors.cell import Trainee, train
from benchmarks.compressors.draw import RivalRecipe
from benchmarks.compressors.features import TASKS, Pictures
from benchmarks.study import pretrain
from benchmarks.study.cells import TRAINING_FREE, Cell
from benchmarks.study.clips import Clips
from benchmarks.study.cost import rival_of
from benchmarks.study.merged import Merged
from benchmarks.study.pictures import Helps
from benchmarks.study.pretrain import Pretraining, Reader
from benchmarks.study.sizes import SIZES, fresh, parameters
from foveate.records.journal import Journal
from recipes.foveate_mini import align, checkpoint
from recipes.foveate_mini.align import AlignRecipe
from recipes.foveate_mini.packing import Packer
from recipes.foveate_mini.progress import Progress

ASKED = ("val", "test")
EVERY = 100  # steps of a mean of losses
KNOWN = 0.5  # a cell trains projector and LLM, which can read already, at this share of their rate


@dataclass(frozen=True)
class Recipes:
    """How everything of the study is trained.

    Attributes:
        align: how a projector learns to name patches.
        reader: how a size learns to read.
        picture: how a cell of pictures goes on from there, but for the rate of projector and LLM.
        clip: how a cell of clips goes on from a cell of pictures, but for that rate.
    """

    align: AlignRecipe = field(default_factory=AlignRecipe)
    reader: Pretraining = field(default_factory=Pretraining)
    picture: RivalRecipe = field(default_factory=lambda: RivalRecipe(ocr=0.3))
    clip: RivalRecipe = field(
        default_factory=lambda: RivalRecipe(
            steps=500, first_stage=0.0, pictures=12, ocr=0.0, lookups=1.0
        )
    )


@dataclass(frozen=True)
class Study:
    """What all cells have in common.

    Attributes:
        mini: the loaded foveate-mini, whose tower and tokenizer all sizes have.
        pictures: those of "train", "val" and "test".
        clips: likewise.
        helps: of the training pictures.
        recipes: how everything is trained.
        journal: where what is finished is written down.
        folder: of checkpoints and logs.
        conditions: what this runs on.
        say: takes one line of progress.
    """

    mini: Any
    pictures: dict[str, Pictures]
    clips: dict[str, Clips]
    helps: Helps
    recipes: Recipes
    journal: Journal
    folder: Path
    conditions: dict[str, Any]
    say: Callable[[str], None]

    def run(self, cell: Cell) -> None:
        """Train one cell unless the journal has it, and ask it."""
        same = {"kind": "cell", **asdict(cell), "recipe": asdict(self._recipe(cell))}
        if self._find(same) is not None:
            return
        sets = self._sets(cell)
        trainee, seconds, losses = self._trained(cell)
        answers = {
            split: "".join("01"[hit] for hit in trainee.right(sets[split], cell.tokens))
            for split in ASKED
        }
        size = parameters(trainee.model.model.language_model)
        self._write(same, parameters=size, cpu_seconds=seconds, losses=losses, **answers)
        right = [hit == "1" for hit in answers["val"]]
        shares = {"video": right}
        if cell.frames is None:
            shares = {task: right[place :: len(TASKS)] for place, task in enumerate(TASKS)}
        told = " ".join(f"{task} {fmean(hits):.3f}" for task, hits in shares.items())
        self.say(f"## {cell}: val {told}, {seconds} s")

    def rate(self, name: str) -> float:
        """A size's learning rate: the best on short runs, neither the lowest nor the highest tried."""
        peaks = sorted(self.recipes.reader.peaks)
        while True:
            best = min(peaks, key=lambda peak: self._short_loss(name, peak))
            if best == peaks[-1]:
                peaks.append(2 * best)
            elif best == peaks[0]:
                peaks.insert(0, best / 2)
            else:
                return best

    def _short_loss(self, name: str, peak: float) -> float:
        """On validation pictures, behind a short run at a learning rate."""
        steps = self.recipes.reader.tried
        same = {"kind": "rate", "size": name, "peak": peak, "steps": steps}
        row = self._find(same)
        if row is None:
            reader = self._reader(name, 0)
            progress = Progress(f"{name} at {peak:g}", self.folder / "log.jsonl", 0, steps)
            pretrain.train(reader, peak, steps, 0, progress, None)
            loss = reader.loss_on(self.pictures["val"])
            row = self._write(same, loss=round(loss, 4) if isfinite(loss) else None)
        return inf if row["loss"] is None else row["loss"]

    def reader(self, name: str, seed: int) -> Any:
        """A size that reads all patches, trained as far as what is on disk is not."""
        rate, recipe = self.rate(name), self.recipes.reader
        path, steps = self._path(f"{name}-{seed}", recipe, rate), recipe.steps
        progress = Progress(f"{name} seed {seed}", self.folder / "log.jsonl", 0, steps)
        reader, began = self._reader(name, seed), time.process_time()
        pretrain.train(reader, rate, steps, seed, progress, path)
        same = {"kind": "reader", "size": name, "seed": seed, "peak": rate}
        same["recipe"] = asdict(self.recipes.reader)
        if self._find(same) is None:
            loss = round(reader.loss_on(self.pictures["val"]), 4)
            self._write(same, loss=loss, cpu_seconds=round(time.process_time() - began))
        return reader.model.eval()

    def _recipe(self, cell: Cell) -> RivalRecipe:
        recipe = self.recipes.picture if cell.frames is None else self.recipes.clip
        return replace(recipe, peak_known=KNOWN * self.rate(cell.size))

    def _sets(self, cell: Cell) -> dict[str, Any]:
        if cell.frames is None:
            return self.pictures
        return {split: one.seen(cell.frames) for split, one in self.clips.items()}

    def _trained(self, cell: Cell) -> tuple[Trainee, int, list[float]]:
        """A cell's model, the processor seconds and the mean losses of its training."""
        if cell.compressor in TRAINING_FREE:
            whole, seconds, means = self._trained(cell.source)
            return Merged(whole, cell.compressor), seconds, means
        name = f"{cell.size}-{cell.compressor}-{cell.tokens}-{cell.seed}"
        path = self._path(name, self.recipes.reader, self._recipe(cell))
        rival = rival_of(cell)
        reader = self.reader(cell.size, cell.seed)
        begun = Trainee(reader, self._packer, rival, cell.tokens, cell.seed, cell.frames or 1)
        if cell.frames is None:
            if (state := checkpoint.load(path)) is not None:
                begun.model.load_state_dict(state["weights"])
                return begun, state["seconds"], state["losses"]
        else:
            pictures = self._trained(cell.source)[0]
            begun.model.load_state_dict(pictures.model.state_dict())
        losses: list[float] = []
        seconds = train(
            begun, self._sets(cell)["train"], rival, cell.tokens, self._recipe(cell), cell.seed,
            lambda step, loss: losses.append(loss),
        )  # fmt: skip
        means = [round(fmean(losses[at : at + EVERY]), 4) for at in range(0, len(losses), EVERY)]
        if cell.frames is None:
            weights = begun.model.state_dict()
            checkpoint.save(path, {"weights": weights, "seconds": round(seconds), "losses": means})
        return begun, round(seconds), means

    def _path(self, name: str, *recipes: Any) -> Path:
        """Where a model is kept: another recipe, rate or set of pictures has another place."""
        told = repr((self.recipes.align, recipes, self._counts)).encode()
        return self.folder / f"{name}-{hashlib.sha256(told).hexdigest()[:8]}.pt"

    @property
    def _packer(self) -> Packer:
        return Packer(self.mini.processor.tokenizer)

    @property
    def _counts(self) -> dict[str, dict[str, int]]:
        return {
            "pictures": {split: len(one.questions) for split, one in self.pictures.items()},
            "clips": {split: len(one.questions) for split, one in self.clips.items()},
        }

    def _find(self, same: dict[str, Any]) -> dict[str, Any] | None:
        same = {**same, "samples": self._counts}
        for row in self.journal:
            if all(row.get(key) == value for key, value in same.items()):
                return row
        return None

    def _write(self, same: dict[str, Any], **found: Any) -> dict[str, Any]:
        row = {**same, "samples": self._counts, **found, "conditions": self.conditions}
        self.journal.append(row)
        return row

    def _reader(self, name: str, seed: int) -> Reader:
        """A size whose projector names patches."""
        model = fresh(SIZES[name], self.mini, seed).to(self.mini.model.device)
        aligned = self._path(f"{name}-{seed}-align").with_suffix("")
        align.train(model, self.mini.processor.tokenizer, self.recipes.align, aligned)
        torch.manual_seed(seed)
        pictures, recipe = self.pictures["train"], self.recipes.reader
        return Reader(model, self._packer, pictures, self.helps, recipe)
